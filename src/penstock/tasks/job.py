"""A job: one run of a task, as everybody sees it.

    queued ──> running ──> completed
       │          ├──────> failed      after its last attempt: a dead letter
       │          ├──────> cancelled
       │          └──────> queued      to be tried again, or its process died
       ├────────> cancelled
       └────────> expired              not started in time

Times are milliseconds since 1970, UTC.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from penstock.errors import InvalidInput

State = Literal["queued", "running", "completed", "failed", "cancelled", "expired"]
FINAL: Final = frozenset(("completed", "failed", "cancelled", "expired"))

Queue = Literal["default", "conversations", "analytics", "notifications", "maintenance"]
QUEUES: Final[tuple[str, ...]] = (
    "default",
    "conversations",
    "analytics",
    "notifications",
    "maintenance",
)

Priority = int | Literal["urgent", "high", "normal", "low", "bulk"]
PRIORITIES: Final = {"urgent": 0, "high": 2, "normal": 5, "low": 7, "bulk": 9}
NORMAL: Final = PRIORITIES["normal"]

MAX_ERRORS: Final = 5  # errors that a job remembers, the newest last


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a job is; `total` 0 where nobody knows."""

    done: int = 0
    total: int = 0
    failed: int = 0
    cached: int = 0
    note: str = ""


class JobError(msgspec.Struct, frozen=True):
    """Why one attempt did not succeed."""

    # The exception's class, or "Lost": its process died; "Stopped": its process stopped, and it may
    # be run only once; "Timeout": it took too long; "NotStorable": its outcome cannot be stored.
    type: str
    message: str
    at: int
    attempt: int
    traceback: str = ""  # the last frames, without values of variables


class JobRecord(msgspec.Struct, frozen=True):
    """Everything that is known about a job."""

    id: str
    task: str
    queue: str
    priority: int
    state: State
    owner: str | None  # whose job it is; None: the installation's own
    key: str | None
    batch_id: str | None
    attempt: int
    max_attempts: int
    run_at: int
    created_at: int
    started_at: int | None = None
    finished_at: int | None = None
    progress: Progress = Progress()
    result: Any = None
    error: JobError | None = None
    errors: tuple[JobError, ...] = ()
    request_id: str | None = None
    trace_id: str | None = None
    cancelling: bool = False  # cancel was asked for and the function has not ended yet
    worker: str | None = None  # where it runs, while it does
    waiting_for: str | None = None  # what a queued job lacks, where that is known

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more, unless somebody asks for a retry."""
        return self.state in FINAL


class JobFilter(msgspec.Struct, frozen=True):
    """Which jobs are meant; None: any."""

    states: tuple[State, ...] | None = None
    queue: str | None = None
    task: str | None = None
    owner: str | None = None
    batch_id: str | None = None
    created_before: int | None = None
    created_after: int | None = None


class QueueStatus(msgspec.Struct, frozen=True):
    """One queue as it is now."""

    name: str
    paused: bool
    queued: dict[int, int]  # ready jobs by priority
    delayed: int  # jobs whose time has not come
    running: int
    oldest_age_seconds: float | None  # of the ready jobs
    workers: int  # jobs that this process runs at once
    unknown: dict[str, int] = {}  # ready jobs whose task no worker has, by task


class WorkerStatus(msgspec.Struct, frozen=True):
    """One process that runs jobs."""

    id: str
    pid: int
    host: str
    started_at: int
    alive: bool
    running: tuple[str, ...]  # ids of jobs


class ScheduleStatus(msgspec.Struct, frozen=True):
    """One schedule as it is now."""

    name: str
    task: str
    when: str  # cron expression, or "every 900s"
    timezone: str
    queue: str
    paused: bool
    next_at: int | None
    last_at: int | None
    last_job: str | None
    declared: bool  # whether this process has its task


def priority_of(given: Priority) -> int:
    """0 (urgent, first) to 9 (bulk, last). Raises InvalidInput."""
    if isinstance(given, str):
        number = PRIORITIES.get(given)
        if number is not None:
            return number
    elif isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 9:
        return given
    raise InvalidInput(
        f"{given!r} is no priority; known: {', '.join(PRIORITIES)}, or 0 (first) to 9 (last)",
        errors=[{"pointer": "/priority", "detail": "is no priority"}],
    )


def lacking(task: str) -> str:
    """What a job waits for whose task no worker has."""
    module, named, _ = task.partition(":")
    what = module if named else "its module"
    return (
        f"a worker that has the task {task}: none that runs does; start one with {what} in "
        "PENSTOCK_INCLUDE"
    )


def storable(text: str) -> str:
    """The text without halves of characters, as names of files have them, which UTF-8 has not."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_PREFIX: Final = "job_"
_LENGTH: Final = 13


def job_id(number: int) -> str:
    """The public id of a stored number: `job_` and 13 letters, in the order of the numbers."""
    # Two letters at a time: half a microsecond, where every enqueued job pays for it.
    return (
        f"job_{_ALPHABET[number >> 60]}{_PAIRS[number >> 50 & 1023]}{_PAIRS[number >> 40 & 1023]}"
        f"{_PAIRS[number >> 30 & 1023]}{_PAIRS[number >> 20 & 1023]}{_PAIRS[number >> 10 & 1023]}"
        f"{_PAIRS[number & 1023]}"
    )


def job_number(public: str) -> int | None:
    """The number behind a public id; None when it is none."""
    letters = public.removeprefix(_PREFIX)
    if len(letters) != _LENGTH or len(public) != len(_PREFIX) + _LENGTH:
        return None
    number = 0
    for letter in letters:
        value = _VALUES.get(letter)
        if value is None:
            return None
        number = number << 5 | value
    return number if number < 1 << 63 else None
