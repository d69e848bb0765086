"""What becomes of a job when an attempt ends otherwise than with a plain result.

Each is a function of the writing connection, run in a transaction. A row that is no longer this
process's running one is left alone.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

import msgspec

from penstock.tasks.embedded.rows import errors_of
from penstock.tasks.embedded.states import (
    CANCELLED,
    COMPLETED,
    DELAYED,
    FAILED,
    READY,
)
from penstock.tasks.job import MAX_ERRORS, JobError

LOST: Final = "Lost"
STOPPED: Final = "Stopped"

_MINE: Final = (
    "SELECT attempt, max_attempts, cancelling, rerun, errors, once FROM job "
    "WHERE id = ? AND state = 1 AND worker = ?"
)
_COMPLETE: Final = (
    "UPDATE job SET state = 2, finished_at = ?, expires_at = ?, result = ?, "
    "progress = CASE ? WHEN '' THEN progress ELSE ?4 END WHERE id = ?"
)
_END: Final = (
    "UPDATE job SET state = ?, finished_at = ?, expires_at = ?, errors = ?, rerun = 0, "
    "progress = CASE ? WHEN '' THEN progress ELSE ?5 END WHERE id = ?"
)
_AGAIN: Final = (
    "UPDATE job SET state = 0, attempt = 0, run_at = ?, started_at = 0, cancelling = 0, "
    "deadline = 0, rerun = 0, errors = ?, progress = '' WHERE id = ?"
)
# What has begun was started in time: its deadline is over and done with.
_LATER: Final = (
    "UPDATE job SET state = ?, run_at = ?, errors = ?, started_at = 0, deadline = 0 WHERE id = ?"
)
# One that did not begin keeps it, unless somebody waits for it to run who came later.
_RETURN: Final = (
    "UPDATE job SET state = 0, attempt = attempt - 1, started_at = 0, "
    "deadline = CASE WHEN ? OR rerun THEN 0 ELSE deadline END WHERE id = ?"
)
_HELD: Final = "SELECT id FROM job WHERE state = 1 AND worker = ?"
_END_CANCELLED: Final = (
    "UPDATE job SET state = 4, finished_at = ?, expires_at = ? "
    "WHERE state = 1 AND worker = ? AND cancelling = 1"
)


class Settled(NamedTuple):
    """What a job is after its attempt."""

    state: int
    run_at: int = 0  # of one that is to run again
    attempt: int = 0


class Keep(NamedTuple):
    """How long results stay, in milliseconds."""

    ended: int
    failed: int


KEEP: Final = Keep(86_400_000, 30 * 86_400_000)  # where the task is not known


def complete(
    connection: sqlite3.Connection,
    number: int,
    *,
    worker: int,
    now: int,
    expires: int,
    result: str,
    progress: str,
) -> Settled | None:
    """Store a result; a job that was enqueued again meanwhile is ready instead."""
    mine = connection.execute(_MINE, (number, worker)).fetchone()
    if mine is None:
        return None
    _, _, _, rerun, errors, _ = mine
    if rerun:
        connection.execute(_AGAIN, (now, errors, number))
        return Settled(READY, now)
    connection.execute(_COMPLETE, (now, expires, result, progress, number))
    return Settled(COMPLETED)


def fail(
    connection: sqlite3.Connection,
    number: int,
    *,
    worker: int,
    now: int,
    error: JobError,
    delay: int | None,
    keep: Keep,
    progress: str = "",
) -> Settled | None:
    """Store why an attempt failed; `delay` is the wait before the next one, None if there is none.

    A job that was asked to end is cancelled, not tried again.
    """
    mine = connection.execute(_MINE, (number, worker)).fetchone()
    if mine is None:
        return None
    attempt, max_attempts, cancelling, rerun, stored, _ = mine
    errors = _with(stored, error)
    if cancelling:
        return _cancelled(connection, number, now, keep, rerun, errors, progress)
    if delay is not None and attempt < max_attempts:
        state = DELAYED if delay > 0 else READY
        connection.execute(_LATER, (state, now + delay, errors, number))
        return Settled(state, now + delay, attempt)
    if rerun:
        connection.execute(_AGAIN, (now, errors, number))
        return Settled(READY, now)
    connection.execute(_END, (FAILED, now, now + keep.failed, errors, progress, number))
    return Settled(FAILED)


def stopped(
    connection: sqlite3.Connection,
    number: int,
    *,
    worker: int,
    now: int,
    keep: Keep,
    is_cancelling: bool,
    has_begun: bool = True,
    progress: str = "",
) -> Settled | None:
    """A function ended because it was asked to: cancelled, or returned without the attempt.

    One that has begun and may be run only once is failed instead.
    """
    mine = connection.execute(_MINE, (number, worker)).fetchone()
    if mine is None:
        return None
    attempt, _, cancelling, rerun, errors, once = mine
    if cancelling or is_cancelling:
        return _cancelled(connection, number, now, keep, rerun, errors, progress)
    if once and has_begun:
        return fail(
            connection,
            number,
            worker=worker,
            now=now,
            error=_ended(STOPPED, "its process stopped while it ran", now, attempt, once=True),
            delay=None,
            keep=keep,
            progress=progress,
        )
    connection.execute(_RETURN, (has_begun, number))
    return Settled(READY, now, attempt - 1)


def return_all(connection: sqlite3.Connection, worker: int, *, now: int, keep: Keep) -> int:
    """Give back what this process holds still, without the attempts; how many.

    What may be run only once has begun, for all that is known, and is failed.
    """
    connection.execute(_END_CANCELLED, (now, now + keep.ended, worker))
    rows = connection.execute(_HELD, (worker,)).fetchall()
    for (number,) in rows:
        stopped(connection, number, worker=worker, now=now, keep=keep, is_cancelling=False)
    return len(rows)


def lost(connection: sqlite3.Connection, worker: int, *, now: int, keep: Keep) -> list[int]:
    """Deal with the running jobs of a process that died; their numbers.

    They are ready again, unless that was their last attempt or they may be run only once.
    """
    rows = connection.execute(
        "SELECT id, attempt, max_attempts, once FROM job WHERE state = 1 AND worker = ?", (worker,)
    ).fetchall()
    for number, attempt, max_attempts, once in rows:
        again = not once and attempt < max_attempts
        fail(
            connection,
            number,
            worker=worker,
            now=now,
            error=_ended(LOST, "its process died while it ran", now, attempt, once=bool(once)),
            delay=0 if again else None,
            keep=keep,
        )
    return [row[0] for row in rows]


def _cancelled(
    connection: sqlite3.Connection,
    number: int,
    now: int,
    keep: Keep,
    rerun: int,
    errors: str,
    progress: str,
) -> Settled:
    if rerun:  # it was enqueued again after it had been asked to end
        connection.execute(_AGAIN, (now, errors, number))
        return Settled(READY, now)
    connection.execute(_END, (CANCELLED, now, now + keep.ended, errors, progress, number))
    return Settled(CANCELLED)


def _ended(kind: str, how: str, now: int, attempt: int, *, once: bool) -> JobError:
    """The error of an attempt that its process did not see to the end."""
    message = f"{how}; it may be run only once" if once else how
    return JobError(type=kind, message=message, at=now, attempt=attempt)


def _with(stored: str, error: JobError) -> str:
    return msgspec.json.encode([*errors_of(stored), error][-MAX_ERRORS:]).decode()
