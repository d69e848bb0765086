"""What users change about stored jobs, each a function of the writing connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from penstock.errors import Conflict, NotFound
from penstock.tasks.embedded.rows import COLUMNS, record_of
from penstock.tasks.embedded.states import CANCELLED, DELAYED, FINAL, NAMES, READY, RUNNING
from penstock.tasks.job import JobRecord, job_id

PROMOTED_AT_ONCE: Final = 500
KEEP: Final = 86_400_000  # milliseconds that a job stays which ends without having run

_PROMOTE: Final = (
    "UPDATE job SET state = 0 WHERE id IN (SELECT id FROM job "
    f"WHERE state = 6 AND run_at <= ? ORDER BY run_at LIMIT {PROMOTED_AT_ONCE})"
)
_LATE: Final = (
    "SELECT id FROM job WHERE deadline > 0 AND state IN (0, 6) AND deadline <= ? "
    f"LIMIT {PROMOTED_AT_ONCE}"
)
_NEXT: Final = (
    "SELECT min(at) FROM (SELECT min(run_at) AS at FROM job WHERE state = 6 UNION ALL "
    "SELECT min(deadline) FROM job WHERE deadline > 0 AND state IN (0, 6))"
)


class Changed(NamedTuple):
    """A job after a change."""

    record: JobRecord
    was: int  # its state before
    runs_in: int = 0  # the process that runs it


class Moved(NamedTuple):
    """What had come due."""

    promoted: int
    expired: list[int]
    next_at: int | None  # when the next one is


def cancel(connection: sqlite3.Connection, number: int, *, now: int) -> Changed:
    """End a queued job, or note that a running one is to end."""
    state, worker = _state(connection, number)
    if state in FINAL:
        raise Conflict(f"{job_id(number)} has ended: it is {NAMES[state]}", state=NAMES[state])
    if state == RUNNING:
        # What was enqueued before the cancel goes with it; what comes after is run.
        connection.execute(
            "UPDATE job SET cancelling = 1, rerun = rerun AND cancelling WHERE id = ?", (number,)
        )
    else:
        connection.execute(
            "UPDATE job SET state = ?, finished_at = ?, expires_at = ? WHERE id = ?",
            (CANCELLED, now, now + KEEP, number),
        )
    return Changed(_record(connection, number), state, worker)


def retry(connection: sqlite3.Connection, number: int, *, now: int) -> Changed:
    """Make a job that ended without a result ready again, its attempts counted from 0."""
    state, _ = _state(connection, number)
    if NAMES[state] not in ("failed", "cancelled", "expired"):
        raise Conflict(
            f"{job_id(number)} is {NAMES[state]}; "
            "only a failed, cancelled or expired job can be tried again",
            state=NAMES[state],
        )
    try:
        connection.execute(
            "UPDATE job SET state = 0, attempt = 0, run_at = ?, deadline = 0, started_at = 0, "
            "finished_at = 0, expires_at = 0, cancelling = 0, rerun = 0, progress = '', "
            "result = NULL WHERE id = ?",
            (now, number),
        )
    except sqlite3.IntegrityError as error:
        raise Conflict(f"another live job has the key of {job_id(number)}") from error
    return Changed(_record(connection, number), state)


def reprioritise(connection: sqlite3.Connection, number: int, *, priority: int) -> Changed:
    """Move a queued job."""
    state, _ = _state(connection, number)
    if state not in (READY, DELAYED):
        raise Conflict(
            f"{job_id(number)} is {NAMES[state]}; only a queued job can be moved",
            state=NAMES[state],
        )
    connection.execute("UPDATE job SET priority = ? WHERE id = ?", (priority, number))
    return Changed(_record(connection, number), state)


def set_paused(connection: sqlite3.Connection, queue: str, *, paused: bool) -> None:
    """Note that a queue's jobs may not start, or may."""
    connection.execute(
        "INSERT INTO queue (name, paused) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
        (queue, paused),
    )


def forget(connection: sqlite3.Connection, numbers: Sequence[int]) -> int:
    """Delete jobs that have ended; how many there were."""
    return connection.execute(
        "DELETE FROM job WHERE id IN (SELECT value FROM json_each(?)) AND state IN (2, 3, 4, 5)",
        (msgspec.json.encode(numbers).decode(),),
    ).rowcount


def come_due(connection: sqlite3.Connection, *, now: int) -> Moved:
    """Make delayed jobs ready, and end those that were not started in time."""
    promoted = connection.execute(_PROMOTE, (now,)).rowcount
    late = [number for (number,) in connection.execute(_LATE, (now,)).fetchall()]
    expire(connection, late, now=now)
    return Moved(promoted, late, next_due(connection))


def expire(connection: sqlite3.Connection, numbers: list[int], *, now: int) -> None:
    """End queued jobs whose time to start is over."""
    connection.executemany(
        f"UPDATE job SET state = 5, finished_at = {now}, expires_at = {now + KEEP} "
        "WHERE id = ? AND state IN (0, 6)",
        [(number,) for number in numbers],
    )


def next_due(connection: sqlite3.Connection) -> int | None:
    """When the next delayed job is due, or the next deadline."""
    (at,) = connection.execute(_NEXT).fetchone()
    return None if at is None else int(at)


def twin(connection: sqlite3.Connection, task: str, key: str, *, again: bool) -> int | None:
    """The live job of a task that has a key; `again` makes it run once more if it runs now."""
    found = connection.execute(
        "SELECT id, state FROM job WHERE key = ? AND task = ? AND state IN (0, 1, 6)", (key, task)
    ).fetchone()
    if found is None:
        return None
    number, state = found
    if again and state == RUNNING:
        connection.execute("UPDATE job SET rerun = 1 WHERE id = ?", (number,))
    return int(number)


def _state(connection: sqlite3.Connection, number: int) -> tuple[int, int]:
    found = connection.execute("SELECT state, worker FROM job WHERE id = ?", (number,)).fetchone()
    if found is None:
        raise NotFound(f"there is no job {job_id(number)}")
    return found[0], found[1]


def _record(connection: sqlite3.Connection, number: int) -> JobRecord:
    row = connection.execute(f"SELECT {COLUMNS} FROM job WHERE id = ?", (number,)).fetchone()
    return record_of(row)
