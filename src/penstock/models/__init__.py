"""Thinking on this machine: models that are loaded once and need no network."""
