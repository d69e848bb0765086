"""Rows as the records that everybody sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from penstock.tasks.embedded.states import FAILED, NAMES, RUNNING
from penstock.tasks.job import JobError, JobRecord, Progress, job_id

COLUMNS: Final = (
    "id, task, queue, priority, state, attempt, max_attempts, run_at, created_at, started_at, "
    "finished_at, worker, cancelling, key, owner, batch_id, request_id, trace_id, progress, errors"
)

_NO_PROGRESS: Final = Progress()
_progress = msgspec.json.Decoder(Progress).decode
_errors = msgspec.json.Decoder(tuple[JobError, ...]).decode


def record_of(row: Sequence[Any], *, result: Any = None) -> JobRecord:
    """The record of a row of `COLUMNS`; progress that is not stored yet is not in it."""
    errors = errors_of(row[19])
    state = row[4]
    return JobRecord(
        id=job_id(row[0]),
        task=row[1],
        queue=row[2],
        priority=row[3],
        state=NAMES[state],
        owner=row[14] or None,
        key=row[13],
        batch_id=row[15] or None,
        attempt=row[5],
        max_attempts=row[6],
        run_at=row[7],
        created_at=row[8],
        started_at=row[9] or None,
        finished_at=row[10] or None,
        progress=progress_of(row[18]),
        result=result,
        error=errors[-1] if errors and state == FAILED else None,
        errors=errors,
        request_id=row[16] or None,
        trace_id=row[17] or None,
        cancelling=bool(row[12]) and state == RUNNING,
        worker=worker_name(row[11]) if state == RUNNING else None,
    )


def errors_of(stored: str) -> tuple[JobError, ...]:
    """Stored errors; none where they cannot be read: one job must not hide all others."""
    try:
        return _errors(stored) if stored else ()
    except msgspec.MsgspecError:
        return ()


def progress_of(stored: str) -> Progress:
    """Stored progress; none where it cannot be read."""
    try:
        return _progress(stored) if stored else _NO_PROGRESS
    except msgspec.MsgspecError:
        return _NO_PROGRESS


def worker_name(worker: int) -> str:
    """What a process is called."""
    return f"worker-{worker}"
