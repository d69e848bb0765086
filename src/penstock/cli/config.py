"""`penstock config`: every setting with its value and where that came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.output import as_json, print_json, print_table
from penstock.net.address import is_readable

if TYPE_CHECKING:
    from penstock.settings import LoadedSettings

MASK = "********"


@click.group()
def config() -> None:
    """Show the settings and where they come from."""


@config.command()
@as_json
def show(json_: bool) -> None:
    """Print every setting: its variable, value and origin. Secrets are masked."""
    from penstock.settings import load_settings

    loaded = load_settings()
    rows = described(loaded)
    if json_:
        print_json({"settings": rows, "warnings": loaded.warnings})
        return
    shown = [(row["variable"], _as_text(row["value"]), row["origin"]) for row in rows]
    print_table(shown, header=("variable", "value", "origin"))
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)


def described(loaded: LoadedSettings) -> list[dict[str, Any]]:
    """One row per setting, in the order of their declaration."""
    from penstock.settings import Settings, names_of

    return [
        {
            "variable": names_of(field)[0],
            "value": masked(getattr(loaded.settings, name)),
            "origin": loaded.origins[name].source,
            "also": names_of(field)[1:],
            "about": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]


def masked(value: object) -> Any:
    """A setting's value as it may be shown."""
    from pydantic import SecretStr

    match value:
        case SecretStr():
            return MASK
        case str():
            return _without_secrets(value)
        case Path():
            return str(value)
        case tuple():
            return [masked(item) for item in value]
        case _:
            return value


def _without_secrets(text: str) -> str:
    """A URL without name, password and options; of one that cannot be read, its scheme."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme == "sqlite":
        return text  # a word, or a file
    if not is_readable(text):
        return f"{scheme}://{MASK}"
    plain, mark, _ = rest.partition("?")
    plain, hash_, _ = plain.partition("#")
    _, at, where = plain.rpartition("@")
    masked_who = f"{MASK}@" if at else ""
    return f"{scheme}://{masked_who}{where}{f'?{MASK}' if mark or hash_ else ''}"


def _as_text(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case list():
            return ",".join(map(str, value)) or "-"
        case _:
            return str(value)
