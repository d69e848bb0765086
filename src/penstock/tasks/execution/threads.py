"""Threads for plain functions: as many as are needed at once, kept for a while, never waited for.

They are daemons, because Python cannot stop a thread: a function that never returns must not keep
the process from ending. How many run at once is the engine's decision; only functions that went on
after their time-out are counted here, since nothing else bounds them.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Final

from penstock.errors import JobCancelled
from penstock.observe.logging import request_id, trace_id
from penstock.tasks.context import Running, bind
from penstock.tasks.engine import Completed, Failed, Outcome, Run
from penstock.tasks.execution.attempt import Attempt, Desk
from penstock.tasks.execution.failure import FRAMES, failure

IDLE_SECONDS: Final = 30.0  # after which a thread that has nothing to do ends
TIMEOUT_PATIENCE: Final = 1.0  # seconds for `ctx.check()` to be reached after a time-out


class Threads:
    """Runs calls in threads; a call never waits for another."""

    def __init__(self, *, stuck: int, idle_seconds: float = IDLE_SECONDS) -> None:
        self.max_stuck = stuck
        self.stuck = 0  # calls that were given up and still run; changed on the loop alone
        self._idle_seconds = idle_seconds
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._free = 0  # threads that wait for a call which nobody has put yet
        self._threads: set[threading.Thread] = set()
        self._busy: set[threading.Thread] = set()

    def run(self, call: Callable[[], None]) -> None:
        """Make the call soon; it must not raise."""
        with self._lock:
            if self._free:
                self._free -= 1
            else:
                thread = threading.Thread(target=self._work, name="penstock-job", daemon=True)
                thread.start()
                self._threads.add(thread)
        self._calls.put(call)

    def close(self) -> None:
        """End the idle threads; those that are busy are left to the end of the process."""
        with self._lock:
            idle = self._threads - self._busy
            for _ in self._threads:
                self._calls.put(None)
        for thread in idle:
            thread.join(1.0)

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            try:
                call = self._calls.get(timeout=self._idle_seconds)
            except Empty:
                if self._may_leave(me):
                    return
                continue
            if call is None:
                break
            with self._lock:
                self._busy.add(me)
            call()
            del call  # or an idle thread would keep the last job's arguments alive
            with self._lock:
                self._busy.discard(me)
                self._free += 1
        with self._lock:
            self._threads.discard(me)

    def _may_leave(self, me: threading.Thread) -> bool:
        with self._lock:
            if not self._free:
                return False  # a call is on its way to us
            self._free -= 1
            self._threads.discard(me)
            return True


class ThreadAttempt(Attempt):
    """An attempt at a `def`. It ends when the function returns, or reaches `ctx.check()`."""

    __slots__ = ("_thread", "_threads")

    def __init__(self, desk: Desk, run: Run, threads: Threads) -> None:
        super().__init__(desk, run)
        self._threads = threads
        self._thread: int | None = None

    def begin(self) -> None:
        threads = self._threads
        if threads.stuck >= threads.max_stuck:
            self.desk.loop.call_soon(self.end, _too_many(threads.stuck))
            return
        if self.run.task.timeout is not None:
            self.limit(self.run.task.timeout)
        threads.run(self._work)

    def interrupt(self) -> None:
        """Nothing can be done from outside: `ctx.check()` raises from now on."""

    @property
    def patience(self) -> float:
        return min(TIMEOUT_PATIENCE, self.desk.grace)

    def expire(self) -> None:
        if self.asked == "cancel":  # it had all the time there is
            self.give_up()
        else:
            self.ask("timeout")

    def give_up(self) -> None:
        if not self.is_over:
            self._threads.stuck += 1
            self.desk.metrics.count("penstock_job_threads_abandoned_total", task=self.run.task.name)
            super().give_up()

    def gone(self) -> None:
        super().gone()
        self._threads.stuck -= 1

    def unfinished(self) -> Outcome:
        if self.asked != "timeout":
            return super().unfinished()
        return self.timed_out(
            self._where(),
            detail="; its thread still runs, because Python cannot stop one: call ctx.check() "
            "between its steps, or declare it with process=True",
            retryable=False,  # or it would run twice at once
        )

    def _wait_then_give_up(self) -> None:
        # A cancelled function may take what its time-out allows: nobody else may start it before.
        if self.asked != "cancel":
            super()._wait_then_give_up()

    def _work(self) -> None:
        self._thread = threading.get_ident()
        outcome = Context().run(self._call)
        self._thread = None
        with suppress(RuntimeError):  # the loop is closed: the process ends
            self.desk.loop.call_soon_threadsafe(self._returned, outcome)

    def _call(self) -> Outcome:
        run = self.run
        task = run.task
        request_id.set(run.request_id)
        trace_id.set(run.trace_id)
        bind(Running(run.job_id, run.attempt, run.owner, self.report, self.cancelled))
        try:
            self.has_begun = True  # before the look: who asks after it takes it for begun
            if self.asked is not None:
                self.has_begun = False
                raise JobCancelled
            args, kwargs = task.unpack(run.arguments)
            value = task.function(*args, **kwargs)
            try:
                return Completed(task.pack_result(value))
            except Exception as error:  # the same function would give the same kind of value again
                return failure(error, task.policy)._replace(retryable=False)
        except BaseException as error:  # SystemExit too: it would end the thread silently
            return self.outcome_of(error)

    def _returned(self, outcome: Outcome) -> None:
        if self.is_over:
            self.gone()
            return
        self.tell_progress()
        self.end(outcome)

    def _where(self) -> str:
        """Where the function is at this moment."""
        frame = None if self._thread is None else sys._current_frames().get(self._thread)
        return "" if frame is None else "".join(traceback.format_stack(frame, limit=FRAMES))


def _too_many(stuck: int) -> Failed:
    return Failed(
        "ThreadsStuck",
        f"{stuck} functions went on after their time-out and still run in this process; restart "
        "it, and declare such tasks with process=True",
    )
