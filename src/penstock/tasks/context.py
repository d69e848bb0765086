"""`ctx`: what a running function may say and ask about its own job.

Outside a job progress goes nowhere and nothing is cancelled, so that a task stays an ordinary
function. It is a context variable: it follows into coroutines, and into threads whose context was
copied.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from operator import index

import msgspec

from penstock.errors import JobCancelled
from penstock.tasks.job import Progress, storable


class Running(msgspec.Struct, gc=False):
    """The attempt that runs here; an execution makes one and binds it."""

    job_id: str
    attempt: int
    owner: str | None
    report: Callable[[Progress], None]
    cancelled: Callable[[], bool]


_running: ContextVar[Running | None] = ContextVar("penstock_job", default=None)


def bind(running: Running | None) -> Token[Running | None]:
    """Let `ctx` speak for this attempt in the present context."""
    return _running.set(running)


def unbind(token: Token[Running | None]) -> None:
    """Undo `bind`, in the context in which it was done."""
    _running.reset(token)


class Context:
    """The job in which the calling code runs."""

    @property
    def job_id(self) -> str | None:
        """The job's id; None outside a job."""
        running = _running.get()
        return None if running is None else running.job_id

    @property
    def attempt(self) -> int:
        """Which try this is, from 1; 0 outside a job."""
        running = _running.get()
        return 0 if running is None else running.attempt

    @property
    def owner(self) -> str | None:
        """Whose job it is; None for the installation's own, and outside a job."""
        running = _running.get()
        return None if running is None else running.owner

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to end."""
        running = _running.get()
        return running is not None and running.cancelled()

    def check(self) -> None:
        """Raise JobCancelled when the job was asked to end: call it between two steps."""
        running = _running.get()
        if running is not None and running.cancelled():
            raise JobCancelled(f"{running.job_id} was asked to end")

    def progress(
        self, done: int, total: int = 0, note: str = "", *, failed: int = 0, cached: int = 0
    ) -> None:
        """Say how far the job is; cheap enough for every item.

        Raises TypeError for what is no whole number: a record that cannot be read harms others.
        """
        text = storable(note if isinstance(note, str) else str(note))
        told = Progress(index(done), index(total), index(failed), index(cached), text)
        running = _running.get()
        if running is not None:
            running.report(told)


ctx = Context()
