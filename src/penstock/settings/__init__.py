"""The settings: every variable, its default and meaning, and where each value came from."""

from penstock.settings.loading import LoadedSettings, Origin, load_settings
from penstock.settings.values import Settings, names_of

__all__ = ["LoadedSettings", "Origin", "Settings", "load_settings", "names_of"]
