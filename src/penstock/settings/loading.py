"""Reads the settings and remembers where each value came from.

A value is looked for under its own name and then under the names that the source systems use,
first in the environment, then in `.env`. What only `.env` says never beats the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from penstock.errors import ConfigurationError
from penstock.settings.values import Settings, names_of

# What Penstock's clients and one of its commands read; often set in the same shell.
CLIENTS = ("PENSTOCK_URL", "PENSTOCK_KEY", "PENSTOCK_COPY_TO")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from: `default`, `environment NAME` or `.env NAME`."""

    source: str
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, the origin of each field, and what looks like a mistake."""

    settings: Settings
    origins: dict[str, Origin]
    warnings: list[str]


def load_settings(
    environ: Mapping[str, str] | None = None, *, env_file: Path | None = Path(".env")
) -> LoadedSettings:
    """Read the settings from the environment and `.env`.

    Raises ConfigurationError that names each variable whose value cannot be used, and why.
    """
    environ = os.environ if environ is None else environ
    file = _read_env_file(env_file)
    values: dict[str, str] = {}
    origins: dict[str, Origin] = {}
    for name, field in Settings.model_fields.items():
        value, origins[name] = _find(names_of(field), environ, file)
        if value is not None:
            values[name] = value
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, origins)) from None
    warnings = [origin.warning for origin in origins.values() if origin.warning]
    return LoadedSettings(settings, origins, warnings + _unknown(environ, file))


def _find(
    names: list[str], environ: Mapping[str, str], file: Mapping[str, str]
) -> tuple[str | None, Origin]:
    found = [
        (f"{place} {name}", source[name])
        for place, source in (("environment", environ), (".env", file))
        for name in names
        if source.get(name)
    ]
    if not found:
        return None, Origin("default")
    (source, value), *others = found
    differing = [other for other, said in others if said != value]
    if not differing:
        return value, Origin(source)
    return value, Origin(source, f"{source} is used; {', '.join(differing)} says otherwise")


def _read_env_file(path: Path | None) -> dict[str, str]:
    if path is None or not path.is_file():
        return {}
    from dotenv import dotenv_values  # only where there is a file

    return {name: value for name, value in dotenv_values(path).items() if value is not None}


def _unknown(environ: Mapping[str, str], file: Mapping[str, str]) -> list[str]:
    known = {name for field in Settings.model_fields.values() for name in names_of(field)}
    known.update(CLIENTS)
    strangers = {n for n in (*environ, *file) if n.startswith("PENSTOCK_")} - known
    return [f"{name} is not a setting; see: penstock config show" for name in sorted(strangers)]


def _explain(error: ValidationError, origins: Mapping[str, Origin]) -> str:
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        field = str(item["loc"][0]) if item["loc"] else ""
        origin = origins[field].source if field in origins else field
        message = item["msg"].removeprefix("Value error, ")
        problems.append(f"{origin}: {message}" if origin else message)
    return "; ".join(problems)
