"""The plan of the schedules, and its changes: each is a function to be run in a transaction.

Every statement gives the interpreter's lock away once for each row that it reads or returns, and
gets it back when the loop is willing: so rows come and go as one JSON text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Container, Sequence
from typing import Final, NamedTuple

import msgspec

from penstock.clock import Clock
from penstock.errors import ConfigurationError, NotFound
from penstock.observe.logging import get_logger
from penstock.tasks.engine import Added, NewJob
from penstock.tasks.job import ScheduleStatus, job_id, job_number
from penstock.tasks.schedule import Schedule, due, parse_schedule

Insert = Callable[[sqlite3.Connection, Sequence[NewJob]], list[Added]]

MAX_JOBS: Final = 1_000  # per transaction, so that other writes get their turn
KEEP_FIRED: Final = 7 * 86_400_000  # milliseconds: how far back a clock may be set

_COLUMNS = "name, task, spec, tz, misfire, queue, template, paused, next_ms, last_ms, last_job"
_AS_JSON = f"SELECT json_group_array(json_array({_COLUMNS}))"
_NAMED = f"{_AS_JSON} FROM schedule WHERE name IN (SELECT value FROM json_each(?))"
_ROWS = f"SELECT {_COLUMNS} FROM schedule ORDER BY name"
_ROW = f"SELECT {_COLUMNS} FROM schedule WHERE name = ?"
_WAITING = """
FROM schedule WHERE paused = 0 AND next_ms <= ? AND name IN (SELECT value FROM json_each(?))
"""
_DUE = f"{_AS_JSON} FROM (SELECT * {_WAITING} ORDER BY next_ms LIMIT ?)"
_NEXT = f"SELECT min(next_ms) {_WAITING}"
_0, _1, _2 = (f"json_extract(value, '$[{place}]')" for place in range(3))
_DECLARE = f"""
INSERT INTO schedule (name, task, spec, tz, misfire, queue, template, next_ms)
SELECT {", ".join(f"json_extract(value, '$[{place}]')" for place in range(8))}
FROM json_each(?) WHERE true
ON CONFLICT (name) DO UPDATE SET task = excluded.task, spec = excluded.spec, tz = excluded.tz,
    misfire = excluded.misfire, queue = excluded.queue, template = excluded.template,
    next_ms = excluded.next_ms
