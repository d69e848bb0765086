"""The queues that `from penstock import task` works on where nobody puts one in: one for each loop.

A queue belongs to an event loop. The loop that asks first opens one, which stops when the loop
ends, because its keeper is then cancelled with all other tasks; what has not run stays queued on
disk, for the next process. Plain functions use the queue of a loop that runs beside them, or of one
in a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.errors import ConfigurationError
from penstock.observe.logging import get_logger

if TYPE_CHECKING:
    from penstock.tasks.queue import TaskQueue
    from penstock.tasks.task import Task

Tasks = Callable[[], "Iterable[Task[..., Any]]"]

_log = get_logger("penstock.tasks")


class Kept(NamedTuple):
    """An open queue and the task that closes it."""

    keeper: asyncio.Task[None]
    opened: asyncio.Future[TaskQueue]

    def now(self) -> TaskQueue | None:
        """The queue, while it is open."""
        if self.keeper.done() or not self.opened.done() or self.opened.exception() is not None:
            return None
        return self.opened.result()


class LoopQueues:
    """Opens queues by `open`, which is handed what they are to run."""

    def __init__(self, open: Callable[[Tasks], AbstractAsyncContextManager[TaskQueue]]) -> None:
        self._open = open
        self._lock = threading.Lock()
        self._kept: dict[asyncio.AbstractEventLoop, Kept] = {}
        self._thread: tuple[threading.Thread, asyncio.AbstractEventLoop] | None = None
        # By name and place: of a function that is declared anew, as in an application's factory,
        # the last one. Kept alive, for nobody else may hold a task that has a schedule.
        self._tasks: dict[tuple[str, str], Task[..., Any]] = {}

    @property
    def has_tasks(self) -> bool:
        """Whether there is anything to run."""
        return bool(self._tasks)

    def add(self, task: Task[..., Any]) -> None:
        """Run this task, in the queues that are open and in those that will be."""
        place = "<locals>" if "<locals>" in task.address else task.address
        self._tasks[task.name, place] = task
        for loop, kept in list(self._kept.items()):
            queue = kept.now()
            if queue is not None:
                # Not now: its module may be in the middle of its import, without all its types.
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(_register, queue, [task])

    async def here(self) -> TaskQueue:
        """The queue of the running loop."""
        loop = asyncio.get_running_loop()
        kept = self._kept.get(loop)
        if kept is None or kept.keeper.done():
            with self._lock:
                for ended in [other for other in self._kept if other.is_closed()]:
                    del self._kept[ended]
                opened: asyncio.Future[TaskQueue] = loop.create_future()
                keeper = asyncio.ensure_future(self._keep(opened))
                kept = self._kept[loop] = Kept(keeper, opened)
        return await asyncio.shield(kept.opened)

    async def _keep(self, opened: asyncio.Future[TaskQueue]) -> None:
        try:
            async with self._open(self._declared) as queue:
                opened.set_result(queue)
                _register(queue, self._declared())  # what was declared while it opened
                await asyncio.Event().wait()  # until it is cancelled
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)

    def _declared(self) -> Iterable[Task[..., Any]]:
        return list(self._tasks.values())

    async def close_here(self) -> None:
        """Stop the queue of the running loop, if there is one."""
        kept = self._kept.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            kept.keeper.cancel()
            with suppress(asyncio.CancelledError):
                await kept.keeper

    def elsewhere(self) -> TaskQueue:
        """A queue on a loop that runs in another thread; that thread is started if need be."""
        with self._lock:
            for loop, kept in self._kept.items():
                queue = kept.now() if loop.is_running() else None
                if queue is not None:
                    return queue
            if self._thread is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=loop.run_forever, name="penstock-tasks", daemon=True
                )
                thread.start()
                self._thread = thread, loop
            loop = self._thread[1]
        return asyncio.run_coroutine_threadsafe(self.here(), loop).result()

    def close_elsewhere(self) -> None:
        """Stop the queue of that thread, and the thread."""
        with self._lock:
            known, self._thread = self._thread, None
        if known is not None:
            thread, loop = known
            try:
                asyncio.run_coroutine_threadsafe(self.close_here(), loop).result()
            finally:
                loop.call_soon_threadsafe(loop.stop)
                thread.join()
                loop.close()


def _register(queue: TaskQueue, tasks: Iterable[Task[..., Any]]) -> None:
    try:
        queue.register(tasks)
    except ConfigurationError as error:  # whoever enqueues it is told
        _log.warning("tasks.not_registered", error=error.detail)
