"""What becomes of a job when an attempt ends otherwise than with a plain result.

Each is a function of the writing connection, run in a transaction. A row that is no longer this
process's running one is left alone.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

import msgspec

from penstock.tasks.embedded.states import (
    CANCELLED,
    COMPLETED,
    DELAYED,
    FAILED,
    READY,
)
from penstock.tasks.job import MAX_ERRORS, JobError

LOST: Final = "Lost"

_MINE: Final = (
    "SELECT attempt, max_attempts, cancelling, rerun, errors FROM job "
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
_LATER: Final = "UPDATE job SET state = ?, run_at = ?, errors = ?, started_at = 0 WHERE id = ?"
_RETURN: Final = (
    "UPDATE job SET state = 0, attempt = attempt - 1, started_at = 0 WHERE state = 1 AND worker = ?"
)
_END_CANCELLED: Final = (
    "UPDATE job SET state = 4, finished_at = ?, expires_at = ? "
    "WHERE state = 1 AND worker = ? AND cancelling = 1"
)

_decode_errors = msgspec.json.Decoder(list[JobError]).decode


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
    _, _, _, rerun, errors = mine
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
    attempt, max_attempts, cancelling, rerun, stored = mine
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
    progress: str = "",
) -> Settled | None:
    """A function ended because it was asked to: cancelled, or returned without the attempt."""
    mine = connection.execute(_MINE, (number, worker)).fetchone()
    if mine is None:
        return None
    attempt, _, cancelling, rerun, errors = mine
    if cancelling or is_cancelling:
        return _cancelled(connection, number, now, keep, rerun, errors, progress)
    connection.execute(
        "UPDATE job SET state = 0, attempt = attempt - 1, started_at = 0 WHERE id = ?", (number,)
    )
    return Settled(READY, now, attempt - 1)


def return_all(connection: sqlite3.Connection, worker: int, *, now: int, keep: Keep) -> int:
    """Give back what this process holds still, without the attempts; how many."""
    connection.execute(_END_CANCELLED, (now, now + keep.ended, worker))
    return connection.execute(_RETURN, (worker,)).rowcount


def lost(connection: sqlite3.Connection, worker: int, *, now: int, keep: Keep) -> list[int]:
    """Deal with the running jobs of a process that died; their numbers.

    They are ready again, unless that was their last attempt or they may be run only once.
    """
    rows = connection.execute(
        "SELECT id, attempt, max_attempts, once FROM job WHERE state = 1 AND worker = ?", (worker,)
    ).fetchall()
    for number, attempt, max_attempts, once in rows:
        again = not once and attempt < max_attempts
        error = JobError(
            type=LOST,
            message="its process died while it ran" + ("; it may be run only once" if once else ""),
            at=now,
            attempt=attempt,
        )
        fail(
            connection,
            number,
            worker=worker,
            now=now,
            error=error,
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


def _with(stored: str, error: JobError) -> str:
    errors = _decode_errors(stored) if stored else []
    return msgspec.json.encode([*errors, error][-MAX_ERRORS:]).decode()
