"""What the parts of the engine work on together: the file, the lanes, and the jobs that run.

add, claims, endings ──> Outbox ──> Writer ──commit──> written ──> start ──> execution ──> outcome
         ^                                                                                  │
         └──────────────────────── lanes: a place is free <─────────────────────────────────┘
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from penstock.clock import Clock
from penstock.errors import QueueStopped, StorageError
from penstock.hub import Hub
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks.embedded import changes
from penstock.tasks.embedded.attempts import Attempts, tell
from penstock.tasks.embedded.backlog import Backlog
from penstock.tasks.embedded.candidate import Candidate
from penstock.tasks.embedded.connection import Durability, OpenFile, Reader, open_file
from penstock.tasks.embedded.dispatch import Dispatcher
from penstock.tasks.embedded.faults import fault
from penstock.tasks.embedded.lane import Lane
from penstock.tasks.embedded.liveness import Registration
from penstock.tasks.embedded.outbox import Outbox
from penstock.tasks.embedded.settle import Settled
from penstock.tasks.embedded.states import DELAYED, READY
from penstock.tasks.embedded.wake import Peers
from penstock.tasks.embedded.watch import Watches
from penstock.tasks.embedded.writer import Batch, Ending, Insert, Writer
from penstock.tasks.numbers import EngineTime, Numbers

T = TypeVar("T")

AFTER_FAULT: Final = 0.5  # seconds until jobs are claimed again after the file refused it
CLOSE_PATIENCE: Final = 30.0
LOSSES: Final = 3  # turns without a job, after which what others left is read from disk

_log = get_logger("penstock.tasks")


class Core:
    """One process's share in a job file. Opening makes the file; raises StorageError."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        metrics: Metrics,
        hub: Hub | None,
        workers: int | Mapping[str, int],
        durability: Durability,
        bound: int,
        patience: float,
    ) -> None:
        self.path = path
        self.clock = clock
        self.metrics = metrics
        self.time = EngineTime(clock)
        self.numbers = Numbers()
        self.watches = Watches()
        self.registration = Registration(path)
        connection = open_file(path, durability, patience=patience)
        try:
            last = self.registration.enter(connection, now=self.time.ms())
        except Exception as error:
            connection.close()
            raise fault(error, path) from error
        self.file = OpenFile(path)
        self.numbers.begin(slot=self.registration.id, last=last)
        self.reader = Reader(path)
        self.peers = Peers(path, self.registration.id, reader=self.reader, clock=clock)
        self.writer = Writer(
            connection, path, worker=lambda: self.registration.id, written=self._written
        )
        self.outbox = Outbox(self.writer, fill=self._fill)
        self.dispatcher = Dispatcher(
            clock=clock, metrics=metrics, hub=hub, workers=workers, bound=bound, changed=self.stir
        )
        self.attempts = Attempts(
            clock=clock,
            time=self.time,
            reader=self.reader,
            watches=self.watches,
            worker=lambda: self.registration.id,
            end=self._end,
            post=self.outbox.post,
            settled=self._settled,
        )
        self.backlog = Backlog(path, self.dispatcher, done=self.attempts.done, bound=bound)
        self.due: Callable[[int], None] = lambda _: None  # told when something will come due
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_running = False
        self.is_closed = False
        self.outstanding = 0  # adds that are not written yet
        self._stirred: set[Lane] = set()
        self._is_blocked = False
        self._reading: set[asyncio.Task[None]] = set()

    def bind(self) -> asyncio.AbstractEventLoop:
        """The loop on which the engine lives: the first that used it."""
        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.get_running_loop()
            self.outbox.bind(self.loop)
        return self.loop

    def call(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Run a function in a write transaction. Raises StorageError."""
        if self.is_closed:
            raise QueueStopped
        self.bind()
        return self.outbox.call(work)

    def stir(self, lane: Lane) -> None:
        """Jobs of a lane may start that could not before."""
        self._stirred.add(lane)
        self.outbox.touch()

    def look_at_disk(self, queues: Container[str] | None = None) -> None:
        """There may be ready jobs that memory does not know of, in these queues or in any."""
        for name, lane in self.dispatcher.lanes.items():
            if queues is None or name in queues:
                lane.look()
            self.stir(lane)

    async def know_disk(self) -> None:
        """Look, and return when memory knows."""
        self.look_at_disk()
        self.outbox.flush()
        await asyncio.gather(*self._reading)

    def ready(self, number: int) -> None:
        """A job that was on disk is ready, or has another place."""
        if self.is_running:
            try:
                self.backlog.know(number)
            except StorageError:
                self.look_at_disk()
            for lane in self.dispatcher.lanes.values():
                self.stir(lane)
        self.peers.wake()

    async def close(self) -> None:
        """Write what waits and leave the file."""
        self.is_closed = True
        for reading in list(self._reading):
            reading.cancel()
        self.dispatcher.close()
        closed = await self._end_writing()
        self.reader.close()
        self.backlog.close()
        if closed:
            self.registration.release()

    async def _end_writing(self) -> bool:
        """End the writer. Not in another thread: none may be started while the process exits."""
        until, pause = self.clock.monotonic() + CLOSE_PATIENCE, 0.001
        while not self.writer.close(0):
            if self.clock.monotonic() > until:
                return False
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)
        return True

    def _end(self, ending: Ending) -> None:
        self._stirred.add(ending.candidate.lane)
        self.outbox.end(ending)

    def _fill(self, batch: Batch) -> None:
        """Let jobs start for which there is room."""
        if not self._stirred or not self.is_running or self._is_blocked:
            return
        now = self.time.ms()
        held = self.attempts.held
        late: list[Candidate] = []
        for lane in self._stirred:
            if lane.has_room:
                chosen, over = self.dispatcher.choose(lane, now, held)
                late += over
                for candidate in chosen:
                    held[candidate.number] = candidate
                batch.claims += chosen
            if lane.should_read:
                self._read(lane)
        self._stirred.clear()
        batch.now = now
        if late:
            self._expire(late)

    def _written(self, group: Sequence[Batch]) -> None:
        """A commit has ended; on the loop."""
        for batch in group:
            for op in batch.inserts:
                self._inserted(op)
            if batch.claims:
                self._claimed(batch)
            if batch.endings:
                self.attempts.ended(batch.endings)
            for call in batch.calls:
                if call.future is None or call.future.done():
                    continue
                if call.error is not None:
                    call.future.set_exception(call.error)
                else:
                    call.future.set_result(call.result)
        self.outbox.flush()

    def _inserted(self, op: Insert) -> None:
        self.outstanding -= 1
        is_running = self.is_running
        for candidate in op.candidates:
            lane = candidate.lane
            if not candidate.attempt:
                lane.inserting -= 1
                if op.error is None and candidate.number not in op.twins:
                    lane.push(candidate)
                self._stirred.add(lane)
            elif op.error is not None or candidate.number in op.twins:
                self._drop(candidate)
            elif is_running:
                self.attempts.start(candidate)
            else:
                self.attempts.give_back(candidate)
        future = op.future
        if not future.done():
            if op.error is not None:
                future.set_exception(op.error)
            else:
                future.set_result(op.added)
        if op.error is None:
            if op.due:
                self.due(op.due)
            if op.wakes:
                self.peers.wake()

    def _claimed(self, batch: Batch) -> None:
        if batch.claim_error is not None:
            for candidate in batch.claims:
                self._drop(candidate)
                candidate.lane.push(candidate)
            self._block()
            return
        lost = batch.lost
        for candidate in batch.claims:
            if candidate.number in lost:
                self._drop(candidate)
            elif self.is_running:
                candidate.attempt += 1
                self.attempts.start(candidate)
            else:
                candidate.attempt += 1
                self.attempts.give_back(candidate)
        if lost or batch.claims[0].lane.losses:
            self._count_losses(batch.claims, lost)

    def _count_losses(self, claims: Sequence[Candidate], lost: Collection[int]) -> None:
        """Go on with the jobs in memory while some can be had; else look what others have left.

        Processes that share a queue overtake one another: each loses what the other has just
        begun, and gets what comes next.
        """
        had = {candidate.lane for candidate in claims if candidate.number not in lost}
        for lane in {candidate.lane for candidate in claims}:
            lane.losses = 0 if lane in had else lane.losses + 1
            if lane.losses == LOSSES:
                lane.losses = 0
                lane.clear()
            self._stirred.add(lane)

    def _drop(self, candidate: Candidate) -> None:
        """Free the place of a job that did not come to run here."""
        self.attempts.drop(candidate.number)
        candidate.lane.busy -= 1
        self._stirred.add(candidate.lane)

    def _settled(self, candidate: Candidate, settled: Settled) -> None:
        """A job has become something else than completed without more ado."""
        tell(candidate, settled)
        if settled.state == READY:
            self.ready(candidate.number)
        elif settled.state == DELAYED:
            self.due(settled.run_at)

    def _expire(self, late: Iterable[Candidate]) -> None:
        numbers = [candidate.number for candidate in late]
        for candidate in late:
            candidate.meters.ended("expired")
        now = self.time.ms()

        def ended(_: asyncio.Future[None]) -> None:
            for number in numbers:
                self.watches.changed(number)

        self.outbox.call(lambda c: changes.expire(c, numbers, now=now)).add_done_callback(ended)

    def _block(self) -> None:
        """Claim nothing for a while: the file does not take it."""
        if self._is_blocked:
            return
        self._is_blocked = True
        _log.warning("tasks.claims_refused", path=str(self.path), again_seconds=AFTER_FAULT)
        asyncio.get_running_loop().call_later(AFTER_FAULT, self._unblock)

    def _unblock(self) -> None:
        self._is_blocked = False
        self.look_at_disk()

    def _read(self, lane: Lane) -> None:
        """Take more jobs of a lane into memory."""
        reading = asyncio.ensure_future(self._read_more(lane))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def _read_more(self, lane: Lane) -> None:
        await self.backlog.read(lane)
        self.stir(lane)
