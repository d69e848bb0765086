"""Runs attempts: coroutines on the loop, plain functions in threads, the rest in processes.

    start(run) ──> coroutine | thread | child process ──> run.done(run, outcome), once, on the loop

Every attempt has a context of its own, in which `ctx` and the logs know its job. What the engine
knows of jobs beyond the attempt (retries, queues, records) is none of this module's business.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextvars import Context

from penstock.clock import Clock
from penstock.observe.logging import request_id, trace_id
from penstock.observe.metrics import Metrics
from penstock.tasks.context import Running, bind
from penstock.tasks.engine import Completed, Outcome, Run, Stopped
from penstock.tasks.execution.attempt import Attempt, Desk
from penstock.tasks.execution.failure import failure
from penstock.tasks.execution.held import LoopWatch
from penstock.tasks.execution.process import ChildAttempt, Children
from penstock.tasks.execution.threads import ThreadAttempt, Threads
from penstock.tasks.job import Progress


class Execution:
    """The jobs that run in this process at present.

    `report` is told of progress, on the loop. After a function was asked to end (cancel, time-out,
    stop) it has `cancel_grace` seconds. At most `processes` children run at once; while
    `stuck_threads` threads do not return from jobs that timed out, further ones fail at once.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        report: Callable[[int, Progress], None],
        cancel_grace: float = 5.0,
        processes: int = 2,
        stuck_threads: int = 32,
    ) -> None:
        self._desk = Desk(report=report, metrics=metrics, grace=cancel_grace)
        self._threads = Threads(stuck=stuck_threads)
        self._children = Children(processes, grace=cancel_grace)
        self._watch = LoopWatch(self._desk, clock=clock)
        self._is_open = True
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def running(self) -> Mapping[int, Run]:
        """What runs, by number."""
        return self._desk.runs

    def start(self, run: Run) -> None:
        """Begin an attempt, on the loop. Never raises: what goes wrong is the outcome."""
        if self._loop is None:
            self._loop = self._desk.loop = asyncio.get_running_loop()
            self._desk.thread = threading.get_ident()
        if not self._is_open:
            self._loop.call_soon(run.done, run, Stopped(has_begun=False))
            return
        task, desk = run.task, self._desk
        kind = task.kind
        attempt: Attempt
        if kind == "async":
            attempt = CoroutineAttempt(desk, run)
        elif kind == "thread":
            attempt = ThreadAttempt(desk, run, self._threads)
        else:
            attempt = ChildAttempt(desk, run, self._children)
        desk.runs[run.number] = run
        desk.attempts[run.number] = attempt
        try:
            attempt.begin()
        except Exception as error:  # the machine has no thread left
            self._loop.call_soon(attempt.end, failure(error, task.policy))
            return
        # After the attempt is on the desk: see LoopWatch.
        if self._watch.sleeps and kind == "async":
            self._watch.wake(self._loop)

    def cancel(self, number: int) -> None:
        """Ask an attempt to end; nothing when it does not run (any more)."""
        attempt = self._desk.attempts.get(number)
        if attempt is not None:
            attempt.ask("cancel")

    async def stop(self, grace: float) -> None:
        """Let what runs end within `grace` seconds, then ask it to; then it has been `Stopped`.

        Returns at most `cancel_grace` later, when every outcome was told. Nothing starts any more.
        """
        self._is_open = False
        desk = self._desk
        for attempt in [each for each in desk.attempts.values() if each.run.task.resumes]:
            attempt.ask("stop")  # it goes on elsewhere: nobody has to wait for it
        await desk.wait_until_empty(grace)
        for attempt in list(desk.attempts.values()):
            attempt.ask("stop")
        await desk.wait_until_empty(desk.grace)
        for attempt in list(desk.attempts.values()):
            attempt.give_up()

    async def aclose(self) -> None:
        """End everything: coroutines, idle threads, children. A stuck thread dies with us."""
        await self.stop(0)
        self._watch.close()
        self._threads.close()
        await self._children.aclose()


class CoroutineAttempt(Attempt):
    """An attempt at an `async def`, in a task of its own."""

    __slots__ = ("task",)

    def begin(self) -> None:
        # An empty context: whoever happened to be running when the job became due is no part of it.
        self.task: asyncio.Task[None] | None = asyncio.Task(
            self._main(), loop=self.desk.loop, context=Context()
        )
        timeout = self.run.task.timeout
        if timeout is not None:
            self.limit(timeout)

    def interrupt(self) -> None:
        if self.task is not None:
            self.task.cancel()
            if not self.has_begun:  # then it never will, and cannot tell
                self.task = None
                self.end(self.unfinished())

    async def _main(self) -> None:
        self.has_begun = True
        run = self.run
        task = run.task
        if run.request_id is not None:
            request_id.set(run.request_id)
        if run.trace_id is not None:
            trace_id.set(run.trace_id)
        bind(Running(run.job_id, run.attempt, run.owner, self.report, self.cancelled))
        outcome: Outcome
        try:
            args, kwargs = task.unpack(run.arguments)
            value = await task.function(*args, **kwargs)
            try:
                outcome = Completed(task.pack_result(value))
            except Exception as error:  # the same function would give the same kind of value again
                outcome = failure(error, task.policy)._replace(retryable=False)
        except KeyboardInterrupt:
            raise  # the process ends
        except BaseException as error:  # SystemExit too: a job may not end the server
            if isinstance(error, GeneratorExit) and not self._is_at_work():
                raise  # it is thrown away with its loop: there is nobody left to tell
            outcome = Stopped() if self._is_torn_down(error) else self.outcome_of(error)
        # The task's context leads back here through `ctx`, in a way that the collector cannot see.
        self.task = None
        if self.is_over:
            self.gone()
        else:
            self.end(outcome)

    def _is_at_work(self) -> bool:
        """Whether the loop runs its task at this moment."""
        try:
            return self.task is not None and asyncio.current_task() is self.task
        except RuntimeError:
            return False

    def _is_torn_down(self, error: BaseException) -> bool:
        """Whether the loop ends: asyncio.run cancels whatever is left on it, the engine too."""
        task = self.task
        if not isinstance(error, asyncio.CancelledError) or self.asked is not None or task is None:
            return False
        # A function that cancels itself alone has failed: it would do so each time, for ever.
        return task.cancelling() > 0 and any(
            other.cancelling() for other in asyncio.all_tasks() if other is not task
        )
