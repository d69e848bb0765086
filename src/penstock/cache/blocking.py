"""The remote tiers for callers without an event loop: the thread waits, the loop is `aside.py`'s.

    find, take     as a coroutine would, for as long as the tiers' own time-outs allow
    compute        in the caller's thread, with its context: not here
    keep, end      behind the answer

Whoever sits in the thread of an event loop holds that up, and waits for nobody's turn: another
process, whose computing would be waited for, may be waiting for this very loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from penstock.cache.aside import Aside
from penstock.cache.behind import FLUSH_SECONDS
from penstock.cache.cascade import Cascade
from penstock.cache.entry import Entry, Hit
from penstock.cache.plan import Plan
from penstock.cache.turns import Turn, Turns


class Blocking:
    """Asks remote tiers and the hub for plain functions."""

    def __init__(self, cascade: Cascade, turns: Turns) -> None:
        self._cascade = cascade
        self._turns = turns
        self._aside = Aside(self._write_down)

    def find(self, key: str, plan: Plan) -> Hit | None:
        """The first usable answer of a remote tier; at once when there is none to ask."""
        if not self._cascade.is_shared(plan):
            return None
        return self._aside.ask(lambda: self._cascade.find_remote(key, plan), nothing=None)

    def take(self, key: str, plan: Plan, *, anew: bool) -> tuple[Hit | None, Turn]:
        """What another process computed meanwhile, or a turn, which is ended by `keep` or `end`."""
        nothing: tuple[Hit | None, Turn] = (None, Turn())
        if not self._cascade.is_shared(plan):
            return nothing
        alone = _holds_up_a_loop()
        return self._aside.ask(
            lambda: self._turns.take_one(key, plan, anew=anew, alone=alone),
            nothing=nothing,
            forsaken=lambda taken: self.end(taken[1]),
        )

    def keep(self, entries: Sequence[Entry], plan: Plan, turn: Turn, *, wait: bool = False) -> None:
        """Have remote tiers remember what was computed, and end the turn when they do.

        With `wait` it returns when they do, as far as they can within `FLUSH_SECONDS`.
        """
        if not turn.is_empty:
            self._aside.send(lambda: self._keep(entries, plan, turn))
            if wait:
                self._aside.ask(self._write_down, nothing=None)
        elif entries:
            self._cascade.keep_later(entries, {}, plan, turn.end)  # which counts them as lost

    def end(self, turn: Turn) -> None:
        """Let others have it; nothing came of it."""
        if not turn.is_empty:
            self._aside.send(turn.end)

    def forget(self, keys: Sequence[str]) -> int:
        """Forget keys in the remote tiers; returns how many were there."""
        if not self._cascade.remote:
            return 0
        removed = self._aside.ask(lambda: self._cascade.remove_remote(keys), nothing=None)
        if removed is None:
            self._cascade.owe(keys)
        return removed or 0

    async def aclose(self) -> None:
        """Write what waits to be written, for a moment, and end the thread."""
        await self._aside.aclose()

    async def _keep(self, entries: Sequence[Entry], plan: Plan, turn: Turn) -> None:
        if not entries or not self._cascade.keep_later(entries, turn.marks, plan, turn.end):
            await turn.end()

    async def _write_down(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._cascade.flush()


def _holds_up_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
