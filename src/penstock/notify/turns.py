"""Whose turn it is to be called, so that one slow receiver does not hold every place of the queue.

    free ─► call
    all its places taken, answers soon ─► wait a moment, here
    all its places taken, slow ─► come back later, by ticket: the place in the queue is given back
    did not answer lately ─► not called: it counts as an attempt, as it would have been one

A receiver that hangs costs one place for one attempt; then it rests for 15 seconds, doubling to
five minutes. Whoever answers at all, even with an error, does not rest.
Known to one process: every one finds out for itself, at the price of one attempt.
"""

from __future__ import annotations

import asyncio
from typing import Final

from penstock.clock import Clock

AT_ONCE: Final = 2  # calls of one receiver
PATIENCE: Final = 0.5  # seconds after which a call is slow, and a place is not waited for
LONGEST_TICKET: Final = 300.0
SHORTEST_REST: Final = 15.0
LONGEST_REST: Final = 300.0
MEMORY: Final = 3600.0  # seconds for which one that rested and was not called again is known


class Later(Exception):
    """All places of the receiver are taken: come back in `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"come back in {seconds:.1f} s")


class Resting(Exception):
    """The receiver did not answer a moment ago."""


class _Receiver:
    """What is known of one receiver."""

    __slots__ = ("failures", "freed", "rests_until", "started", "ticket_at", "took", "waiting")

    def __init__(self) -> None:
        self.started: list[float] = []  # of the calls that run, the oldest first
        self.freed = asyncio.Event()
        self.took = 0.0  # seconds, the latest call
        self.ticket_at = 0.0  # when the next one that must wait may come back
        self.failures = 0  # calls in a row without an answer
        self.rests_until = 0.0
        self.waiting = 0  # who hold on to this record without a place

    def is_over(self, now: float) -> bool:
        """Whether nothing here will matter again."""
        if self.started or self.waiting or self.ticket_at > now:
            return False
        return not self.failures or self.rests_until + MEMORY < now


class Turns:
    """The receivers that are called, or rest, now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._receivers: dict[str, _Receiver] = {}

    async def take(self, name: str, *, last: bool = False) -> float:
        """Take a place, to be given back with `give`; the instant at which it was taken.

        Raises Later and Resting. The `last` attempt is made even while the receiver rests.
        """
        receiver = self._receivers.setdefault(name, _Receiver())
        if receiver.failures and not last:
            self._check_rest(receiver)
        receiver.waiting += 1
        try:
            await self._wait(receiver)
        finally:
            receiver.waiting -= 1
        now = self._clock.monotonic()
        receiver.started.append(now)
        return now

    def give(self, name: str, since: float, *, answered: bool) -> None:
        """Give a place back; `answered` says whether there was an answer in time."""
        now = self._clock.monotonic()
        receiver = self._receivers[name]
        receiver.started.remove(since)
        receiver.took = now - since
        receiver.freed.set()
        if answered:
            receiver.failures = 0
        else:
            rest = min(LONGEST_REST, SHORTEST_REST * 2.0 ** min(receiver.failures, 10))
            receiver.rests_until = now + rest
            receiver.failures += 1
        self._forget(now)

    def _check_rest(self, receiver: _Receiver) -> None:
        # While one call finds out whether it answers again, the others need not wait for that.
        if receiver.started or self._clock.monotonic() < receiver.rests_until:
            raise Resting

    async def _wait(self, receiver: _Receiver) -> None:
        while len(receiver.started) >= AT_ONCE:
            oldest = self._clock.monotonic() - receiver.started[0]
            if oldest >= PATIENCE:
                raise Later(self._ticket(receiver, oldest))
            receiver.freed.clear()
            try:
                async with asyncio.timeout(PATIENCE):
                    await receiver.freed.wait()
            except TimeoutError:
                raise Later(self._ticket(receiver, PATIENCE)) from None

    def _ticket(self, receiver: _Receiver, oldest: float) -> float:
        """Seconds until there is a place, if calls go on taking as long as they do."""
        now = self._clock.monotonic()
        receiver.ticket_at = max(receiver.ticket_at, now) + max(receiver.took, oldest) / AT_ONCE
        return min(receiver.ticket_at - now, LONGEST_TICKET)

    def _forget(self, now: float) -> None:
        """Drop who neither runs nor rests, so that this stays as small as what goes on."""
        for name, receiver in list(self._receivers.items()):
            if receiver.is_over(now):
                del self._receivers[name]
