"""What a dry run reads of recorded verdicts; the only SQL of it.

A million rows as Python objects would take the interpreter from everyone else, row by row. So the
database packs a slice of rows into two blobs, SQLite without the interpreter's lock, and numpy
looks at them as they are: a head of ASCII digits per row, and its scores as they were recorded.
Rows from before scores had a column of their own are read one by one from their record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from penstock.db import Database
from penstock.db.dialect import values_of
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.policy import UNSEEN

SLICE: Final = 8_192  # rows packed at once: some 20 ms in a thread
HEAD: Final = (("rowid", 19), ("created_at", 13), ("decision", 1), ("is_foreign", 1))
"""Digits of every row's head; the last two are what was missing and what a list said."""
HEAD_WIDTH: Final = sum(width for _, width in HEAD) + 2
SCORES_WIDTH: Final = 4 * len(CATEGORIES)
DECISIONS: Final = ("approved", "review", "rejected")
OTHER: Final = 9  # a digit for what this version does not know

_AT_MOST = 10**13 - 1  # what 13 digits can say
_UNSEEN = ", ".join(f"'{code}'" for code in sorted(UNSEEN))
_DIGIT = " ".join(f"WHEN '{name}' THEN {digit}" for digit, name in enumerate(DECISIONS))
_LISTED = " ".join(f"WHEN '{name}' THEN {digit + 1}" for digit, name in enumerate(DECISIONS))
_MISSING = f"""CASE WHEN degraded IS NULL OR degraded = '' THEN 0
    WHEN degraded IN ({_UNSEEN}) THEN 2 ELSE 1 END"""
_DECIDED = f"CASE decision {_DIGIT} ELSE {OTHER} END"
_MET = f"CASE listed {_LISTED} ELSE 0 END"
_PACKABLE = "length(scores) > 0 AND length(scores) % 4 = 0"  # NULL is neither


def _on_sqlite(rows: str) -> str:
    """A query with what heads, scores and all of them together are called."""
    head = f"""printf('%019d%013d%d%d%d%d', rowid, min(max(created_at, 0), {_AT_MOST}),
        {_DECIDED}, coalesce(is_foreign, 0), {_MISSING}, {_MET})"""
    scores = f"""CASE length(scores) WHEN {SCORES_WIDTH} THEN scores
        ELSE substr(CAST(scores || :unknown AS BLOB), 1, {SCORES_WIDTH}) END"""
    return rows.format(
        head=head,
        heads=f"CAST(group_concat({head}, '') FILTER (WHERE {_PACKABLE}) AS BLOB)",
        scores=f"CAST(group_concat({scores}, '') FILTER (WHERE {_PACKABLE}) AS BLOB)",
        owned="{owned}",
        keyed="{keyed}",
    )


def _on_postgres(rows: str) -> str:
    head = f"""lpad(CAST(rowid AS TEXT), 19, '0')
        || lpad(CAST(least(greatest(created_at, 0), {_AT_MOST}) AS TEXT), 13, '0')
        || {_DECIDED} || CASE WHEN is_foreign THEN 1 ELSE 0 END || {_MISSING} || {_MET}"""
    scores = f"""CASE length(scores) WHEN {SCORES_WIDTH} THEN scores
        ELSE substr(scores || CAST(:unknown AS BYTEA), 1, {SCORES_WIDTH}) END"""
    nothing = "CAST('' AS BYTEA)"
    return rows.format(
        head=head,
        heads=f"string_agg(convert_to({head}, 'UTF8'), {nothing}) FILTER (WHERE {_PACKABLE})",
        scores=f"string_agg({scores}, {nothing}) FILTER (WHERE {_PACKABLE})",
        owned="{owned}",
        keyed="{keyed}",
    )


