"""The queries of the ledger; the only SQL about it.

A part and the mark that it was added are one transaction. Where nobody can tell whether that was
committed (the connection broke), the same part comes again, finds its mark and adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from penstock.db import Database
from penstock.db.database import Dialect

Group = Literal["day", "key", "service"]

DAY: Final = 86_400_000  # milliseconds

_COUNTS: Final = (
    "calls",
    "cached",
    "tokens_in",
    "tokens_out",
    "tokens_saved",
    "spent_micros",
    "saved_micros",
)
_OBJECT: Final[dict[Dialect, str]] = {
    "sqlite": "json_group_object",
    "postgresql": "json_object_agg",
}


def _total(name: str) -> str:
    return f"CAST(sum({name}) AS BIGINT)"  # PostgreSQL would make a decimal of it


MARK: Final = "ledger"  # the kind, among counters, of the number of a process's last part

# First, so that a transaction of which nobody knows what became is waited for; only a higher number
# changes the row.
_MARK: Final = f"""
INSERT INTO usage_counters (day, kind, name, value) VALUES (?, '{MARK}', ?, ?)
ON CONFLICT (day, kind, name) DO UPDATE SET value = excluded.value
WHERE usage_counters.value < excluded.value
"""
# Each row where the one before it was added, and the first where the mark was new. The casts are
# for PostgreSQL, which takes a parameter in SELECT for text.
_ADD: Final = f"""
INSERT INTO usage_days (day, key_id, service, currency, owner, {", ".join(_COUNTS)})
SELECT CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT),
{", ".join(["CAST(? AS BIGINT)"] * len(_COUNTS))}
WHERE changes() > 0
ON CONFLICT (day, key_id, service, currency) DO UPDATE SET
{", ".join(f"{name} = usage_days.{name} + excluded.{name}" for name in _COUNTS)}
"""
# By currency first, as money of different currencies is never added up.
_SUM: Final = f"""
WITH parts AS (
    SELECT {{inner}} currency, {", ".join(f"{_total(name)} AS {name}" for name in _COUNTS)}
    FROM usage_days WHERE {{conditions}} GROUP BY {{inner}} currency
)
SELECT {{outer}} {", ".join(_total(name) for name in _COUNTS[:5])},
{{object}}(currency, spent_micros), {{object}}(currency, saved_micros)
FROM parts {{tail}}
"""
_COLUMNS: Final[dict[Group, tuple[str, ...]]] = {
    "day": ("day",),
    "key": ("owner", "key_id"),
    "service": ("service",),
}


class Mark(NamedTuple):
    """Which part this is: `number` counts those of `source`, a process that began on day `since`.

    Parts of one source are added in their order.
    """

    since: int
    source: str
    number: int


class Counts(msgspec.Struct):
    """What one key used of one service on one day, in one currency; `owner` is whose key it is."""

    owner: str
    calls: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_saved: int = 0
    spent_micros: int = 0
    saved_micros: int = 0


Place = tuple[int, str, str, str]
"""Day (its first instant, ms), key, service, currency: one row."""


class UsageFilter(msgspec.Struct, frozen=True):
    """Which days (first instants in ms, both included), whose, and of which key."""

    first_day: int
    last_day: int
    owner: str | None = None
    key_id: str | None = None


class UsageRow(msgspec.Struct, frozen=True):
    """A sum; what it is not grouped by is None. Money in micro-units by currency."""

    calls: int
    cached: int
    tokens_in: int
    tokens_out: int
    tokens_saved: int
    spent_micros: dict[str, int]
    saved_micros: dict[str, int]
    day: int | None = None
    owner: str | None = None
    key_id: str | None = None
    service: str | None = None


class UsageStore:
    """Adds to and sums up the table `usage_days`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._object = _OBJECT[database.dialect]

    async def add(self, mark: Mark, counted: Iterable[tuple[Place, Counts]]) -> None:
        """Add to what is on record, whoever else does so. A part added before changes nothing.

        In the order of the places, so that two processes that do so wait for each other, no more.
        """
        rows = sorted((*place, *msgspec.structs.astuple(counts)) for place, counts in counted)
        await self._database.write((_MARK, mark), (_ADD, rows), serial=False)

    async def total(self, wanted: UsageFilter) -> UsageRow:
        """The sum of everything that `wanted` names."""
        conditions, params = _conditions(wanted)
        sql = _SUM.format(inner="", outer="", conditions=conditions, tail="", object=self._object)
        [row] = await self._database.scan(sql, params)
        return _row((), row)

    async def page(
        self,
        wanted: UsageFilter,
        *,
        group: Sequence[Group],
        after: tuple[Any, ...] | None,
        limit: int,
    ) -> list[UsageRow]:
        """At most `limit` sums by `group`, in descending order behind `after` (see `position`)."""
        columns = [column for name in group for column in _COLUMNS[name]]
        listed = ", ".join(columns)
        conditions, params = _conditions(wanted)
        if after is not None:
            conditions += f" AND ({listed}) < ({', '.join('?' * len(columns))})"
            params += after
        order = ", ".join(f"{column} DESC" for column in columns)
        sql = _SUM.format(
            inner=f"{listed}, ",
            outer=f"{listed}, ",
            conditions=conditions,
            object=self._object,
            tail=f"GROUP BY {listed} ORDER BY {order} LIMIT ?",
        )
        rows = await self._database.scan(sql, [*params, limit])
        return [_row(columns, row) for row in rows]


def position(row: UsageRow, group: Sequence[Group]) -> tuple[Any, ...]:
    """Where a row of `page` stands, for the page after it."""
    return tuple(getattr(row, column) for name in group for column in _COLUMNS[name])


def is_position(after: tuple[Any, ...], group: Sequence[Group]) -> bool:
    """Whether `after` can be a position among sums by `group`."""
    columns = [column for name in group for column in _COLUMNS[name]]
    kinds = [int if column == "day" else str for column in columns]
    return [type(value) for value in after] == kinds


def _conditions(wanted: UsageFilter) -> tuple[str, list[Any]]:
    parts, params = ["day BETWEEN ? AND ?"], [wanted.first_day, wanted.last_day]
    asked: list[Any] = [*params]
    for column, value in (("owner", wanted.owner), ("key_id", wanted.key_id)):
        if value is not None:
            parts.append(f"{column} = ?")
            asked.append(value)
    return " AND ".join(parts), asked


def _row(columns: Sequence[str], row: tuple[Any, ...]) -> UsageRow:
    names, counts = row[: len(columns)], row[len(columns) :]
    calls, cached, tokens_in, tokens_out, tokens_saved, spent, saved = counts
    return UsageRow(
        calls=calls or 0,  # sums over nothing are NULL
        cached=cached or 0,
        tokens_in=tokens_in or 0,
        tokens_out=tokens_out or 0,
        tokens_saved=tokens_saved or 0,
        spent_micros=_money(spent),
        saved_micros=_money(saved),
        **dict(zip(columns, names, strict=True)),
    )


def _money(by_currency: str | None) -> dict[str, int]:
    """Sums by currency, of JSON; of nothing PostgreSQL makes NULL."""
    return {} if by_currency is None else msgspec.json.decode(by_currency, type=dict[str, int])
