"""Tells of a job's coroutine that holds the event loop: everybody else in the process waits for it.

A thread asks the loop for a sign of life while jobs run. When none comes and the same coroutine has
been at work all the time, it is named with the line it is at. Jobs themselves pay nothing for this.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import suppress
from typing import Any, Final

from penstock.clock import Clock
from penstock.observe.logging import get_logger
from penstock.tasks.execution.attempt import Attempt, Desk

HELD_SECONDS: Final = 0.1
LOOKS: Final = 4  # in that time; each must meet the same coroutine
INTERVAL: Final = 0.05
QUIET: Final = 40  # intervals without a job, after which the thread sleeps
INNERMOST: Final = 2  # calls that are shown beside the function itself
EXECUTION: Final = "penstock.tasks.execution.run"  # what is above it is not shown
AGAIN: Final = 60.0  # seconds until the same task is named again

_log = get_logger("penstock.tasks")


class LoopWatch:
    """The thread that looks at one loop.

    It sets `sleeps` before it looks for jobs a last time, and a job is on the desk before `sleeps`
    is read: so one of the two sees the other.
    """

    def __init__(self, desk: Desk, *, clock: Clock) -> None:
        self.sleeps = True
        self._desk = desk
        self._clock = clock
        self._awake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop_thread = 0
        self._told: dict[str, float] = {}

    def wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look; called on the loop."""
        self.sleeps = False
        self._awake.set()
        if self._thread is None:
            self._loop_thread = threading.get_ident()
            thread = threading.Thread(
                target=self._run, args=(loop,), name="penstock-loop-watch", daemon=True
            )
            with suppress(RuntimeError):  # the machine has no thread left: jobs run unwatched
                thread.start()
                self._thread = thread

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        quiet = 0
        while not self._closed.wait(INTERVAL):
            try:
                self._look(loop)
            except RuntimeError:
                return  # the loop is closed
            quiet = 0 if self._desk.attempts else quiet + 1
            if quiet < QUIET:
                continue
            self._awake.clear()
            self.sleeps = True
            if not self._desk.attempts:
                self._awake.wait()
            self.sleeps = False
            quiet = 0

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask for a sign of life, and watch who is at work until it comes."""
        alive = threading.Event()
        loop.call_soon_threadsafe(alive.set)
        holder: asyncio.Task[Any] | None = None
        looks = 0
        while not alive.wait(HELD_SECONDS / LOOKS) and not self._closed.is_set():
            current = asyncio.current_task(loop)
            looks = looks + 1 if current is holder else 0
            holder = current
            if looks == LOOKS and holder is not None:
                self._tell(holder)

    def _tell(self, holder: asyncio.Task[Any]) -> None:
        attempt = self._attempt_of(holder)
        if attempt is None:
            return
        name = attempt.run.task.name
        now = self._clock.monotonic()
        if now - self._told.get(name, -AGAIN) < AGAIN:
            return
        self._told[name] = now
        _log.warning(
            "tasks.loop_held",
            job=attempt.run.job_id,
            task=name,
            seconds=HELD_SECONDS,
            at=self._place(),
            advice="await between steps, or make it a plain def: those run in threads",
        )

    def _attempt_of(self, holder: asyncio.Task[Any]) -> Attempt | None:
        for attempt in list(self._desk.attempts.values()):
            if getattr(attempt, "task", None) is holder:
                return attempt
        return None

    def _place(self) -> str:
        """Where it is: the function's own line, and the innermost calls."""
        places: list[str] = []
        frame = sys._current_frames().get(self._loop_thread)
        while frame is not None and frame.f_globals.get("__name__") != EXECUTION:
            code = frame.f_code
            places.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
            frame = frame.f_back
        return " > ".join([*places[-1:], *reversed(places[:-1][:INNERMOST])])
