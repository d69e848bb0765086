"""Runs what tickets allow: claims the job, runs one attempt, says what came of it.

    a thread of Celery's pool: claim ──► the loop thread: Execution ──► settle

A claim is a lease, renewed for as long as this process lives. An outcome that cannot
be written is kept and tried again until it can: what ran has not run in vain.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from secrets import token_hex
from typing import Any, Final, NamedTuple

import msgspec

from penstock.errors import StorageError, StorageUnavailable
from penstock.observe.logging import get_logger
from penstock.tasks.celery.engine import CeleryEngine
from penstock.tasks.celery.intake import TAKEN, words_of
from penstock.tasks.celery.remote import RemoteSync
from penstock.tasks.celery.worker.hearing import Hearing
from penstock.tasks.celery.worker.leases import Leases
from penstock.tasks.celery.worker.reports import Reports
from penstock.tasks.engine import Completed, Failed, NewJob, Outcome, Run, Stopped
from penstock.tasks.execution.run import Execution
from penstock.tasks.job import Progress, storable
from penstock.tasks.meters import Meters
from penstock.tasks.task import Task

CLAIM_AGAIN: Final = (0.1, 0.5, 2.0)  # seconds before a claim is made again
REDRAWN: Final = 5  # times that an id is drawn again because it is taken
ADOPTED: Final = 86_400  # seconds that a message of Celery's own making is known
AGAIN_FIRST: Final = 0.1  # seconds until an outcome is written again, doubled up to
AGAIN_LAST: Final = 5.0

_FINAL: Final = ("completed", "failed", "cancelled")

_log = get_logger("penstock.tasks")


class Held:
    """A job that is claimed here, or about to be."""

    __slots__ = ("is_asked", "is_claimed", "job_id", "number", "progress", "ticket")

    def __init__(self, number: int, job_id: str, ticket: str) -> None:
        self.number = number
        self.job_id = job_id
        self.ticket = ticket
        self.is_claimed = False
        self.is_asked = False  # to end
        self.progress: Progress | None = None


class Ended(NamedTuple):
    """What a ticket has led to."""

    state: str  # of the job; "" when nothing was run
    outcome: Outcome | None = None


class Claim(NamedTuple):
    """What the script answers to a claim that holds."""

    attempt: int
    queue: str
    arguments: bytes
    owner: str | None
    request_id: str | None
    trace_id: str | None
    waited: int  # milliseconds since it was ready


class Bench:
    """The jobs that one process of a worker runs. Everything but `work` happens on `loop`."""

    def __init__(self, engine: CeleryEngine, *, loop: asyncio.AbstractEventLoop, node: str) -> None:
        self.engine = engine
        self._loop = loop
        self._node = node
        self._lease = int(engine.address.lease * 1000)
        self._remote = RemoteSync(engine.address)
        self._numbers = count(1)
        self._claims = token_hex(6)
        self._held: dict[int, Held] = {}
        self._meters: dict[tuple[str, str], Meters] = {}
        self._closing = threading.Event()
        self._reports = Reports(engine)
        self._execution = Execution(clock=engine.clock, metrics=engine.metrics, report=self._report)
        self._leases = Leases(
            RemoteSync(engine.address),
            self._held,
            lease=engine.address.lease,
            tell=self._told,
            tasks=engine.tasks,
        )
        self._hearing = Hearing(engine.address, heard=self._cancelled)

    async def start(self) -> None:
        """Renew leases and hear of cancels from now on."""
        self._leases.start()
        self._hearing.start()

    async def stop(self, grace: float) -> None:
        """Let what runs end within `grace` seconds, then make it and give it back."""
        await self._execution.stop(grace)
        self._closing.set()
        for _ in range(100):  # the pool's threads write the outcomes
            if not self._held:
                break
            await asyncio.sleep(0.02)
        await self._execution.aclose()
        await self._hearing.aclose()
        await self._reports.aclose()
        await asyncio.to_thread(self._leases.close)
        self._remote.close()

    # --- in a thread of the pool -----------------------------------------------------------------

    def work(self, name: str, job_id: str, ticket: str) -> Ended:
        """Run the job of a ticket, if it still allows that. Raises StorageError before it began."""
        task = self.engine.tasks.get(name)
        held = Held(next(self._numbers), job_id, ticket)
        self._held[held.number] = held  # before the claim: a cancel may come right behind it
        try:
            told = self._claim(held, task)
            if told[0] != b"run" or task is None:
                return Ended(told[1].decode() if told[0] == b"gone" else "")
            held.is_claimed = True
            claim = _claim(told)
            meters = self._meters_of(claim.queue, name)
            meters.wait.record(max(0, claim.waited) / 1000)
            began = self.engine.clock.monotonic()
            outcome = self._run(held, task, claim)
            meters.run.record(self.engine.clock.monotonic() - began)
            state = self._settle(held, task, claim, outcome)
        finally:
            del self._held[held.number]
        if state in _FINAL:
            meters.ended(state)
        elif state == "queued" and type(outcome) is Failed:
            meters.retries.add()
        return Ended(state, outcome)

    def _claim(self, held: Held, task: Task[..., Any] | None) -> Any:
        """What the script answers; made again where its answer may be lost, it holds as it did."""
        words = self._claim_words(held, task)
        for pause in CLAIM_AGAIN:
            try:
                return self._remote.ask("attempts", "claim", *words)
            except StorageUnavailable:
                if self._closing.wait(pause):
                    break
        return self._remote.ask("attempts", "claim", *words)

    def adopt(self, name: str, args: list[Any], kwargs: dict[str, Any], *, message: str) -> str:
        """Accept what was sent by Celery's own means, as this message, as a job; its id.

        Raises InvalidInput, StorageError, and KeyError for a task that is not known here.
        """
        job: NewJob = self.engine.tasks[name].new_job(args, kwargs)
        ids = self.engine.ids
        ids.begin_sync(self._remote)
        known = f"{self._remote.prefix}adopted:{message}"
        for _ in range(REDRAWN):
            # The same message again is the same job: it was accepted and not acknowledged.
            self._remote.command("SET", known, ids.draw(), "NX", "EX", ADOPTED)
            job_id = self._remote.command("GET", known).decode()
            told = self._remote.ask("intake", "add", f"message {message}", *words_of(job_id, job))
            if told[1] != TAKEN:
                return str(told[0].decode())
            ids.begin_sync(self._remote, anew=True)
            self._remote.command("DEL", known)
        raise StorageUnavailable("no id is free for a job; the clocks of the servers disagree")

    def _claim_words(
        self, held: Held, task: Task[..., Any] | None
    ) -> tuple[str | int | float, ...]:
        limit, window = ("", "") if task is None or task.rate is None else task.rate
        window = window if window == "" else float(window) * 1000
        once = 0 if task is None else int(task.at_most_once)
        knows = int(task is not None)
        ours = f"{self._claims}.{held.number}"
        place = (held.job_id, held.ticket, self._node, self._lease)
        return (*place, once, limit, window, knows, ours)

    def _run(self, held: Held, task: Task[..., Any], claim: Claim) -> Outcome:
        ended: Future[Outcome] = Future()
        run = Run(
            held.number,
            held.job_id,
            task,
            claim.arguments,
            claim.attempt,
            lambda _, outcome: ended.set_result(outcome),
            claim.owner,
            claim.request_id,
            claim.trace_id,
        )
        try:
            self._loop.call_soon_threadsafe(self._start, held, run)
        except RuntimeError:  # the loop is closed: the process ends
            return Stopped(has_begun=False)
        return ended.result()

    def _settle(self, held: Held, task: Task[..., Any], claim: Claim, outcome: Outcome) -> str:
        """Write the outcome, however long that takes; the job's state then, "" if it was lost."""
        command, *words = self._outcome_words(held, task, claim, outcome)
        pause = AGAIN_FIRST
        while True:
            try:
                state = self._remote.ask("attempts", command, held.job_id, held.ticket, *words)
                return "" if state is None else str(state.decode())
            except StorageError as error:
                if pause == AGAIN_FIRST:
                    _log.error("tasks.end_not_stored", job=held.job_id, detail=error.detail)
                if self._closing.wait(pause) and pause == AGAIN_LAST:
                    return ""  # its lease runs out, and another worker takes it over
                pause = min(AGAIN_LAST, pause * 2)

    def _outcome_words(
        self, held: Held, task: Task[..., Any], claim: Claim, outcome: Outcome
    ) -> list[Any]:
        keep = int(task.keep * 1000)
        keep_failed = int(max(task.keep, task.keep_failed) * 1000)
        progress = b"" if held.progress is None else msgspec.json.encode(held.progress)
        if type(outcome) is Completed:
            return ["complete", outcome.result, keep, progress]
        if type(outcome) is Failed:
            delay: int | str = ""
            if outcome.retryable:
                wait = outcome.after
                delay = int((task.policy.delay(claim.attempt) if wait is None else wait) * 1000)
            why = [storable(part) for part in (outcome.type, outcome.message, outcome.traceback)]
            return ["fail", *why, delay, keep, keep_failed, progress]
        has_begun = type(outcome) is not Stopped or outcome.has_begun
        return ["stop", int(has_begun), keep, keep_failed, progress]

    def _meters_of(self, queue: str, task: str) -> Meters:
        found = self._meters.get((queue, task))
        if found is None:
            found = self._meters[queue, task] = Meters(self.engine.metrics, queue=queue, task=task)
        return found

    # --- on the loop -----------------------------------------------------------------------------

    def _start(self, held: Held, run: Run) -> None:
        self._execution.start(run)
        if held.is_asked:
            self._execution.cancel(held.number)

    def _report(self, number: int, progress: Progress) -> None:
        held = self._held.get(number)
        if held is not None:
            held.progress = progress
            self._reports.add(held.job_id, held.ticket, progress)

    def _cancelled(self, job_id: str) -> None:
        for held in list(self._held.values()):
            if held.job_id == job_id:
                self._end(held)

    def _end(self, held: Held) -> None:
        held.is_asked = True
        self._execution.cancel(held.number)

    def _told(self, held: Held, what: str) -> None:
        """A renewal says that a job is to end, or is no longer ours; from the thread of leases."""
        if what == "lost":
            _log.warning("tasks.lease_lost", job=held.job_id)
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end, held)


def _claim(told: list[Any]) -> Claim:
    _, attempt, queue, arguments, owner, request, trace, waited, _ = told
    return Claim(
        attempt,
        queue.decode(),
        arguments,
        owner.decode() or None,
        request.decode() or None,
        trace.decode() or None,
        waited,
    )
