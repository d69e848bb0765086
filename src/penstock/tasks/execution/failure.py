"""What is kept of an exception that ended an attempt, and whether another attempt may help."""

from __future__ import annotations

import asyncio
import traceback
from types import TracebackType
from typing import Final

from penstock.errors import RateLimited, RequestError
from penstock.observe.logging import get_logger
from penstock.tasks.engine import Failed
from penstock.tasks.job import storable
from penstock.tasks.retry import Retry, RetryPolicy

MAX_MESSAGE: Final = 2_000  # characters
MAX_TRACEBACK: Final = 8_000
FRAMES: Final = 10  # the last ones: where it happened
MAX_AFTER: Final = 366 * 86_400.0  # seconds that a function may ask to wait

_log = get_logger("penstock.tasks")


def failure(error: BaseException, policy: RetryPolicy) -> Failed:
    """What an engine is told of `error`, raised inside a task; its first frame is the caller's.

    It never raises, whatever the exception's own code does: a job would have no outcome.
    """
    retryable, after = True, None
    try:
        retryable, after = _may_improve(error, policy), _after(error)
    except Exception:
        _log.exception("tasks.error_unreadable", type=type(error).__name__)
    return Failed(type(error).__name__, message_of(error), frames_of(error), retryable, after)


def message_of(error: BaseException) -> str:
    """What the exception says, shortened; an exception may fail even at that."""
    try:
        return storable(str(error)[:MAX_MESSAGE])
    except Exception as worse:
        return f"its message cannot be shown: {type(worse).__name__}"


def frames_of(error: BaseException) -> str:
    """The last frames and those of its causes, without values of variables."""
    return formatted(error, error.__traceback__.tb_next if error.__traceback__ else None)


def formatted(error: BaseException, frames: TracebackType | None) -> str:
    """The traceback as text, cut at the front."""
    try:
        told = traceback.TracebackException(
            type(error), error, frames, limit=-FRAMES, compact=True, max_group_width=5
        )
        return storable("".join(told.format())[-MAX_TRACEBACK:])
    except Exception as worse:  # a broken __str__ or source file must not cost the outcome
        return f"its traceback cannot be shown: {type(worse).__name__}"


def _after(error: BaseException) -> float | None:
    """The wait that the function asks for, if it is one."""
    asked = error.after if isinstance(error, Retry) else getattr(error, "retry_after", None)
    if not isinstance(asked, int | float) or asked != asked:  # not even equal to itself: NaN
        return None
    return float(min(max(asked, 0.0), MAX_AFTER))


def _may_improve(error: BaseException, policy: RetryPolicy) -> bool:
    if isinstance(error, Retry):
        return True
    if isinstance(error, RequestError):  # wrong input stays wrong; a limit passes
        return isinstance(error, RateLimited) and isinstance(error, policy.on)
    if isinstance(error, asyncio.CancelledError):  # something it waited for was cancelled
        return True
    # Providers' errors say themselves whether the same call may succeed later.
    return isinstance(error, policy.on) and getattr(error, "retryable", True) is not False
