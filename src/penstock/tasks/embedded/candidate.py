"""A job as a process holds it: waiting in memory, being started, or running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.tasks.engine import Run
from penstock.tasks.job import Progress

if TYPE_CHECKING:
    from penstock.tasks.embedded.lane import Lane
    from penstock.tasks.meters import Meters


class Candidate(Run, gc=False, kw_only=True, eq=False):
    """A job that this process may run, or runs. As a `Run` it is what the execution gets."""

    lane: Lane
    meters: Meters
    priority: int
    max_attempts: int
    run_at: int  # waits since then
    deadline: int = 0
    is_keyed: bool = False
    once: bool = False
    is_heavy: bool = False  # the arguments are still on disk
    began: float = 0.0  # on the monotonic clock
    progress: Progress | None = None  # None: as stored
    is_cancelling: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """Its place in the queue: lowest first."""
        return (self.priority, self.number)