"""
_FIRED = f"""
SELECT json_group_array(json_array(fired.name, tick_ms)) FROM fired, json_each(?)
WHERE fired.name = {_0} AND tick_ms = {_1}
"""
_FIRE = f"INSERT INTO fired (name, tick_ms, job) SELECT {_0}, {_1}, {_2} FROM json_each(?)"
_FORGET = f"DELETE FROM fired WHERE name IN (SELECT {_0} FROM json_each(?)) AND tick_ms < ?"
_MOVE = f"UPDATE schedule SET next_ms = {_1} FROM json_each(?) WHERE name = {_0}"
_RAN = f"UPDATE schedule SET last_ms = {_1}, last_job = {_2} FROM json_each(?) WHERE name = {_0}"
_PAUSE = "UPDATE schedule SET paused = ?, next_ms = ? WHERE name = ?"
_EVER = 1 << 62  # later than every tick

_log = get_logger(__name__)


class Row(NamedTuple):
    """One row of `schedule`."""

    name: str
    task: str
    spec: str
    tz: str
    misfire: str
    queue: str
    template: str
    paused: int
    next_ms: int
    last_ms: int | None
    last_job: int | None

    def schedule(self) -> Schedule:
        """When it ticks. Raises ConfigurationError."""
        return parse_schedule(self.spec, tz=self.tz, misfire=self.misfire)  # type: ignore[arg-type]

    def status(self, declared: Container[str]) -> ScheduleStatus:
        """The row as everybody sees it."""
        return ScheduleStatus(
            name=self.name,
            task=self.task,
            when=self.spec,
            timezone=self.tz,
            queue=self.queue,
            paused=bool(self.paused),
            next_at=None if self.paused else self.next_ms,
            last_at=self.last_ms,
            last_job=None if self.last_job is None else job_id(self.last_job),
            declared=self.task in declared,
        )


class Fired(NamedTuple):
    """One tick that got its job."""

    name: str
    tick: int
    job: str


class Round(NamedTuple):
    """What one look at the plan did."""

    fired: list[Fired]
    next_ms: int | None  # when the next tick is due


def read_schedules(
    connection: sqlite3.Connection, declared: Container[str]
) -> list[ScheduleStatus]:
    """All schedules; `declared` are the tasks that this process has."""
    return [Row(*row).status(declared) for row in connection.execute(_ROWS)]


class Plan:
    """The schedules of the tasks of this process, in the plan of all.

    `insert` adds ready jobs in the running transaction.
    """

    def __init__(self, insert: Insert, clock: Clock) -> None:
        self.jobs: dict[str, tuple[Schedule, NewJob]] = {}
        self._insert = insert
        self._clock = clock
        self._parsed: dict[tuple[str, str, str], Schedule] = {}

    def now(self) -> int:
        """Milliseconds since 1970, by the wall clock."""
        return int(self._clock.now() * 1000)

    def declare(self, connection: sqlite3.Connection) -> None:
        """Put the schedules of `jobs` in, or what changed of them."""
        now = self.now()
        known = {row.name: row for row in _read(connection, _NAMED, _text(list(self.jobs)))}
        declared = []
        for name, (schedule, job) in self.jobs.items():
            row = known.get(name)
            planned = schedule.next_after(now)
            if row is not None and (row.spec, row.tz) == (schedule.when, schedule.tz):
                planned = min(row.next_ms, planned)
            spec = (schedule.when, schedule.tz, schedule.misfire)
            declared.append((name, job.task, *spec, job.queue, _text(job), planned))
        connection.execute(_DECLARE, (_text(declared),))

    def plan_anew(self, connection: sqlite3.Connection, since: int) -> None:
        """The clock was ahead, and so is the plan: plan the ticks after `since` again.

        Those that ran already are in `fired`.
        """
        planned = []
        for row in _read(connection, _NAMED, _text(list(self.jobs))):
            schedule = self._schedule(row)
            if schedule is not None:
                planned.append((row.name, min(row.next_ms, schedule.next_after(since))))
        connection.execute(_MOVE, (_text(planned),))

    def fire_due(self, connection: sqlite3.Connection) -> Round:
        """Fire what is due, at most about `MAX_JOBS`, and move the plan on."""
        now = self.now()
        ticks: list[tuple[Row, int]] = []
        planned: list[tuple[str, int]] = []
        names = _text(list(self.jobs))
        for row in _read(connection, _DUE, now, names, MAX_JOBS):
            schedule = self._schedule(row)
            if schedule is None:
                continue
            if len(ticks) >= MAX_JOBS:
                break
            found, following = due(schedule, row.next_ms, now)
            ticks += [(row, tick) for tick in found]
            planned.append((row.name, following))
        fired = self._fire_ticks(connection, ticks)
        if planned:
            connection.execute(_MOVE, (_text(planned),))
        names = _text(list(self.jobs))
        return Round(fired, connection.execute(_NEXT, (_EVER, names)).fetchone()[0])

    def _fire_ticks(
        self, connection: sqlite3.Connection, ticks: list[tuple[Row, int]]
    ) -> list[Fired]:
        """Give each tick that has none its job."""
        if not ticks:
            return []
        asked = _text([(row.name, tick) for row, tick in ticks])
        (found,) = connection.execute(_FIRED, (asked,)).fetchone()
        known = {(name, tick) for name, tick in msgspec.json.decode(found)}
        new = [(row, tick) for row, tick in ticks if (row.name, tick) not in known]
        if not new:
            return []
        added = self._insert(connection, [_job(row) for row, _ in new])
        fired = [Fired(row.name, tick, job.id) for (row, tick), job in zip(new, added, strict=True)]
        rows = [(name, tick, job_number(job)) for name, tick, job in fired]
        latest = {row[0]: row for row in rows}
        connection.execute(_FIRE, (_text(rows),))
        connection.execute(_RAN, (_text(list(latest.values())),))
        connection.execute(_FORGET, (_text(rows), self.now() - KEEP_FIRED))
        return fired

    def pause(self, connection: sqlite3.Connection, name: str, paused: bool) -> ScheduleStatus:
        """Fire no ticks, or go on with the next one from now. Raises NotFound."""
        row = _existing(connection, name)
        next_ms = row.next_ms
        if row.paused and not paused:
            next_ms = row.schedule().next_after(self.now())
        connection.execute(_PAUSE, (paused, next_ms, name))
        return _existing(connection, name).status(self.jobs)

    def fire_now(self, connection: sqlite3.Connection, name: str) -> Added:
        """Add the job of a schedule beside its ticks. Raises NotFound."""
        row = _existing(connection, name)
        (added,) = self._insert(connection, [_job(row)])
        connection.execute(_RAN, (_text([(name, self.now(), job_number(added.id))]),))
        return added

    def _schedule(self, row: Row) -> Schedule | None:
        """When a row ticks; None if this process cannot tell, and so does not fire it any more."""
        key = (row.spec, row.tz, row.misfire)
        found = self._parsed.get(key)
        if found is None:
            try:
                found = self._parsed[key] = row.schedule()
            except ConfigurationError as error:  # a newer version wrote it
                del self.jobs[row.name]
                _log.error("schedule.unreadable", schedule=row.name, detail=error.detail)
        return found


def _existing(connection: sqlite3.Connection, name: str) -> Row:
    found = connection.execute(_ROW, (name,)).fetchone()
    if found is None:
        raise NotFound(f"there is no schedule {name[:80]!r}")
    return Row(*found)


def _read(connection: sqlite3.Connection, sql: str, *values: object) -> list[Row]:
    (text,) = connection.execute(sql, values).fetchone()
    return [Row(*row) for row in msgspec.json.decode(text)]


def _text(rows: object) -> str:
    return msgspec.json.encode(rows).decode()


def _job(row: Row) -> NewJob:
    return msgspec.json.decode(row.template, type=NewJob)
