"""An event loop in a thread of its own, for what plain functions ask over a network.

Remote tiers and the hub's leases are awaited. A plain function cannot await, and may even hold up
the loop of its own thread; so its questions are asked here, by the code that serves coroutines,
while its thread waits. It starts with the first question and ends with `aclose`.

A thread does not survive a fork: a child of the process that started it starts its own.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

T = TypeVar("T")

FAREWELL: Final = 2.0  # seconds for what was sent, when it ends


@dataclass(slots=True, eq=False)
class Place:
    """A running loop and its thread."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    stop: asyncio.Future[None]
    ended: Future[None]
    sent: set[asyncio.Task[Any]] = field(default_factory=set)
    asked: set[asyncio.Task[Any]] = field(default_factory=set)

    def begin(
        self, work: Callable[[], Coroutine[Any, Any, T]], answer: Future[T], *, sent: bool
    ) -> None:
        """Do `work` from now on; to be called on the loop."""
        task = self.loop.create_task(work())
        kept = self.sent if sent else self.asked
        kept.add(task)
        task.add_done_callback(kept.discard)
        task.add_done_callback(lambda task: _settle(answer, task))


class Aside:
    """Runs coroutines for threads that wait for them, or do not.

    `before_end` is awaited on the loop when it ends. They run outside of the caller's context,
    which would live on in what they leave open.
    """

    def __init__(self, before_end: Callable[[], Awaitable[object]]) -> None:
        self._before_end = before_end
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._place: Place | None = None
        self._closed = False

    def ask(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        nothing: T,
        forsaken: Callable[[T], object] | None = None,
    ) -> T:
        """What comes of `work`, waited for; `nothing` where it cannot be waited for, or was ended.

        What comes of it for a caller who was interrupted goes to `forsaken`.
        """
        answer: Future[T] = Future()
        try:
            if self._is_here() or not self._begin(work, answer):
                return nothing
            return answer.result()
        except CancelledError:
            return nothing
        except BaseException:
            if forsaken is not None:
                answer.add_done_callback(lambda answer: _pass_on(answer, forsaken))
            raise

    def send(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Have `work` done, and do not wait."""
        self._begin(work, Future(), sent=True)

    async def aclose(self) -> None:
        """End for good: what was sent is done, for a moment, and who waits gets nothing."""
        if self._process != os.getpid():
            self._renew()
        with self._lock:
            self._closed = True
            place, self._place = self._place, None
            if place is None or place.ended.done():
                return
            place.loop.call_soon_threadsafe(_resolve, place.stop)
        await asyncio.wrap_future(place.ended)
        place.thread.join()  # which has nothing left to do

    def _is_here(self) -> bool:
        """Whether this very thread is the one that would be waited for."""
        place = self._place
        return place is not None and place.thread is threading.current_thread()

    def _begin(
        self, work: Callable[[], Coroutine[Any, Any, T]], answer: Future[T], *, sent: bool = False
    ) -> bool:
        """Whether there will be an answer: not when it has ended."""
        if self._process != os.getpid():
            self._renew()
        with self._lock:
            place = self._place
            if place is None or place.ended.done():
                place = self._place = None if self._closed else self._start()
            if place is None:
                return False
            # The end is told under the same lock, and so comes after this.
            place.loop.call_soon_threadsafe(
                functools.partial(place.begin, work, answer, sent=sent), context=Context()
            )
            return True

    def _renew(self) -> None:
        """In a child of a fork, nothing of the parent's runs, and its lock may be held for ever."""
        self._lock, self._place, self._process = threading.Lock(), None, os.getpid()

    def _start(self) -> Place | None:
        began: Future[Place] = Future()
        ended: Future[None] = Future()
        ended.set_running_or_notify_cancel()  # nobody who waits for it can cancel it

        def live() -> None:
            try:
                asyncio.run(self._live(began, ended))
            except BaseException as error:
                if began.done():
                    raise
                began.set_exception(error)
            finally:
                ended.set_result(None)

        try:
            threading.Thread(target=live, name="penstock-cache", daemon=True).start()
            return began.result()
        except (RuntimeError, OSError):  # the interpreter is about to end, or there are no files
            return None

    async def _live(self, began: Future[Place], ended: Future[None]) -> None:
        loop = asyncio.get_running_loop()
        place = Place(loop, threading.current_thread(), loop.create_future(), ended)
        began.set_result(place)
        await place.stop
        if place.sent:
            await asyncio.wait(place.sent, timeout=FAREWELL)
        for task in place.asked:
            task.cancel()
        if place.asked:
            await asyncio.wait(place.asked, timeout=FAREWELL)
        await self._before_end()


def _settle(answer: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        answer.cancel()
    elif (error := task.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


def _pass_on(answer: Future[T], forsaken: Callable[[T], object]) -> None:
    if not answer.cancelled() and answer.exception() is None:
        forsaken(answer.result())


def _resolve(stop: asyncio.Future[None]) -> None:
    if not stop.done():
        stop.set_result(None)
