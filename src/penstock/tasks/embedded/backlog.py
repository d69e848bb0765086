"""Reads the waiting jobs that memory does not hold.

Rows come as one JSON text: a row at a time, a thread would have to get the interpreter's lock back
for each of them, which takes milliseconds while the loop is busy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from penstock.errors import StorageError
from penstock.observe.logging import get_logger
from penstock.tasks.embedded.candidate import Candidate
from penstock.tasks.embedded.connection import WRITE_PATIENCE, Reader
from penstock.tasks.embedded.dispatch import Dispatcher
from penstock.tasks.embedded.lane import Lane
from penstock.tasks.engine import Outcome, Run
from penstock.tasks.job import job_id

AT_ONCE: Final = 1_000  # jobs
HEAVY: Final = 8_192  # characters of arguments that are left on disk until the job starts
PAUSE: Final = 0.02  # seconds between looks while there are jobs in memory to go on with
AFTER_FAULT: Final = 1.0
ELDERS: Final = 64

_FIELDS: Final = (
    "id, task, priority, attempt, max_attempts, run_at, deadline, key IS NOT NULL, owner, "
    f"request_id, trace_id, CASE WHEN length(arguments) <= {HEAVY} THEN arguments END"
)
_NEXT: Final = (
    f"SELECT json_group_array(json_array({_FIELDS})) FROM (SELECT * FROM job "
    "WHERE state = 0 AND queue = ? AND task IN (SELECT value FROM json_each(?)) "
    "ORDER BY priority, id LIMIT ?)"
)
_OLDEST_OF_EACH: Final = " UNION ALL ".join(
    "SELECT * FROM (SELECT * FROM job WHERE state = 0 AND queue = ?1 "
    f"AND priority = {priority} AND task IN (SELECT value FROM json_each(?2)) "
    "ORDER BY id LIMIT ?3)"
    for priority in range(10)
)
_ELDERS: Final = (
    f"SELECT json_group_array(json_array({_FIELDS})) FROM "
    f"(SELECT * FROM ({_OLDEST_OF_EACH}) ORDER BY run_at, id LIMIT ?3)"
)

_ONE: Final = f"SELECT queue, json_array({_FIELDS}) FROM job WHERE id = ? AND state = 0"

Row = tuple[int, str, int, int, int, int, int, int, str, str, str, str | None]

_decode_one = msgspec.json.Decoder(Row).decode
_decode = msgspec.json.Decoder(list[Row]).decode
_log = get_logger("penstock.tasks")


class Backlog:
    """The ready jobs on disk, for the lanes of one process."""

    def __init__(
        self,
        path: Path,
        dispatcher: Dispatcher,
        *,
        done: Callable[[Run, Outcome], None],
        bound: int,
    ) -> None:
        self._dispatcher = dispatcher
        self._done = done
        self._at_once = min(AT_ONCE, bound)
        self._reader = Reader(path, patience=WRITE_PATIENCE)

    async def read(self, lane: Lane) -> None:
        """Let a lane know of its next jobs."""
        lane.begin_read()
        loop = asyncio.get_running_loop()
        try:
            since = loop.time() - lane.looked_at
            if lane.waiting and since < PAUSE:
                await asyncio.sleep(PAUSE - since)
                lane.begin_read()
            found = await self._fetch(_NEXT, lane, self._at_once)
        except StorageError as error:
            _log.warning("tasks.backlog_unreadable", queue=lane.name, detail=error.detail)
            await asyncio.sleep(AFTER_FAULT)
            lane.fail_read()
        except Exception:  # the queue must not stand still for it
            _log.exception("tasks.backlog_unreadable", queue=lane.name)
            await asyncio.sleep(AFTER_FAULT)
            lane.fail_read()
        except asyncio.CancelledError:
            lane.fail_read()
            raise
        else:
            is_all = len(found) < self._at_once
            lane.end_read(found, up_to=None if is_all else found[-1].place)
            lane.looked_at = loop.time()

    async def read_elders(self, lane: Lane) -> None:
        """Let a lane know which of its jobs wait longest."""
        try:
            found = await self._fetch(_ELDERS, lane, ELDERS)
        except StorageError:
            return
        lane.elders.clear()
        lane.elders.extend(found)

    def know(self, number: int) -> None:
        """Let the lane of one ready job know of it now."""
        found = self._reader.row(_ONE, (number,))
        lane = None if found is None else self._dispatcher.lanes.get(found[0])
        if found is None or lane is None:
            return
        candidate = self._candidate(lane, *_decode_one(found[1]))
        if candidate is not None:
            lane.push(candidate)

    def close(self) -> None:
        """Read no more."""
        self._reader.close()

    async def _fetch(self, sql: str, lane: Lane, limit: int) -> list[Candidate]:
        wanted = msgspec.json.encode(self._dispatcher.wanted()).decode()
        rows = await asyncio.to_thread(self._reader.rows, sql, (lane.name, wanted, limit))
        found = (self._candidate(lane, *row) for row in _decode(rows[0][0]))
        return [candidate for candidate in found if candidate is not None]

    def _candidate(
        self,
        lane: Lane,
        number: int,
        task: str,
        priority: int,
        attempt: int,
        max_attempts: int,
        run_at: int,
        deadline: int,
        is_keyed: int,
        owner: str,
        request_id: str,
        trace_id: str,
        arguments: str | None,
    ) -> Candidate | None:
        declared = self._dispatcher.task(task)
        if declared is None:
            return None
        return Candidate(
            number=number,
            job_id=job_id(number),
            task=declared,
            arguments=b"" if arguments is None else arguments.encode(),
            attempt=attempt,
            done=self._done,
            owner=owner or None,
            request_id=request_id or None,
            trace_id=trace_id or None,
            lane=lane,
            meters=self._dispatcher.meters(lane.name, task),
            priority=priority,
            max_attempts=max_attempts,
            run_at=run_at,
            deadline=deadline,
            is_keyed=bool(is_keyed),
            once=declared.at_most_once,
            is_heavy=arguments is None,
        )
