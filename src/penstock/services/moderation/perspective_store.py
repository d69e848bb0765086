"""The queries of calibration curves and of suggested scores; the only SQL about them.

Curves are few and are read all at once. Of suggestions the newest are kept: whoever may call the
API may send them without end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.db.database import Call
from penstock.services.moderation.calibration import Curve

MOST_SUGGESTIONS: Final = 100_000


class StoredCurve(msgspec.Struct, frozen=True):
    """One curve, and for what it is."""

    attribute: str
    model_version: str
    curve: Curve
    created_at: int  # milliseconds since 1970, UTC


class Suggestion(msgspec.Struct, frozen=True):
    """What somebody thinks the scores of a comment should be."""

    owner: str
    key_id: str
    content_hash: str  # SHA-256 of the comment, hexadecimal
    content: str | None  # only where the installation stores texts and the caller lets it
    scores: dict[str, float]  # by attribute, for the whole comment
    model_version: str  # that answered at the time
    community: str
    created_at: int  # milliseconds since 1970, UTC


_CURVES: Final = """
SELECT attribute, model_version, curve, created_at FROM perspective_curves
ORDER BY model_version, attribute
"""
_SAVE: Final = """
INSERT INTO perspective_curves (attribute, model_version, curve, created_at) VALUES (?, ?, ?, ?)
ON CONFLICT (attribute, model_version)
DO UPDATE SET curve = excluded.curve, created_at = excluded.created_at
"""
_FORGET: Final = "DELETE FROM perspective_curves WHERE attribute = ? AND model_version = ?"
_COLUMNS: Final = ", ".join(Suggestion.__struct_fields__)
_SUGGEST: Final = f"""
INSERT INTO perspective_suggestions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_BOUND: Final = """
DELETE FROM perspective_suggestions
WHERE number <= (SELECT max(number) FROM perspective_suggestions) - ?
"""
_SUGGESTIONS: Final = f"""
SELECT number, {_COLUMNS} FROM perspective_suggestions WHERE number < ?
ORDER BY number DESC LIMIT ?
"""
_LAST: Final = (1 << 63) - 1


class PerspectiveStore:
    """Asks about and changes `perspective_curves` and `perspective_suggestions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def curves(self) -> list[StoredCurve]:
        """Every curve, at once: there are a handful."""
        return [
            StoredCurve(attribute, version, msgspec.json.decode(curve, type=Curve), created_at)
            for attribute, version, curve, created_at in await self._database.rows(_CURVES)
        ]

    async def save(self, curves: list[StoredCurve], *beside: Call) -> None:
        """Store curves in place of those for the same, in one transaction with `beside`."""
        rows = [
            (each.attribute, each.model_version, msgspec.json.encode(each.curve), each.created_at)
            for each in curves
        ]
        await self._database.write((_SAVE, rows), *beside)

    async def forget(self, curves: list[StoredCurve], *beside: Call) -> None:
        """Delete curves, in one transaction with `beside`."""
        rows = [(each.attribute, each.model_version) for each in curves]
        await self._database.write((_FORGET, rows), *beside)

    async def suggest(self, suggestion: Suggestion) -> None:
        """Keep a suggestion; the oldest beyond MOST_SUGGESTIONS leave."""
        row = (
            suggestion.owner,
            suggestion.key_id,
            suggestion.content_hash,
            suggestion.content,
            msgspec.json.encode(suggestion.scores),
            suggestion.model_version,
            suggestion.community,
            suggestion.created_at,
        )
        bound = (_BOUND, (MOST_SUGGESTIONS,))
        await self._database.write((_SUGGEST, row), bound, serial=False)

    async def suggestions(
        self, *, before: int | None = None, limit: int = 100
    ) -> list[tuple[int, Suggestion]]:
        """At most `limit` suggestions with their numbers, newest first, numbered below `before`."""
        rows = await self._database.rows(_SUGGESTIONS, (before or _LAST, limit))
        return [(number, _suggestion(fields)) for number, *fields in rows]


def _suggestion(fields: Sequence[Any]) -> Suggestion:
    named = dict(zip(Suggestion.__struct_fields__, fields, strict=True))
    named["scores"] = msgspec.json.decode(named["scores"])
    return msgspec.convert(named, Suggestion)
