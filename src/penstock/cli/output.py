"""Prints results: JSON for programs, aligned columns for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from penstock.cli.failure import one_line

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")
"""The option of every command that prints."""


def print_json(value: object, *, err: bool = False) -> None:
    """Print one line of JSON; on standard error where the output holds something else."""
    import msgspec

    click.echo(msgspec.json.encode(value, enc_hook=_plain).decode(), err=err)


def print_table(rows: Sequence[Sequence[object]], *, header: Sequence[str] = ()) -> None:
    """Print rows in columns as wide as their widest cell; `None` is an empty cell."""
    cells = [[_cell(value) for value in row] for row in (*([header] if header else []), *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def size(number: int) -> str:
    """Bytes for people.

    >>> size(1536)
    '1.5 kB'
    """
    if number < 1024:
        return f"{number} B"
    value = float(number)
    for unit in ("kB", "MB", "GB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TB"


def span(seconds: float) -> str:
    """A duration for people.

    >>> span(5400)
    '1.5 h'
    """
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


LAST = 253_402_300_799_000  # milliseconds of the end of the year 9999


def instant(milliseconds: int | None) -> str | None:
    """Milliseconds since 1970 as UTC; None stays None."""
    if milliseconds is None:
        return None
    at = datetime.fromtimestamp(min(milliseconds, LAST) / 1000, UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _cell(value: object) -> str:
    return "" if value is None else one_line(str(value))


def _plain(value: object) -> object:
    """What JSON has no word for, as text."""
    return list(value) if isinstance(value, set | frozenset) else str(value)
