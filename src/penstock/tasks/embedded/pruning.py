"""Forgets jobs that ended long enough ago: sweeps the file, deletes in small transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec

from penstock.tasks.embedded import changes
from penstock.tasks.embedded.connection import Reader
from penstock.tasks.embedded.core import Core

SWEPT_AT_ONCE: Final = 20_000  # rows looked at
DELETED_AT_ONCE: Final = 500  # rows of one transaction
PAUSE: Final = 0.005  # seconds between them, for other writes

_SWEEP: Final = """
SELECT max(id), json_group_array(id) FILTER (WHERE state IN (2, 3, 4, 5) AND {old})
FROM (SELECT id, state, finished_at, expires_at FROM job WHERE id > ? ORDER BY id LIMIT {limit})
"""
_EXPIRED: Final = _SWEEP.format(old="expires_at <= ?", limit=SWEPT_AT_ONCE)
_ENDED: Final = _SWEEP.format(old="finished_at < ?", limit=SWEPT_AT_ONCE)

_decode = msgspec.json.Decoder(list[int]).decode


async def prune(core: Core, reader: Reader, *, before: int | None) -> int:
    """Forget what has expired, or what ended before an instant; how many jobs."""
    sql = _EXPIRED if before is None else _ENDED
    limit = core.time.ms() if before is None else before
    pruned = 0
    position = 0
    while True:
        last, found = (await asyncio.to_thread(reader.rows, sql, (limit, position)))[0]
        if last is None:
            return pruned
        position = last
        for numbers in _slices(_decode(found)):
            pruned += await core.call(partial(changes.forget, numbers=numbers))
            await asyncio.sleep(PAUSE)


def _slices(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), DELETED_AT_ONCE):
        yield numbers[start : start + DELETED_AT_ONCE]