_RANGE = "(created_at, id) < (:below, :below_id) AND (created_at, id) >= (:least, :least_id)"
_EDGE = """
SELECT created_at, id FROM moderation_verdicts
WHERE {owned} (created_at, id) < (:below, :below_id) AND created_at >= :least
ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET :skip
"""
# Both blobs of one query: their rows are in the same order, whatever it is.
_PACK = f"""
SELECT count(*), count(*) FILTER (WHERE length(scores) < {SCORES_WIDTH}), {{heads}}, {{scores}}
FROM moderation_verdicts WHERE {{owned}} {{keyed}} {_RANGE}
"""
_UNPACKED = f"""
SELECT {{head}}, score_key, record FROM moderation_verdicts
WHERE {{owned}} {{keyed}} {_RANGE} AND ({_PACKABLE}) IS NOT TRUE
"""
_ROWS = """
SELECT id, content_hash, created_at, decision, reason, risk, scores, record, score_key,
is_foreign, degraded, listed
FROM moderation_verdicts WHERE rowid IN ({rowids})
ORDER BY created_at DESC, id DESC
"""
_REASONS = """
SELECT reason, decision, count(*) FROM moderation_verdicts
WHERE rowid IN ({rowids}) GROUP BY reason, decision
"""
_OWNED, _KEYED = "owner = :owner AND", "key_id = :key_id AND"
_FIRST = 0
_LAST: Final = 1 << 62  # behind every instant, and small enough for SQLite

Position = tuple[int, str]
"""`created_at` and `id` of a verdict; verdicts are walked from the newest to the oldest."""


class Selection(NamedTuple):
    """Which verdicts are meant; instants are milliseconds since 1970, UTC."""

    since: int | None = None
    until: int | None = None  # not included
    owner: str | None = None
    key_id: str | None = None

    @property
    def start(self) -> Position:
        """Behind the newest of them."""
        return (_LAST if self.until is None else min(self.until, _LAST), "")


class Packed(NamedTuple):
    """A slice of recorded verdicts, and where the next one begins (None: it was the last)."""

    rows: int
    padded: int  # rows that were scored before the newest categories came
    heads: bytes
    scores: bytes
    unpacked: Sequence[tuple[str, str, bytes]]  # head, score key, record
    end: Position | None


class Row(NamedTuple):
    """One recorded verdict."""

    id: str
    content_hash: str
    created_at: int
    decision: str
    reason: str
    risk: float
    scores: bytes | None
    record: bytes
    score_key: str
    is_foreign: bool | int | None
    degraded: str | None
    listed: str | None


class RecordedStore:
    """Reads `moderation_verdicts` in slices, of SQLite each on a connection of its own in a thread.

    Nothing is held between slices, so that neither the writer nor its log waits for a dry run.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        shaped = _on_sqlite if database.dialect == "sqlite" else _on_postgres
        self._pack, self._unpacked = shaped(_PACK), shaped(_UNPACKED)
        rowids = values_of(database.dialect, "?", "bigint")
        self._rows, self._reasons = _ROWS.format(rowids=rowids), _REASONS.format(rowids=rowids)

    async def pack(self, selection: Selection, below: Position, *, rows: int = SLICE) -> Packed:
        """The next verdicts below a position, at most `rows` before the key's filter."""
        owned = _OWNED if selection.owner is not None else ""
        keyed = _KEYED if selection.key_id is not None else ""
        params: dict[str, Any] = {
            "owner": selection.owner,
            "key_id": selection.key_id,
            "below": below[0],
            "below_id": below[1],
            "least": _FIRST if selection.since is None else selection.since,
            "least_id": "",
            "skip": rows - 1,
            "unknown": b"\xff" * SCORES_WIDTH,
        }
        edge = await self._database.scan(_EDGE.format(owned=owned), params)
        end: Position | None = None
        if edge:
            end = edge[0][0], edge[0][1]
            params["least"], params["least_id"] = end
        sql = self._pack.format(owned=owned, keyed=keyed)
        count, padded, heads, scores = (await self._database.scan(sql, params))[0]
        unpacked: Sequence[tuple[str, str, bytes]] = ()
        if count > len(heads or b"") // HEAD_WIDTH:
            sql = self._unpacked.format(owned=owned, keyed=keyed)
            unpacked = await self._database.scan(sql, params)
        return Packed(count, padded, heads or b"", scores or b"", unpacked, end)

    async def rows(self, rowids: Sequence[int]) -> list[Row]:
        """Verdicts in full, newest first."""
        found = await self._database.scan(self._rows, (json.dumps(list(rowids)),))
        return [Row(*row) for row in found]

    async def reasons(self, rowids: Sequence[int]) -> list[tuple[str, str, int]]:
        """Reasons of these verdicts, with the decision that each was given for and how often."""
        found = await self._database.scan(self._reasons, (json.dumps(list(rowids)),))
        return [(str(reason), str(decision), int(count)) for reason, decision, count in found]
