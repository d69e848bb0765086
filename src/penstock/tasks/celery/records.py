"""Jobs' hashes as the records that everybody sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from penstock.tasks.job import JobError, JobRecord, Progress, State, lacking

NO_PROGRESS: Final = Progress()

_progress = msgspec.json.Decoder(Progress).decode
_errors = msgspec.json.Decoder(JobError).decode_lines


def record_of(job_id: str, row: Sequence[bytes | None], *, result: Any = None) -> JobRecord | None:
    """The record of a hash, given the fields of `scripts.RECORD`; None where there is none."""
    task, queue, priority, state, attempt, most, run_at, created, started, *rest = row
    finished, worker, cancelling, key, owner, batch, request, trace, *rest = rest
    progress, errors, ticket, parked = rest
    if task is None or state is None:
        return None
    told = errors_of(errors)
    is_running = state == b"running"
    return JobRecord(
        id=job_id,
        task=task.decode(),
        queue=_text(queue) or "",
        priority=_number(priority) or 0,
        state=cast(State, state.decode()),
        owner=_text(owner),
        key=_text(key),
        batch_id=_text(batch),
        attempt=_number(attempt) or 0,
        max_attempts=_number(most) or 1,
        run_at=_number(run_at) or 0,
        created_at=_number(created) or 0,
        started_at=_number(started),
        finished_at=_number(finished),
        progress=progress_of(progress),
        result=result,
        error=told[-1] if told and state == b"failed" else None,
        errors=told,
        request_id=_text(request),
        trace_id=_text(trace),
        cancelling=is_running and cancelling == b"1",
        worker=_text(worker) if is_running else None,
        waiting_for=lacking(task.decode()) if state == b"queued" and parked == ticket else None,
    )


def errors_of(stored: bytes | None) -> tuple[JobError, ...]:
    """Stored errors, a line each; none where they cannot be read."""
    try:
        return tuple(_errors(stored)) if stored else ()
    except msgspec.MsgspecError:
        return ()


def progress_of(stored: bytes | str | None) -> Progress:
    """Stored progress; none where it cannot be read."""
    try:
        return _progress(stored) if stored else NO_PROGRESS
    except msgspec.MsgspecError:
        return NO_PROGRESS


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _number(value: bytes | None) -> int | None:
    return None if value is None else int(value)
