"""Instants as the API shows them; the database holds milliseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_FIRST: Final = int(datetime(1, 1, 1, tzinfo=UTC).timestamp() * 1000)
_LAST: Final = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() * 1000)


def instant(milliseconds: int) -> datetime:
    """An aware time of what is stored; what no calendar has is the first or last it has."""
    return datetime.fromtimestamp(min(max(milliseconds, _FIRST), _LAST) / 1000, UTC)


def maybe(milliseconds: int | None) -> datetime | None:
    """The same; None stays None."""
    return None if milliseconds is None else instant(milliseconds)
