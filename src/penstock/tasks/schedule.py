"""When a task runs by itself: cron lines and intervals.

A schedule is a pure function from an instant to its next tick, so every process that asks computes
the same ticks. Who fires them, once, is the engine's part (`embedded/scheduler.py`).

Cron lines are read as Debian's cron reads them, in the zone that they name:

    clocks go forward   a line that names an hour ("30 2 * * *") and would tick in the hour that is
                        left out ticks once, as soon as that hour is over; a line with a star in
                        minute or hour just has no ticks in it
    clocks go back      a line that names an hour ticks once, in the first of the two equal hours; a
                        line with a star in minute or hour ticks in both, as time goes by

Intervals know no zone: they tick at the multiples of their length since 1970, UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

from penstock.clock import Seconds, seconds
from penstock.errors import ConfigurationError

Misfire = Literal["last", "skip", "all"]
"""What becomes of ticks that nobody could fire in time: one run for the last of them, none, or one
run for each. `skip` takes up to `IN_TIME` for in time."""

MISFIRES: Final[tuple[Misfire, ...]] = ("last", "skip", "all")
IN_TIME: Final = 60.0  # seconds
SHORTEST: Final = 0.1  # seconds
MAX_TICKS: Final = 100  # of one schedule in one transaction

_NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_EVERY = "every "
_FIRST_LOOK = 60_000  # milliseconds
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)


class Cron(msgspec.Struct, frozen=True):
    """A cron line: minute, hour, day of the month, month, day of the week.

    Names (`MON`, `JAN`), ranges, steps, `L` (last day) and `MON#1` (first Monday) are understood,
    and `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. Raises ConfigurationError for what
    is no cron line or no zone.
    """

    expression: str
    tz: str = "UTC"
    misfire: Misfire = "last"

    def __post_init__(self) -> None:
        given = " ".join(self.expression.split())
        expression = _NICKNAMES.get(given.lower(), given)
        if len(expression.split()) != 5:
            raise ConfigurationError(f"{self.expression!r} {_NO_CRON}")
        try:
            first = next(CronSim(expression, _SOME_DAY), None)
        except CronSimError as error:
            raise ConfigurationError(f"{self.expression!r} {_NO_CRON} ({error})") from None
        if first is None:
            raise ConfigurationError(f"{self.expression!r} never ticks: no such day comes")
        _zone(self.tz)
        _check_misfire(self.misfire)
        msgspec.structs.force_setattr(self, "expression", expression)

    @property
    def when(self) -> str:
        """The schedule in words that `parse_schedule` reads."""
        return self.expression

    def next_after(self, instant: int) -> int:
        """The first tick after an instant (milliseconds since 1970)."""
        ticks = CronSim(self.expression, datetime.fromtimestamp(instant // 1000, _zone(self.tz)))
        found = instant
        while found <= instant:  # seen from the second of two equal hours, the first may come up
            found = int(next(ticks).timestamp()) * 1000
        return found

    def latest(self, since: int, until: int) -> int:
        """The last tick up to `until`; `since` is one.

        It does not walk through all the ticks between: after a year of silence they are many.
        """
        look = _FIRST_LOOK
        while until - look > since:
            found = self.next_after(until - look)
            if found <= until:
                since = found
                break
            look *= 2
        while (following := self.next_after(since)) <= until:
            since = following
        return since


class Every(msgspec.Struct, frozen=True):
    """An interval: 900, "15m", "1h30m". Raises ConfigurationError below `SHORTEST`."""

    period: Seconds
    misfire: Misfire = "last"

    def __post_init__(self) -> None:
        period = seconds(self.period)
        if not period >= SHORTEST or period == float("inf"):
            raise ConfigurationError(
                f"every {self.period!r} is no schedule; the shortest is {SHORTEST:g} s"
            )
        _check_misfire(self.misfire)
        msgspec.structs.force_setattr(self, "period", period)

    @property
    def when(self) -> str:
        """The schedule in words that `parse_schedule` reads."""
        period = self._milliseconds
        return _EVERY + (f"{period}ms" if period % 1000 else f"{period // 1000}s")

    @property
    def tz(self) -> str:
        """Intervals tick by the same clock everywhere."""
        return "UTC"

    def next_after(self, instant: int) -> int:
        """The first tick after an instant (milliseconds since 1970)."""
        period = self._milliseconds
        return (instant // period + 1) * period

    def latest(self, since: int, until: int) -> int:
        """The last tick up to `until`; `since` is one."""
        period = self._milliseconds
        return max(since, until // period * period)

    @property
    def _milliseconds(self) -> int:
        return round(float(self.period) * 1000)


Schedule = Cron | Every


def parse_schedule(text: str, *, tz: str = "UTC", misfire: Misfire = "last") -> Schedule:
    """The schedule that a text means. Raises ConfigurationError.

    >>> parse_schedule("every 15m").when
    'every 900s'
    >>> parse_schedule("@hourly").when
    '0 * * * *'
    """
    words = " ".join(text.split())
    if words.lower().startswith(_EVERY):
        return Every(words[len(_EVERY) :], misfire)
    return Cron(words, tz, misfire)


def due(schedule: Schedule, planned: int, now: int) -> tuple[list[int], int]:
    """The ticks to fire of those from `planned` to `now`, and the next one to plan.

    At most `MAX_TICKS` at once: the rest is due again at once.
    """
    if schedule.misfire == "all":
        ticks = [planned]
        following = schedule.next_after(planned)
        while following <= now and len(ticks) < MAX_TICKS:
            ticks.append(following)
            following = schedule.next_after(following)
        return ticks, following
    last = schedule.latest(planned, now)
    if schedule.misfire == "skip" and now - last > IN_TIME * 1000:
        return [], schedule.next_after(now)
    return [last], schedule.next_after(now)


_NO_CRON = (
    "is no schedule; write 'every 15m', or five fields: minute, hour, day, month, weekday "
    "('0 9 * * MON' is Mondays at nine)"
)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(
            f"no time zone {name!r} is known here; write it like 'Europe/Berlin', and if it is "
            "right, install the package tzdata"
        ) from None


def _check_misfire(given: str) -> None:
    if given not in MISFIRES:
        raise ConfigurationError(f"misfire is {given!r}; known: {', '.join(MISFIRES)}")
