"""What `celery beat` runs: fires the schedules that servers and workers declare in Redis.

It knows no task and opens no runtime. Any number of beats may run: a tick is moved on and gets its
job in one step, so exactly one of them fires it. What is due is seen on the wall clock.
"""

from __future__ import annotations

from typing import Any, Final

from celery.beat import Scheduler

from penstock.clock import Clock
from penstock.errors import StorageError
from penstock.observe.logging import get_logger
from penstock.tasks.celery.address import Address
from penstock.tasks.celery.intake import Ids
from penstock.tasks.celery.plan import DECLARED_FOR, Ticking, firing, ticking_of
from penstock.tasks.celery.remote import RemoteSync
from penstock.tasks.numbers import EngineTime

LOOK_EVERY: Final = 1.0  # seconds between two looks at the plan, at most
SET_BACK: Final = 1_000  # milliseconds that the clock must go back to be noticed
EVER: Final = 1 << 52

_log = get_logger("penstock.tasks")


class Firing:
    """Fires what is due, from a thread."""

    def __init__(self, address: Address, *, clock: Clock) -> None:
        self._remote = RemoteSync(address)
        self._clock = clock
        self._ids = Ids(EngineTime(clock))
        self._seen = 0
        self._is_cut_off = False

    def look(self) -> float:
        """Fire what is due; the seconds until the next look. Never raises for a broker's fault."""
        try:
            wait = self._look()
        except StorageError as error:
            if not self._is_cut_off:
                _log.warning("schedule.not_fired", detail=error.detail)
            self._is_cut_off = True
            return LOOK_EVERY
        self._is_cut_off = False
        return wait

    def close(self) -> None:
        """Close the connections."""
        self._remote.close()

    def _look(self) -> float:
        self._ids.begin_sync(self._remote)
        now = int(self._clock.now() * 1000)
        if now < self._seen - SET_BACK:
            self._plan_anew(now)
        self._seen = now
        for ticking in self._ticking(now):
            self._fire(ticking, now)
        planned = self._ticking(now + int(LOOK_EVERY * 1000))
        soonest = min((each.planned for each in planned), default=EVER)
        return min(LOOK_EVERY, max(0.0, soonest / 1000 - self._clock.now()))

    def _ticking(self, until: int) -> list[Ticking]:
        found = self._remote.ask("intake", "ticking", until, DECLARED_FOR)
        return [ticking_of(name, row) for name, row in found]

    def _fire(self, ticking: Ticking, now: int) -> None:
        words = firing(ticking, now, ids=self._ids.draw)
        if words is None:
            return
        fired = self._remote.ask("intake", "fire", self._ids.origin, *words)
        if fired is None:  # another process draws the same ids; the next look fires what is left
            self._ids.begin_sync(self._remote, anew=True)
            return
        for job_id in fired:
            _log.debug("schedule.fired", schedule=ticking.name, job=job_id.decode())

    def _plan_anew(self, now: int) -> None:
        """The clock was ahead, and so is the plan; the ticks that had their job are known."""
        _log.warning("schedule.clock_set_back", seconds=(self._seen - now) / 1000)
        since = now - int(LOOK_EVERY * 1000)
        words: list[Any] = []
        for ticking in self._ticking(EVER):
            schedule = ticking.schedule()
            if schedule is not None:
                words += [ticking.name, schedule.next_after(since)]
        self._remote.ask("intake", "plan_anew", *words)


class BeatScheduler(Scheduler):
    """Celery's scheduler, whose ticks are looks at our plan."""

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        self._firing = Firing(app.address, clock=app.machine)
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Nothing is installed: what Celery itself would schedule is not needed here."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Fire what is due; the seconds until the next tick."""
        return self._firing.look()

    def close(self) -> None:
        super().close()
        self._firing.close()

    @property
    def info(self) -> str:
        """A line of what `celery beat` prints."""
        return "    . schedules -> those that servers and workers declare, in the broker's Redis"
