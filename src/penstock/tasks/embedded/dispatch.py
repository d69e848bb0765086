"""Chooses which waiting jobs start next: places, order, rates, deadlines, pauses.

Nothing here writes. `choose` takes candidates off the lanes; the engine claims them with the next
commit and tells what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from penstock.clock import Clock
from penstock.hub import Hub, LocalHub
from penstock.observe.metrics import Metrics
from penstock.tasks.embedded.alarm import Alarm
from penstock.tasks.embedded.candidate import Candidate
from penstock.tasks.embedded.lane import BOUND, Lane
from penstock.tasks.job import QUEUES
from penstock.tasks.meters import Meters

if TYPE_CHECKING:
    from penstock.tasks.task import Task

KEPT_THROTTLED: Final = 100  # jobs of a throttled task that stay in memory, in each lane


class Dispatcher:
    """The lanes of one process.

    `expire` is told of candidates whose time to start is over, `changed` when jobs may start that
    could not before.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        hub: Hub | None,
        workers: int | Mapping[str, int],
        bound: int = BOUND,
        changed: Callable[[Lane], None],
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._hub = hub
        self._bound = bound
        self._changed = changed
        self._parked: dict[str, _Parked] = {}
        self._meters: dict[tuple[str, str], Meters] = {}
        self._given: Mapping[str, Task[..., Any]] = {}  # may grow while it is used
        self.tasks: dict[str, Task[..., Any]] = {}
        counts = dict.fromkeys(QUEUES, workers) if isinstance(workers, int) else workers
        self.lanes = {
            name: Lane(name, limit=count, bound=bound) for name, count in counts.items() if count
        }

    def declare(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        """Run the jobs of these tasks, too."""
        self._given = tasks
        self.tasks.update(tasks)
        for lane in self.lanes.values():
            lane.look()

    def task(self, name: str) -> Task[..., Any] | None:
        """A declared task; None if jobs of it are not for this process."""
        found = self.tasks.get(name)
        if found is None:
            found = self._given.get(name)
            if found is not None:
                self.tasks[name] = found
        return found

    def meters(self, queue: str, task: str) -> Meters:
        """What counts the jobs of a task in a queue."""
        found = self._meters.get((queue, task))
        if found is None:
            found = self._meters[queue, task] = Meters(self._metrics, queue=queue, task=task)
        return found

    def choose(
        self, lane: Lane, now: int, held: Mapping[int, Candidate]
    ) -> tuple[list[Candidate], list[Candidate]]:
        """The jobs that start now, their places taken; and those whose time is over."""
        chosen: list[Candidate] = []
        late: list[Candidate] = []
        while lane.busy < lane.limit and not lane.is_paused:
            candidate = lane.pop(now)
            if candidate is None:
                break
            if candidate.number in held:
                continue
            if candidate.deadline and candidate.deadline <= now:
                late.append(candidate)
            elif candidate.task.rate is None or self._admit(lane, candidate):
                lane.busy += 1
                chosen.append(candidate)
        return chosen, late

    def wanted(self) -> list[str]:
        """The tasks of which more jobs can be used."""
        return [name for name in {**self.tasks, **self._given} if name not in self._parked]

    def discard(self, number: int) -> None:
        """Forget a job that will not start any more."""
        for lane in self.lanes.values():
            if lane.discard(number) is not None:
                return
        for parked in self._parked.values():
            parked.candidates.pop(number, None)

    def close(self) -> None:
        """Wait for no rates any more."""
        for parked in self._parked.values():
            parked.alarm.close()

    def _admit(self, lane: Lane, candidate: Candidate) -> bool:
        task = candidate.task
        parked = self._parked.get(task.name)
        if parked is None:
            limit, window = task.rate or (1, 0.0)
            if self._hub is None:
                self._hub = LocalHub()
            now = self._clock.monotonic()
            grant = self._hub.take_at_once(f"task:{task.name}", limit=limit, window=window, at=now)
            if grant.allowed:
                return True
            alarm = Alarm(self._clock, lambda: self._release(task.name))
            parked = self._parked[task.name] = _Parked(alarm)
            alarm.set(now + grant.retry_after)
        parked.add(lane, candidate)
        return False

    def _release(self, name: str) -> None:
        parked = self._parked.pop(name)
        for lane in parked.left_on_disk:
            lane.look()
        for lane, candidate in parked.candidates.values():
            lane.push(candidate)
        for lane in parked.lanes:
            self._changed(lane)


class _Parked:
    """Jobs of a task that has used up its rate."""

    def __init__(self, alarm: Alarm) -> None:
        self.alarm = alarm
        self.candidates: dict[int, tuple[Lane, Candidate]] = {}
        self.lanes: list[Lane] = []
        self.left_on_disk: list[Lane] = []

    def add(self, lane: Lane, candidate: Candidate) -> None:
        """Keep one until the rate allows it, or leave it on disk."""
        if lane not in self.lanes:
            self.lanes.append(lane)
        if len(self.candidates) < KEPT_THROTTLED:
            self.candidates[candidate.number] = (lane, candidate)
        elif lane not in self.left_on_disk:
            self.left_on_disk.append(lane)
