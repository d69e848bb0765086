"""The jobs that this process runs: handed to the execution, their ends to the writer.

    start(candidate) ──> execution ──> outcome ──> Ending ──> stored ──> ended

An ending that cannot be written is kept and tried again until it can: as long as the process lives,
what ran has not run in vain.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from penstock.clock import Clock
from penstock.errors import StorageError
from penstock.observe.logging import get_logger
from penstock.tasks.embedded import settle
from penstock.tasks.embedded.candidate import Candidate
from penstock.tasks.embedded.connection import Reader
from penstock.tasks.embedded.settle import Keep, Settled
from penstock.tasks.embedded.states import DELAYED, NAMES, READY
from penstock.tasks.embedded.watch import Watches
from penstock.tasks.embedded.writer import Ending
from penstock.tasks.engine import Completed, Failed, Outcome, Run, Stopped
from penstock.tasks.job import JobError, Progress, storable
from penstock.tasks.numbers import EngineTime

PROGRESS_EVERY: Final = 0.25  # seconds between writes of how far jobs are
AGAIN_FIRST: Final = 0.1  # seconds until an ending is written again, doubled up to
AGAIN_LAST: Final = 5.0

_PROGRESS: Final = "UPDATE job SET progress = ? WHERE id = ? AND state = 1"
_ARGUMENTS: Final = "SELECT arguments FROM job WHERE id = ?"

# Faults of the file, which it gets over; others are of what was to be stored.
_MAY_PASS: Final = (StorageError, sqlite3.OperationalError, MemoryError)

_log = get_logger("penstock.tasks")


class Executes(Protocol):
    """Runs attempts; see `tasks.execution`."""

    def start(self, run: Run) -> None:
        """Begin an attempt."""

    def cancel(self, number: int) -> None:
        """Ask one to end."""

    async def stop(self, grace: float) -> None:
        """Let what runs end, then make it."""

    async def aclose(self) -> None:
        """End everything."""


class Attempts:
    """What is claimed by this process, from its claim until its end is stored.

    `settled` is told of a candidate and what it has become, after it was stored.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        time: EngineTime,
        reader: Reader,
        watches: Watches,
        worker: Callable[[], int],
        end: Callable[[Ending], None],
        post: Callable[[Callable[[sqlite3.Connection], object]], None],
        settled: Callable[[Candidate, Settled], None],
    ) -> None:
        self._monotonic = clock.monotonic
        self._time = time
        self._reader = reader
        self._watches = watches
        self._worker = worker
        self._end = end
        self._post = post
        self._settled = settled
        self._execution: Executes | None = None
        self._fresh: dict[int, Progress] = {}  # progress that is not stored yet
        self._progress_timer: asyncio.TimerHandle | None = None
        self._unwritten: list[Ending] = []
        self._again_timer: asyncio.TimerHandle | None = None
        self._again = AGAIN_FIRST
        self._emptied: asyncio.Event | None = None
        self._is_stopping = False
        self.held: dict[int, Candidate] = {}

    @property
    def has_unwritten(self) -> bool:
        """Whether the file does not take what ended."""
        return bool(self._unwritten)

    def begin(self, execution: Executes) -> None:
        """Run attempts by this execution."""
        self._execution = execution

    def start(self, candidate: Candidate) -> None:
        """Run a job that is claimed."""
        candidate.began = self._monotonic()
        candidate.meters.wait.record((self._time.ms() - candidate.run_at) / 1000)
        if candidate.is_heavy:
            try:
                found = self._reader.row(_ARGUMENTS, (candidate.number,))
            except Exception as error:  # nothing ran: it is given back
                _log.warning("tasks.arguments_unreadable", job=candidate.job_id, error=str(error))
                self.give_back(candidate)
                return
            candidate.arguments = str(found[0]).encode() if found else b""
            candidate.is_heavy = False
        if candidate.number in self._watches.changes:
            self._watches.moved(candidate.number)
        if self._execution is not None:
            self._execution.start(candidate)

    def done(self, run: Run, outcome: Outcome) -> None:
        """An attempt has ended."""
        candidate = self.held[run.number]
        candidate.lane.busy -= 1
        candidate.meters.run.record(self._monotonic() - candidate.began)
        try:
            ending = self._ending(candidate, outcome)
        except Exception as error:  # or it would seem to run for ever
            ending = self._instead(candidate, error)
        self._end(ending)

    def ended(self, endings: Sequence[Ending]) -> None:
        """The writer has stored these, or could not."""
        refused = [ending for ending in endings if ending.error is not None]
        if refused:
            self._refused(refused)
        watches = self._watches
        tells = _log.is_enabled_for(logging.DEBUG)
        for ending in endings:
            if ending.error is not None:
                continue
            candidate = ending.candidate
            number = candidate.number
            self.held.pop(number, None)
            if ending.row is not None:
                candidate.meters.completed.value += 1
                if tells:
                    tell_end(candidate, "completed")
            elif ending.result is not None:
                self._settled(candidate, ending.result)
            if number in watches.ends or number in watches.changes:
                watches.changed(number)
        self._tell_if_empty()

    def drop(self, number: int) -> None:
        """Forget a claim that did not succeed."""
        self.held.pop(number, None)
        self._tell_if_empty()

    def cancel(self, number: int) -> None:
        """Ask a job that runs here to end."""
        candidate = self.held.get(number)
        if candidate is not None and self._execution is not None:
            candidate.is_cancelling = True
            self._execution.cancel(number)

    def report(self, number: int, progress: Progress) -> None:
        """Note how far a job is: seen at once, stored soon."""
        candidate = self.held.get(number)
        if candidate is None:
            return
        candidate.progress = progress
        self._fresh[number] = progress
        if self._progress_timer is None:
            loop = asyncio.get_running_loop()
            self._progress_timer = loop.call_later(PROGRESS_EVERY, self._store_progress)
        if number in self._watches.changes:
            self._watches.moved(number)

    def live(self, number: int) -> Progress | None:
        """The latest progress of a job that runs here."""
        candidate = self.held.get(number)
        return None if candidate is None else candidate.progress

    async def stop(self, grace: float) -> None:
        """End what runs, and wait until that is stored or cannot be."""
        self._is_stopping = True
        if self._execution is not None:
            await self._execution.stop(grace)
        if self.held:
            self._emptied = asyncio.Event()
            for _ in range(3):
                self._write_again()
                try:
                    async with asyncio.timeout(AGAIN_LAST):
                        await self._emptied.wait()
                except TimeoutError:
                    continue
                break
        if self._execution is not None:
            await self._execution.aclose()
        for timer in (self._progress_timer, self._again_timer):
            if timer is not None:
                timer.cancel()

    def _tell_if_empty(self) -> None:
        if not self.held and self._emptied is not None:
            self._emptied.set()

    def give_back(self, candidate: Candidate) -> None:
        """Return a job that is claimed and will not run here after all."""
        candidate.lane.busy -= 1
        self._end(Ending(candidate, work=self._stop(candidate, "", has_begun=False)))

    def _ending(self, candidate: Candidate, outcome: Outcome) -> Ending:
        """What is to be stored of an outcome."""
        progress = self._last_progress(candidate) if self._fresh else ""
        if type(outcome) is Completed:
            now = self._time.ms()
            expires = now + int(candidate.task.keep * 1000)
            result = outcome.result.decode()
            if not candidate.is_keyed and not progress:
                return Ending(candidate, row=(candidate.number, now, expires, result))
            return Ending(
                candidate, work=self._completion(candidate, now, expires, result, progress)
            )
        if type(outcome) is Failed:
            return Ending(candidate, work=self._failure(candidate, outcome, progress))
        has_begun = type(outcome) is not Stopped or outcome.has_begun
        return Ending(candidate, work=self._stop(candidate, progress, has_begun=has_begun))

    def _instead(self, candidate: Candidate, error: Exception) -> Ending:
        """A failure that can be stored, for an outcome that cannot."""
        _log.error(
            "tasks.outcome_not_storable",
            job=candidate.job_id,
            task=candidate.task.name,
            error=repr(error),
        )
        message = f"its outcome cannot be stored: {type(error).__name__}: {error}"
        failed = Failed("NotStorable", message[:2_000], retryable=False)
        return Ending(candidate, work=self._failure(candidate, failed, ""), is_instead=True)

    def _completion(
        self, candidate: Candidate, now: int, expires: int, result: str, progress: str
    ) -> Callable[[sqlite3.Connection], Settled | None]:
        number, worker = candidate.number, self._worker()
        return lambda connection: settle.complete(
            connection,
            number,
            worker=worker,
            now=now,
            expires=expires,
            result=result,
            progress=progress,
        )

    def _failure(
        self, candidate: Candidate, outcome: Failed, progress: str
    ) -> Callable[[sqlite3.Connection], Settled | None]:
        number, worker, now = candidate.number, self._worker(), self._time.ms()
        delay: int | None = None
        if outcome.retryable:
            wait = outcome.after
            if wait is None:
                wait = candidate.task.policy.delay(candidate.attempt)
            delay = int(wait * 1000)
        error = JobError(
            type=storable(outcome.type),
            message=storable(outcome.message),
            at=now,
            attempt=candidate.attempt,
            traceback=storable(outcome.traceback),
        )
        keep = keep_of(candidate)
        stop = self._stop(candidate, progress)

        def work(connection: sqlite3.Connection) -> Settled | None:
            if self._is_stopping and outcome.type == "CancelledError":
                return stop(connection)  # the whole loop ends: asyncio.run cancels what is on it
            return settle.fail(
                connection,
                number,
                worker=worker,
                now=now,
                error=error,
                delay=delay,
                keep=keep,
                progress=progress,
            )

        return work

    def _stop(
        self, candidate: Candidate, progress: str, *, has_begun: bool = True
    ) -> Callable[[sqlite3.Connection], Settled | None]:
        number, worker, now = candidate.number, self._worker(), self._time.ms()
        keep, is_cancelling = keep_of(candidate), candidate.is_cancelling
        return lambda connection: settle.stopped(
            connection,
            number,
            worker=worker,
            now=now,
            keep=keep,
            is_cancelling=is_cancelling,
            has_begun=has_begun,
            progress=progress,
        )

    def _last_progress(self, candidate: Candidate) -> str:
        fresh = self._fresh.pop(candidate.number, None)
        return "" if fresh is None else _packed(fresh)

    def _store_progress(self) -> None:
        self._progress_timer = None
        rows = [(_packed(progress), number) for number, progress in self._fresh.items()]
        self._fresh.clear()
        if rows:
            self._post(lambda connection: connection.executemany(_PROGRESS, rows).rowcount)

    def _refused(self, endings: Sequence[Ending]) -> None:
        """Keep what the file does not take now; of what it never will, store a failure instead."""
        kept: list[Ending] = []
        for ending in endings:
            error = ending.error
            if error is None or ending.is_instead or isinstance(error, _MAY_PASS):
                kept.append(ending)
            else:
                self._end(self._instead(ending.candidate, error))
        if kept:
            self._keep(kept)

    def _keep(self, refused: Sequence[Ending]) -> None:
        if not self._unwritten:
            _log.error(
                "tasks.ends_not_stored",
                jobs=len(refused),
                error=str(refused[0].error),
                advice="they are kept and stored as soon as the file can be written",
            )
        self._unwritten += refused
        if self._again_timer is None:
            loop = asyncio.get_running_loop()
            self._again_timer = loop.call_later(self._again, self._write_again)
            self._again = min(AGAIN_LAST, self._again * 2)

    def _write_again(self) -> None:
        if self._again_timer is not None:
            self._again_timer.cancel()
            self._again_timer = None
        unwritten, self._unwritten = self._unwritten, []
        for ending in unwritten:
            ending.error = None
            self._end(ending)


def _packed(progress: Progress) -> str:
    """Progress as it is stored; nothing if it cannot be."""
    try:
        return msgspec.json.encode(progress).decode()
    except (TypeError, ValueError) as error:  # of more use without than not at all
        _log.warning("tasks.progress_not_storable", error=str(error))
        return ""


def keep_of(candidate: Candidate) -> Keep:
    """How long a job's record stays."""
    task = candidate.task
    return Keep(int(task.keep * 1000), int(max(task.keep, task.keep_failed) * 1000))


def tell(candidate: Candidate, settled: Settled) -> None:
    """Count and log what a job has become."""
    meters = candidate.meters
    if settled.state in (READY, DELAYED):
        if settled.attempt:
            meters.retries.add()
            _log.debug("tasks.job_again", job=candidate.job_id, task=candidate.task.name)
        return
    state = NAMES[settled.state]
    meters.ended(state)
    tell_end(candidate, state)


def tell_end(candidate: Candidate, state: str) -> None:
    """Log that a job has ended."""
    log = _log.warning if state == "failed" else _log.debug
    log(
        f"tasks.job_{state}",
        job=candidate.job_id,
        task=candidate.task.name,
        attempt=candidate.attempt,
        request_id=candidate.request_id,
    )
