"""Waiting for work that goes on in the server: asking again and again, until it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Final, Protocol, TypeVar

from penstock_client.clock import Clock
from penstock_client.errors import (
    ConnectionError,
    JobCancelledError,
    JobFailedError,
    ServerError,
    WaitTimeoutError,
)
from penstock_client.flow import Flow, Outcome, Send, Sleep, Tell, pauses

OUTAGE: Final = 60.0  # seconds that a server may be away


class Watched(Protocol):
    """A state of something that ends."""

    @property
    def status(self) -> str:
        """The state in one word."""

    @property
    def done(self) -> bool:
        """Whether nothing will change any more."""

    @property
    def counts(self) -> tuple[int, int]:
        """What is done, and all; 0 where nobody knows."""

    @property
    def reason(self) -> str | None:
        """Why it failed, where that is known."""


S = TypeVar("S", bound=Watched)
T = TypeVar("T")


class Patience:
    """Bears a server that is away, for a limited time: it restarts, and its work goes on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._away_since: float | None = None

    def bear(self, asked: Flow[T]) -> Flow[T | None]:
        """What was asked for; None while the server is away."""
        try:
            found = yield from asked
        except (ConnectionError, ServerError):
            now = self._clock.monotonic()
            if self._away_since is None:
                self._away_since = now
            elif now - self._away_since > OUTAGE:
                raise
            return None
        self._away_since = None
        return found


class Watch:
    """Waits for one job; `look` asks the server how it is."""

    def __init__(self, job_id: str, clock: Clock, timeout: float | None) -> None:
        self._job_id = job_id
        self._clock = clock
        self._timeout = timeout
        self._end = None if timeout is None else clock.monotonic() + timeout
        self._patience = Patience(clock)

    def wait(self, look: Callable[[], Flow[S]], report: Callable[[S], object] | None) -> Flow[S]:
        """Return the last state of a job that has completed, raise for one that has not."""
        seen: S | None = None
        rests = pauses()
        while True:
            state = yield from self._patience.bear(self._within(look(), seen))
            if state is not None and state != seen:
                seen, rests = state, pauses()
                if report is not None:
                    yield Tell(report, state)
            if state is not None and state.done:
                return ended(self._job_id, state)
            yield Sleep(self._rest(next(rests), seen))

    def _within(self, look: Flow[S], seen: S | None) -> Flow[S]:
        """A look whose own pauses and time-outs end when the waiting does."""
        outcome: Outcome = None
        try:
            while True:
                try:
                    step = look.send(outcome)
                except StopIteration as done:
                    answer: S = done.value
                    return answer
                if isinstance(step, Sleep):
                    step = Sleep(self._rest(step.seconds, seen))
                elif isinstance(step, Send) and self._end is not None:
                    left = self._rest(step.request.timeout or inf, seen)
                    step = Send(replace(step.request, timeout=left))
                outcome = yield step
        finally:
            look.close()

    def _rest(self, rest: float, seen: Watched | None) -> float:
        """So much of `rest` as is left. Raises WaitTimeoutError when nothing is."""
        if self._end is None:
            return rest
        left = self._end - self._clock.monotonic()
        if left <= 0:
            word = seen.status if seen else "not known"
            raise WaitTimeoutError(
                f"{self._job_id} is {word} after {self._timeout:g} s of waiting; it goes on"
            )
        return min(rest, left)


def ended(job_id: str, state: S) -> S:
    """The state, or the error that a state other than completed is."""
    if state.status == "completed":
        return state
    kind = JobCancelledError if state.status in ("cancelled", "expired") else JobFailedError
    reason = f": {state.reason}" if state.reason else ""
    raise kind(f"{job_id} is {state.status}{reason}", state)
