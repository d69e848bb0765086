"""What is kept of an exception that ended an attempt, and whether another attempt may help."""

from __future__ import annotations

import asyncio
import traceback
from types import TracebackType
from typing import Final

from penstock.errors import RateLimited, RequestError
from penstock.tasks.engine import Failed
from penstock.tasks.retry import Retry, RetryPolicy

MAX_MESSAGE: Final = 2_000  # characters
MAX_TRACEBACK: Final = 8_000
FRAMES: Final = 10  # the last ones: where it happened


def failure(error: BaseException, policy: RetryPolicy) -> Failed:
    """What an engine is told of `error`, raised inside a task; its first frame is the caller's."""
    after = error.after if isinstance(error, Retry) else getattr(error, "retry_after", None)
    return Failed(
        type(error).__name__,
        message_of(error),
        frames_of(error),
        _may_improve(error, policy),
        float(after) if isinstance(after, int | float) else None,
    )


def message_of(error: BaseException) -> str:
    """What the exception says, shortened; an exception may fail even at that."""
    try:
        return str(error)[:MAX_MESSAGE]
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
        return "".join(told.format())[-MAX_TRACEBACK:]
    except Exception as worse:  # a broken __str__ or source file must not cost the outcome
        return f"its traceback cannot be shown: {type(worse).__name__}"


def _may_improve(error: BaseException, policy: RetryPolicy) -> bool:
    if isinstance(error, Retry):
        return True
    if isinstance(error, RequestError):  # wrong input stays wrong; a limit passes
        return isinstance(error, RateLimited) and isinstance(error, policy.on)
    if isinstance(error, asyncio.CancelledError):  # something it waited for was cancelled
        return True
    # Providers' errors say themselves whether the same call may succeed later.
    return isinstance(error, policy.on) and getattr(error, "retryable", True) is not False
