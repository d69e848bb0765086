"""A call as a generator: it says what to do next, a transport does it.

    flow ── Send(request) ──► transport ──► Reply, or ConnectionError
         ── Sleep(seconds) ─► transport
         ── Tell(to, what) ─► transport ──► the caller's own function

Everything that is more than bytes is decided here, once, for sync and async: retries, waiting,
deadlines. Nothing here does I/O.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from penstock_client.clock import Clock
from penstock_client.errors import APIError, ConnectionError, error_of

T = TypeVar("T")

FIRST_WAIT: Final = 0.5  # seconds before the first retry; doubles with each
LONGEST_WAIT: Final = 8.0
LONGEST_ASKED: Final = 60.0  # of a Retry-After: the caller waits for an answer
SHORTEST_PAUSE: Final = 0.2  # seconds between two looks while something changes
LONGEST_PAUSE: Final = 2.0  # when nothing does
JITTER: Final = 0.25  # share of the wait that chance takes off

_log = logging.getLogger("penstock_client")


@dataclass(frozen=True)
class Request:
    """One HTTP request; the transport adds the key."""

    method: str
    url: str
    path: str  # what of the URL may be logged
    body: bytes | None
    headers: Mapping[str, str] = field(repr=False)
    timeout: float | None


@dataclass(frozen=True)
class Reply:
    """One HTTP response; names of headers in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def request_id(self) -> str | None:
        """Under which the server's log has it."""
        return self.headers.get("x-request-id")


@dataclass(frozen=True)
class Send:
    """Send the request; answer with Reply, or with ConnectionError when there is none."""

    request: Request


@dataclass(frozen=True)
class Sleep:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Tell:
    """Call the caller's function, and await what it returns if that can be awaited."""

    to: Callable[[Any], object]
    what: Any


Step = Send | Sleep | Tell
Outcome = Reply | ConnectionError | None
Flow = Generator[Step, Outcome, T]


def exchange(request: Request, *, retries: int, clock: Clock) -> Flow[Reply]:
    """Send until there is a good answer; raise the last error when trying again is no use."""
    for attempt in range(retries + 1):
        error = yield from _attempt(request, clock)
        if isinstance(error, Reply):
            return error
        if attempt == retries or not may_help(error):
            raise error
        wait = pause(attempt, error, chance=clock.random())
        _log.debug("%s %s again in %.2f s: %s", request.method, request.path, wait, error)
        yield Sleep(wait)
    raise AssertionError("unreachable")


def may_help(error: Exception) -> bool:
    """Whether the same request may succeed a little later.

    A conflict lasts, except when the server says when to come again.
    """
    if isinstance(error, APIError):
        if error.status == 409:
            return error.retry_after is not None
        return error.status in (408, 429) or error.status >= 500
    return isinstance(error, ConnectionError)


def pause(attempt: int, error: Exception, *, chance: float) -> float:
    """Seconds to wait after the failure of `attempt` (0 is the first)."""
    asked = getattr(error, "retry_after", None)
    if isinstance(asked, float):
        return min(asked, LONGEST_ASKED)
    wait: float = min(FIRST_WAIT * 2.0**attempt, LONGEST_WAIT)
    return wait * (1.0 - JITTER * chance)


def pauses() -> Iterator[float]:
    """Seconds between looks at something that does not change."""
    rest = SHORTEST_PAUSE
    while True:
        yield rest
        rest = min(rest * 1.5, LONGEST_PAUSE)


def _attempt(
    request: Request, clock: Clock
) -> Generator[Step, Outcome, Reply | ConnectionError | APIError]:
    outcome = yield Send(request)
    if not isinstance(outcome, Reply):
        return outcome or ConnectionError("the transport gave no answer")
    if 200 <= outcome.status < 300:
        return outcome
    return error_of(
        outcome.status,
        outcome.body,
        request_id=outcome.request_id,
        retry_after=_asked(outcome.headers.get("retry-after"), clock),
    )


def _asked(header: str | None, clock: Clock) -> float | None:
    """Seconds of a Retry-After: a number or a date (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    try:
        found = float(header)
    except ValueError:
        from email.utils import parsedate_to_datetime  # rarely needed, and not cheap

        try:
            found = parsedate_to_datetime(header).timestamp() - clock.now()
        except (ValueError, OverflowError):
            return None
    return max(0.0, found) if found == found else None  # not NaN
