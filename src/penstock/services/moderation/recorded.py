"""Recorded verdicts as facts to decide on again: a slice as arrays, or one row."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
import numpy as np

from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.policy import UNSEEN, Decision
from penstock.services.moderation.reading import FOREIGN
from penstock.services.moderation.rehearsal_store import DECISIONS, HEAD, HEAD_WIDTH, Packed, Row
from penstock.services.moderation.vector import (
    COMPLETE,
    FAILED,
    UNIT,
    UNKNOWN,
    Facts,
    as_scores,
)
from penstock.services.moderation.vector import UNSEEN as LOOK_MISSING

DECODED: Final = 256  # records read in one turn: about 1 ms of the interpreter


async def unpack(packed: Packed) -> tuple[Facts, int]:
    """A slice as arrays, and how many of it cannot be read; in a thread, in short turns."""
    kept: list[tuple[bytes, bytes]] = []
    for start in range(0, len(packed.unpacked), DECODED):
        part = packed.unpacked[start : start + DECODED]
        kept += await asyncio.to_thread(_from_records, part)
    lost = len(packed.unpacked) - len(kept)
    facts, unsound = await asyncio.to_thread(_sound, packed, kept)
    return facts, lost + unsound


def _from_records(rows: Sequence[tuple[str, str, bytes]]) -> list[tuple[bytes, bytes]]:
    read = (_from_record(*row) for row in rows)
    return [each for each in read if each is not None]


def _sound(packed: Packed, older: list[tuple[bytes, bytes]]) -> tuple[Facts, int]:
    """What can be decided on, and how many are left out."""
    heads, scores = packed.heads, packed.scores
    if older:
        heads += b"".join(head for head, _ in older)
        scores += b"".join(blob for _, blob in older)
    facts = _facts(heads, scores)
    sound = (
        (facts.decisions < len(DECISIONS))
        & (facts.scores >= UNKNOWN).all(axis=1)
        & (facts.scores <= UNIT).all(axis=1)
    )
    if sound.all():
        return facts, 0
    return facts.where(sound), int((~sound).sum())


def _facts(heads: bytes, scores: bytes) -> Facts:
    digits = np.frombuffer(heads, np.uint8).reshape(-1, HEAD_WIDTH) - ord("0")
    columns: list[Any] = []
    at = 0
    for _, width in HEAD:
        powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
        columns.append(digits[:, at : at + width].astype(np.int64) @ powers)
        at += width
    rowids, created_at, decisions, is_foreign = columns
    return Facts(
        rowids=rowids,
        created_at=created_at,
        decisions=decisions.astype(np.int8),
        is_foreign=is_foreign.astype(np.bool_),
        missing=digits[:, at].astype(np.int8),
        listed=digits[:, at + 1].astype(np.int8),
        scores=np.frombuffer(scores, "<i4").reshape(-1, len(CATEGORIES)),
    )


class _Scored(msgspec.Struct, array_like=True):
    """The beginning of a recorded judgement; what follows is not read."""

    digest: str
    scores: tuple[float | None, ...]
    findings: msgspec.Raw
    other_language: float
    source: str


_scored = msgspec.msgpack.Decoder(_Scored)


def _from_record(head: str, score_key: str, record: bytes) -> tuple[bytes, bytes] | None:
    """Head and scores of a verdict from before scores had a column; None: it cannot be read."""
    try:
        read = _scored.decode(record)
    except msgspec.DecodeError:
        return None
    if any(score is not None and not 0.0 <= score <= 1.0 for score in read.scores):
        return None
    known = [UNKNOWN if score is None else round(score * UNIT) for score in read.scores]
    padded = [*known, *([UNKNOWN] * len(CATEGORIES))][: len(CATEGORIES)]
    foreign = read.other_language >= FOREIGN and read.source != "provider"
    fault = score_key.removeprefix(read.digest)
    missing = COMPLETE if not fault else LOOK_MISSING if fault in UNSEEN else FAILED
    told = f"{head[:-3]}{int(foreign)}{missing}{head[-1]}"
    return told.encode(), np.array(padded, "<i4").tobytes()


def facts_of(row: Row) -> tuple[tuple[float | None, ...], bool, str | None, Decision | None]:
    """What a judge is asked about one recorded verdict: scores, foreign, degraded, listed."""
    listed = cast("Decision | None", row.listed)
    if row.scores and len(row.scores) % 4 == 0:
        known = np.frombuffer(row.scores, "<i4").tolist()
        foreign, degraded = bool(row.is_foreign), row.degraded
        scores = as_scores(known)
    else:
        read = _scored.decode(row.record)
        foreign = read.other_language >= FOREIGN and read.source != "provider"
        degraded = row.score_key.removeprefix(read.digest) or None
        scores = read.scores
    padded = (*scores, *([None] * len(CATEGORIES)))[: len(CATEGORIES)]
    return padded, foreign, degraded, listed
