"""One attempt at a job, whatever it runs in, and the desk where those that run are written down.

    begin ──> it ends by itself ───────────────────────────────────> end(outcome)
        └──> expire | ask ──> interrupt ──> it ends ──> end(outcome)
                                       └──> patience is over ──> give up: end without it

An attempt ends exactly once; what comes later from a function that was given up is dropped.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks.engine import Failed, Outcome, Run, Stopped
from penstock.tasks.execution.failure import failure, frames_of
from penstock.tasks.job import Progress

Reason = Literal["cancel", "stop", "timeout"]

_log = get_logger("penstock.tasks")


class Desk:
    """The attempts of one execution, and what they share."""

    def __init__(
        self, *, report: Callable[[int, Progress], None], metrics: Metrics, grace: float
    ) -> None:
        self.report = report
        self.metrics = metrics
        self.grace = grace  # seconds that a function has to end after it was asked to
        self.loop: asyncio.AbstractEventLoop
        self.thread = 0  # the loop's
        self.runs: dict[int, Run] = {}
        self.attempts: dict[int, Attempt] = {}
        self.given_up: set[Attempt] = set()  # ended here, but their function has not
        self._emptied: asyncio.Future[None] | None = None

    def left(self) -> None:
        """Wake who waits for the desk to be empty; told after an attempt was taken off."""
        if self._emptied is not None and not self.attempts:
            self._emptied.set_result(None)
            self._emptied = None

    async def wait_until_empty(self, seconds: float) -> None:
        """Return when nothing runs any more, or after `seconds`."""
        if self.attempts and seconds > 0:
            if self._emptied is None:
                self._emptied = self.loop.create_future()
            await asyncio.wait((self._emptied,), timeout=seconds)


class Attempt:
    """What is common to coroutines, threads and processes."""

    __slots__ = (
        *("_is_reporting", "_progress", "_timer"),
        *("asked", "desk", "has_begun", "is_over", "run"),
    )

    def __init__(self, desk: Desk, run: Run) -> None:
        self.desk = desk
        self.run = run
        self.asked: Reason | None = None
        self.is_over = False
        self.has_begun = False  # whether the function was called, or may have been
        self._timer: asyncio.TimerHandle | None = None
        self._progress: Progress | None = None
        self._is_reporting = False

    def begin(self) -> None:
        """Start the function."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Make the function end, by what means there are."""
        raise NotImplementedError

    @property
    def patience(self) -> float:
        """Seconds that it has to end after it was interrupted."""
        return self.desk.grace

    def report(self, progress: Progress) -> None:
        """Pass on how far it is; from any thread.

        From another one than the loop's, one wake-up serves for all that came meanwhile.
        """
        self._progress = progress
        if threading.get_ident() == self.desk.thread:
            self.tell_progress()
        elif not self._is_reporting:
            self._is_reporting = True
            with suppress(RuntimeError):  # the loop is closed
                self.desk.loop.call_soon_threadsafe(self.tell_progress)

    def tell_progress(self) -> None:
        """Tell the engine what was not told yet; on the loop."""
        self._is_reporting = False  # first: what comes from now on asks for another wake-up
        progress, self._progress = self._progress, None
        if progress is not None and not self.is_over:
            self.desk.report(self.run.number, progress)

    def cancelled(self) -> bool:
        """Whether it was asked to end; from any thread."""
        return self.asked is not None

    def limit(self, seconds: float) -> None:
        """Let its time run from now."""
        self._timer = self.desk.loop.call_later(seconds, self.expire)

    def expire(self) -> None:
        """Its time is over."""
        self.ask("timeout")

    def ask(self, reason: Reason) -> None:
        """Interrupt it, once; give it up when it does not end."""
        if self.is_over or self.asked is not None:
            return
        self.asked = reason
        self._wait_then_give_up()
        self.interrupt()

    def give_up(self) -> None:
        """End without the function, which may still run."""
        if self.is_over:
            return
        _log.warning(
            "tasks.job_does_not_end",
            job=self.run.job_id,
            task=self.run.task.name,
            asked=self.asked,
            seconds=self.patience,
        )
        self.desk.given_up.add(self)
        self.end(self.unfinished())

    def end(self, outcome: Outcome) -> None:
        """Tell the engine, exactly once; on the loop."""
        if self.is_over:
            return
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        desk, run = self.desk, self.run
        del desk.attempts[run.number]
        del desk.runs[run.number]
        try:
            run.done(run, outcome)
        except Exception:  # an engine's fault must not become one of the next job
            _log.exception("tasks.outcome_refused", job=run.job_id, task=run.task.name)
        desk.left()

    def gone(self) -> None:
        """The function of an attempt that was given up has ended after all."""
        self.desk.given_up.discard(self)

    def outcome_of(self, error: BaseException) -> Outcome:
        """What an exception out of the function means, given what it was asked."""
        if self.asked is None:
            return failure(error, self.run.task.policy)
        if self.asked == "timeout":
            return self.timed_out(frames_of(error))
        return Stopped(self.has_begun)

    def unfinished(self) -> Outcome:
        """What it means that the function did not end when it was asked to."""
        return self.timed_out("") if self.asked == "timeout" else Stopped(self.has_begun)

    def timed_out(self, frames: str, *, detail: str = "", retryable: bool = True) -> Failed:
        """A time-out as a failure."""
        message = f"it took longer than its {self.run.task.timeout} s{detail}"
        return Failed("Timeout", message, frames, retryable)

    def _wait_then_give_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.desk.loop.call_later(self.patience, self.give_up)
