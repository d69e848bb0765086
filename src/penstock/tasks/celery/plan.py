"""The plan of the schedules, in Redis: what is declared, what is due, and what was fired.

Each change is one script. A tick is fired by whoever moves the plan on from it first, so any number
of beats fire it once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from penstock.errors import ConfigurationError
from penstock.observe.logging import get_logger
from penstock.tasks.celery.intake import words_of
from penstock.tasks.celery.scripts import Word
from penstock.tasks.engine import NewJob
from penstock.tasks.job import ScheduleStatus
from penstock.tasks.schedule import Schedule, due, parse_schedule

if TYPE_CHECKING:
    from penstock.tasks.task import Task

DECLARED_FOR: Final = 600_000  # milliseconds after which a schedule that nobody declares is left
DECLARE_EVERY: Final = 60.0  # seconds

_log = get_logger("penstock.tasks")


class Ticking(NamedTuple):
    """A schedule that is due."""

    name: str
    planned: int
    spec: str
    tz: str
    misfire: str
    template: bytes

    def schedule(self) -> Schedule | None:
        """When it ticks; None where a newer version wrote it."""
        try:
            return parse_schedule(self.spec, tz=self.tz, misfire=self.misfire)  # type: ignore[arg-type]
        except ConfigurationError as error:
            _log.error("schedule.unreadable", schedule=self.name, detail=error.detail)
            return None

    def job(self) -> NewJob:
        """What a tick adds."""
        return msgspec.json.decode(self.template, type=NewJob)


def declaration(tasks: Mapping[str, Task[..., Any]], now: int) -> list[Word]:
    """The words that declare the schedules of these tasks."""
    words: list[Word] = []
    for task in tasks.values():
        schedule = task.schedule
        if schedule is None:
            continue
        job = task.new_job((), {})
        words += [
            *(task.name, job.task, schedule.when, schedule.tz, schedule.misfire, job.queue),
            *(msgspec.json.encode(job), schedule.next_after(now)),
        ]
    return words


def ticking_of(name: bytes, row: Sequence[bytes]) -> Ticking:
    """A schedule as the script answers it."""
    _, spec, tz, _, _, planned, _, _, misfire, template = row
    return Ticking(
        name.decode(), int(planned), spec.decode(), tz.decode(), misfire.decode(), template
    )


def firing(ticking: Ticking, now: int, *, ids: Any) -> list[Word] | None:
    """The words that fire what is due of a schedule; `ids()` draws an id for each job."""
    schedule = ticking.schedule()
    if schedule is None:
        return None
    ticks, following = due(schedule, ticking.planned, now)
    words: list[Word] = [ticking.name, ticking.planned, following, len(ticks), *ticks]
    for _ in ticks:
        words += words_of(ids(), ticking.job())
    return words


def status_of(name: str, row: Sequence[Any], declared: Collection[str]) -> ScheduleStatus:
    """A schedule as everybody sees it."""
    task, spec, tz, queue, paused, planned, last, last_job, *_ = row
    is_paused = paused == b"1"
    return ScheduleStatus(
        name=name,
        task=task.decode(),
        when=spec.decode(),
        timezone=tz.decode(),
        queue=queue.decode(),
        paused=is_paused,
        next_at=None if is_paused else int(planned),
        last_at=None if last is None else int(last),
        last_job=None if last_job is None else last_job.decode(),
        declared=task.decode() in declared,
    )
