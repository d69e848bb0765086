"""Accepts new jobs: what is added while a script runs goes out together with the next one.

A job's id is drawn here, so a call whose answer was lost is made again and adds nothing twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Final, NamedTuple

from penstock.errors import StorageUnavailable
from penstock.tasks.celery.remote import Remote, RemoteSync
from penstock.tasks.celery.scripts import Word
from penstock.tasks.engine import Added, NewJob
from penstock.tasks.job import job_id
from penstock.tasks.numbers import SLOTS, EngineTime, Numbers

AT_ONCE: Final = 1000  # jobs in one script: some 30 ms of Redis' time
MAX_WAITING: Final = 100_000  # jobs that wait to be sent
TRIES: Final = 2  # of a call that is cut off
REDRAWN: Final = 5  # times that an id is drawn again because it is taken
TAKEN: Final = 2


class Ids:
    """Draws ids that no other process draws."""

    def __init__(self, time: EngineTime) -> None:
        self._time = time
        self._numbers = Numbers()
        self._has_slot = False
        self.origin = token_hex(6)

    def draw(self) -> str:
        """An id for a new job."""
        return job_id(self._numbers.next(self._time.ms()))

    async def begin(self, remote: Remote, *, anew: bool = False) -> None:
        """Get a slot of our own."""
        if anew or not self._has_slot:
            (slot,) = await remote.pipe([("INCR", f"{remote.prefix}slots")])
            self._numbers.begin(slot=int(slot) & SLOTS, last=0)
            self._has_slot = True

    def begin_sync(self, remote: RemoteSync, *, anew: bool = False) -> None:
        """The same, from a thread."""
        if anew or not self._has_slot:
            slot: Any = remote.command("INCR", f"{remote.prefix}slots")
            self._numbers.begin(slot=int(slot) & SLOTS, last=0)
            self._has_slot = True


class Waiting(NamedTuple):
    """Jobs of one call of `add`, and who waits for them."""

    jobs: Sequence[NewJob]
    added: asyncio.Future[list[Added]]


class Intake:
    """Accepts jobs on one loop."""

    def __init__(self, remote: Remote, ids: Ids) -> None:
        self._remote = remote
        self._ids = ids
        self._waiting: deque[Waiting] = deque()
        self._count = 0
        self._sending: asyncio.Task[None] | None = None

    def add(self, jobs: Sequence[NewJob]) -> asyncio.Future[list[Added]]:
        """Accept jobs, all or none. The future raises StorageError."""
        if self._count >= MAX_WAITING:
            raise StorageUnavailable(
                f"{self._count} jobs wait for the broker already; it is too slow for them"
            )
        added: asyncio.Future[list[Added]] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(jobs, added))
        self._count += len(jobs)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._send())
        return added

    async def aclose(self) -> None:
        """Send what waits."""
        if self._sending is not None:
            await asyncio.wait((self._sending,))

    async def _send(self) -> None:
        while self._waiting:
            taken = [self._waiting.popleft()]
            size = len(taken[0].jobs)
            while self._waiting and size + len(self._waiting[0].jobs) <= AT_ONCE:
                taken.append(self._waiting.popleft())
                size += len(taken[-1].jobs)
            try:
                added = await self._accept([job for one in taken for job in one.jobs])
            except Exception as error:
                for one in taken:
                    if not one.added.done():
                        one.added.set_exception(error)
            else:
                at = 0
                for one in taken:
                    if not one.added.done():
                        one.added.set_result(added[at : at + len(one.jobs)])
                    at += len(one.jobs)
            finally:
                self._count -= size

    async def _accept(self, jobs: Sequence[NewJob]) -> list[Added]:
        await self._ids.begin(self._remote)
        ids = [self._ids.draw() for _ in jobs]
        added = await self._ask(ids, jobs)
        for _ in range(REDRAWN):
            taken = [at for at, (_, how) in enumerate(added) if how == TAKEN]
            if not taken:
                break
            await self._ids.begin(self._remote, anew=True)
            more = await self._ask([self._ids.draw() for _ in taken], [jobs[at] for at in taken])
            for at, one in zip(taken, more, strict=True):
                added[at] = one
        return [Added(id, existed=how == 1) for id, how in added]

    async def _ask(self, ids: Sequence[str], jobs: Sequence[NewJob]) -> list[tuple[str, int]]:
        words: list[Word] = [self._ids.origin]
        for id, job in zip(ids, jobs, strict=True):
            words += words_of(id, job)
        for attempt in range(TRIES):
            try:
                told = await self._remote.ask("intake", "add", *words)
                break
            except StorageUnavailable:
                if attempt == TRIES - 1:
                    raise
        return [(told[at].decode(), told[at + 1]) for at in range(0, len(told), 2)]


def words_of(id: str, job: NewJob) -> list[Word]:
    """A job as `intake.lua` takes it."""
    return [
        *(id, job.task, job.arguments, job.queue, job.priority, job.max_attempts),
        "" if job.run_at is None else job.run_at,
        int(job.delay * 1000) if job.delay > 0 else "",
        *(0 if job.key is None else 1, job.key or "", int(job.again)),
        "" if job.expires is None else int(job.expires * 1000),
        *(job.owner or "", job.batch_id or "", job.request_id or "", job.trace_id or ""),
    ]
