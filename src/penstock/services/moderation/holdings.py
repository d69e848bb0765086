"""Which revision of every policy holds, and whose it is: known in memory, read again on change.

    peek (memory) ── a generation moved, or a second has passed ── fetch: look, read if it differs

A change in any process moves a generation of the hub, and whoever asks next waits for the reading.
The tables are looked at every second as well, because the hub may be cut off and a process may die
between its change and telling of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from penstock.clock import Clock
from penstock.db.look import Look
from penstock.errors import PenstockError, StorageError
from penstock.hub.hub import Hub
from penstock.observe.logging import get_logger
from penstock.services.moderation.policy import Judge, Policy
from penstock.services.moderation.policy_store import Activation, PolicyStore

GENERATION: Final = "moderation_policies"  # bumped with every change
LOOK_SECONDS: Final = 1.0  # how long a change may stay unseen when the hub tells nothing

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """What was read at one time."""

    held: dict[str, tuple[Activation, Judge]]  # by policy
    by_key: dict[str, Judge]
    default: Judge

    def of(self, key: str | None) -> Judge:
        """Who decides what a key asks."""
        return self.default if key is None else self.by_key.get(key, self.default)


class Holdings:
    """Answers on every request who decides; `base` is the judge of the settings' policy."""

    def __init__(self, store: PolicyStore, *, hub: Hub, clock: Clock, base: Judge) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._base = base
        self.known = Known({}, {}, base)
        self._looking = Look(self._look)
        self._generation: int | None = None  # of the hub at the last look; None: there was none
        self._state: object = None  # of the tables when they were read
        self._failed = False
        self._look_at = 0.0  # monotonic; before, only the generation is asked

    def peek(self) -> Known | None:
        """What holds, unless something may have changed since it was read: two reads of memory."""
        if (
            self._hub.generation(GENERATION) != self._generation
            or self._clock.monotonic() >= self._look_at
        ):
            return None
        return self.known

    async def fetch(self) -> Known:
        """What holds now. While it cannot be read, what was known goes on holding."""
        if self.peek() is None:
            await self._looking.share()
        return self.known

    async def aclose(self) -> None:
        """Stop looking; before the database closes."""
        await self._looking.aclose()

    async def _look(self) -> None:
        """Read what holds again if it may have changed."""
        # Taken before reading, so that what changes meanwhile is read again.
        generation = self._hub.generation(GENERATION)
        try:
            state = await self._store.state()
            if self._failed or generation != self._generation or state != self._state:
                self.known = await self._read()
                self._state = state
            self._failed = False
        except StorageError as error:
            if not self._failed:
                _log.error("moderation.policies_unreadable", detail=error.detail)
            self._failed = True
            raise
        finally:
            self._generation = generation
            self._look_at = self._clock.monotonic() + LOOK_SECONDS

    async def _read(self) -> Known:
        held_now: dict[str, tuple[Activation, Judge]] = {}
        for activation, document in await self._store.holding():
            judge = self._made(activation, document)
            if judge is not None:
                held_now[activation.policy_id] = (activation, judge)
        base = held_now.get(self._base.policy.id)
        default = base[1] if base else self._base
        judges = {id: judge for id, (_, judge) in held_now.items()}
        by_key = {
            key_id: judges.get(policy_id, default)
            for key_id, policy_id in (await self._store.assigned()).items()
        }
        return Known(held_now, by_key, default)

    def _made(self, activation: Activation, document: bytes | None) -> Judge | None:
        """The judge that is known already, so that it keeps what it remembers, or a new one."""
        known = self.known.held.get(activation.policy_id)
        if known is not None and known[0].revision == activation.revision:
            return known[1]
        if activation.revision == 0:
            return self._base if activation.policy_id == self._base.policy.id else None
        try:
            return Judge(msgspec.json.decode(document or b"", type=Policy))
        except (PenstockError, msgspec.DecodeError) as error:
            # Of another version of this program: what held here goes on, else the settings' policy.
            told = {"policy": activation.policy_id, "revision": activation.revision}
            _log.error("moderation.policy_unreadable", error=str(error), **told)
            return known[1] if known else None
