"""Policies as versioned documents, and which of them holds for whom.

    draft ── revision 1, 2, ... (never changed) ── activate ── holds ── roll back: the one before

Revision 0 is the policy of the settings: it holds for everyone until another revision of its id is
activated. A key may be given a policy of its own. `Policies.peek` answers on every request from a
dictionary, or sends to `fetch`: a change in any process moves a generation of the hub, so that it
is read before the next request is decided.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from penstock.audit import AuditLog
from penstock.clock import Clock
from penstock.db import Database
from penstock.errors import Conflict, InvalidInput, NotFound
from penstock.hub.hub import Hub
from penstock.services.moderation.holdings import GENERATION, Holdings, Known
from penstock.services.moderation.policy import Judge, Policy, complete
from penstock.services.moderation.policy_store import Activation, PolicyStore, Revision

MAX_POLICIES: Final = 200
MAX_REVISIONS: Final = 10_000  # of one policy
MAX_KEYS: Final = 10_000  # with a policy of their own
LONGEST_NOTE: Final = 500  # characters
ATTEMPTS: Final = 5  # at a number for a new revision, when others draft meanwhile

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Action = Literal["drafted", "activated", "rolled_back", "assigned", "unassigned"]


class Change(msgspec.Struct, frozen=True):
    """One change that took effect, for whoever wants to hear of it."""

    action: Action
    policy_id: str
    actor: str  # key id, or "cli"
    at: int  # milliseconds since 1970, UTC
    revision: int | None = None
    previous: int | None = None  # the revision that held until now
    version: str = ""
    key_id: str | None = None  # whose policy it became, or no longer is


@dataclass(frozen=True, slots=True)
class Standing:
    """A policy as it stands: what holds, and what there is."""

    policy_id: str
    active: int | None  # None: nothing was activated yet
    judge: Judge | None  # of the active revision
    activation: Activation | None  # None: the policy of the settings, or nothing
    latest: int


class Policies:
    """All policies of an installation; `base` is the one of the settings."""

    def __init__(
        self,
        database: Database,
        *,
        hub: Hub,
        clock: Clock,
        audit: AuditLog,
        base: Policy,
        on_change: Callable[[Change], None] | None = None,
    ) -> None:
        self._store = PolicyStore(database)
        self._hub = hub
        self._clock = clock
        self._audit = audit
        self._on_change = on_change
        self._base = Judge(base)
        self._holdings = Holdings(self._store, hub=hub, clock=clock, base=self._base)

    @property
    def base_id(self) -> str:
        """The id of the installation's policy."""
        return self._base.policy.id

    def peek(self, key: str | None) -> Judge | None:
        """Who decides what this API key asks, if that is known to be so; else ask `fetch`.

        Costs two look-ups while nothing changes.
        """
        known = self._holdings.peek()
        return None if known is None else known.of(key)

    async def fetch(self, key: str | None) -> Judge:
        """Who decides what this API key asks, once what may have changed was read.

        While policies cannot be read, those that are known hold.
        """
        return (await self._holdings.fetch()).of(key)

    def of(self, key: str | None) -> Judge:
        """Who decided what this API key asks when policies were last read."""
        return self._holdings.known.of(key)

    async def refresh(self) -> None:
        """Read what may have changed, so that `of` says what holds."""
        await self._holdings.fetch()

    async def aclose(self) -> None:
        """Stop reading; before the database closes."""
        await self._holdings.aclose()

    async def judge(self, policy_id: str, number: int | None = None) -> Judge:
        """A revision ready to be applied; None: the one that holds. Raises NotFound, Conflict."""
        if number is None:
            standing = await self.standing(policy_id)
            if standing.judge is None:
                raise Conflict(f"no revision of the policy {policy_id!r} was activated yet")
            return standing.judge
        if number == 0 and policy_id == self.base_id:
            return self._base
        return Judge(decoded(await self.revision(policy_id, number)))

    async def standing(self, policy_id: str) -> Standing:
        """One policy. Raises NotFound."""
        latest = await self._store.latest(policy_id)
        if latest is None and policy_id != self.base_id:
            raise NotFound(f"there is no policy {policy_id[:80]!r}")
        known = await self._holdings.fetch()
        return self._standing(known, policy_id, latest.number if latest else 0)

    async def all(self) -> list[Standing]:
        """Every policy by id, the installation's first."""
        latest = dict(await self._store.ids())
        known = await self._holdings.fetch()
        first = self._standing(known, self.base_id, latest.pop(self.base_id, 0))
        return [first, *(self._standing(known, id, number) for id, number in latest.items())]

    async def revision(self, policy_id: str, number: int) -> Revision:
        """One revision, the settings' too. Raises NotFound."""
        if number == 0 and policy_id == self.base_id:
            return self._settings()
        found = await self._store.find(policy_id, number) if number > 0 else None
        if found is None:
            await self.standing(policy_id)
            raise NotFound(f"the policy {policy_id!r} has no revision {number}")
        return found

    async def revisions(
        self, policy_id: str, *, before: int | None = None, limit: int = 50
    ) -> list[Revision]:
        """At most `limit` revisions, latest first, numbered below `before`."""
        found = await self._store.revisions(policy_id, before=before, limit=limit)
        if len(found) < limit and policy_id == self.base_id and before != 0:
            found.append(self._settings())
        return found

    async def keys(self, policy_id: str, *, limit: int = MAX_KEYS) -> list[str]:
        """Ids of the keys that have this policy for their own."""
        return await self._store.keys(policy_id, limit=limit)

    async def is_own(self, policy_id: str, key_id: str) -> bool:
        """Whether this key has this policy for its own."""
        return await self._store.assignment(key_id) == policy_id

    async def draft(self, policy: Policy, *, actor: str, note: str = "") -> Revision:
        """Write the next revision of `policy.id`; one that says what the latest says is that one.

        It holds for nobody until it is activated. Raises InvalidInput and Conflict.
        """
        self._check_id(policy.id)
        whole = complete(policy)
        version = Judge(whole).version
        for _ in range(ATTEMPTS):
            latest = await self._latest(policy.id)
            if latest is not None and latest.version == version:
                return latest
            await self._check_room(policy.id, latest)
            made = Revision(
                policy_id=policy.id,
                number=latest.number + 1 if latest else 1,
                version=version,
                document=msgspec.json.encode(whole),
                note=note[:LONGEST_NOTE],
                created_by=actor,
                created_at=self._now(),
            )
            detail = {"revision": made.number, "version": version, "note": made.note}
            told = self._audit.entry(actor, "policy.drafted", policy.id, detail)
            try:
                await self._store.add(made, told)
            except Conflict:
                continue  # somebody else drafted meanwhile
            self._tell(
                Change("drafted", policy.id, actor, made.created_at, made.number, version=version)
            )
            return made
        raise Conflict(f"the policy {policy.id!r} is being drafted by others; try again")

    async def activate(
        self, policy_id: str, number: int, *, actor: str, expected: int | None = None
    ) -> Standing:
        """Let a revision hold from now on; the one that holds already changes nothing.

        `expected` is the revision that the caller takes for active (0: none, or the settings').
        Raises NotFound, and Conflict when another holds or is being activated at the same time.
        """
        judge = await self.judge(policy_id, number)
        last, active = await self._expect(policy_id, expected)
        if active == number:
            return await self.standing(policy_id)
        return await self._activate(policy_id, number, judge, last=last, active=active, actor=actor)

    async def roll_back(
        self, policy_id: str, *, actor: str, expected: int | None = None
    ) -> Standing:
        """Let the revision hold that held before; once more, the one before that.

        Raises NotFound, and Conflict as `activate` does or when nothing held before.
        """
        await self.standing(policy_id)
        last, active = await self._expect(policy_id, expected)
        before = await self._before(policy_id)
        if before is None:
            raise Conflict(f"no other revision of the policy {policy_id!r} held before")
        judge = await self.judge(policy_id, before)
        return await self._activate(
            policy_id, before, judge, last=last, active=active, actor=actor, is_rollback=True
        )

    async def assign(self, policy_id: str, key_id: str, *, actor: str) -> None:
        """Let this policy decide what the key asks, instead of the installation's.

        Raises NotFound, and Conflict where no revision of it holds.
        """
        await self.judge(policy_id)
        assigned = await self._store.assigned()
        previous = assigned.get(key_id)
        if previous == policy_id:
            return
        if previous is None and len(assigned) >= MAX_KEYS:
            raise Conflict(f"{MAX_KEYS} keys have a policy of their own; that is the most")
        at = self._now()
        detail = {"key_id": key_id, "previous": previous}
        told = self._audit.entry(actor, "policy.assigned", policy_id, detail)
        try:
            await self._store.assign(key_id, policy_id, told, at=at)
        finally:
            self._announce()  # who was cancelled does not know whether it was written
        self._tell(Change("assigned", policy_id, actor, at, key_id=key_id))

    async def unassign(self, policy_id: str, key_id: str, *, actor: str) -> None:
        """Let the installation's policy decide what the key asks. Raises NotFound."""
        await self.standing(policy_id)
        if await self._store.assignment(key_id) != policy_id:
            raise NotFound(f"the key {key_id[:80]!r} does not have the policy {policy_id!r}")
        told = self._audit.entry(actor, "policy.unassigned", policy_id, {"key_id": key_id})
        try:
            await self._store.unassign(key_id, policy_id, told)
        finally:
            self._announce()
        self._tell(Change("unassigned", policy_id, actor, self._now(), key_id=key_id))

    async def _activate(
        self,
        policy_id: str,
        number: int,
        judge: Judge,
        *,
        last: int,
        active: int | None,
        actor: str,
        is_rollback: bool = False,
    ) -> Standing:
        action: Action = "rolled_back" if is_rollback else "activated"
        made = Activation(0, policy_id, number, is_rollback, actor, self._now())
        detail = {"revision": number, "previous": active, "version": judge.version}
        told = self._audit.entry(actor, f"policy.{action}", policy_id, detail)
        try:
            await self._store.activate(made, told, after=last)
        except Conflict:
            raise await self._conflict(policy_id) from None
        finally:
            self._announce()
        at, version = made.activated_at, judge.version
        self._tell(Change(action, policy_id, actor, at, number, previous=active, version=version))
        return await self.standing(policy_id)

    async def _expect(self, policy_id: str, expected: int | None) -> tuple[int, int | None]:
        """Number of the last activation (0: none) and what holds, if that is what was expected."""
        history = await self._store.history(policy_id)
        last = history[-1].number if history else 0
        active = history[-1].revision if history else self._initial(policy_id)
        if expected is not None and expected != (active or 0):
            raise await self._conflict(policy_id)
        return last, active

    async def _before(self, policy_id: str) -> int | None:
        """What held before what holds: every roll-back took one activation back."""
        initial = self._initial(policy_id)
        held = [] if initial is None else [initial]
        for each in await self._store.history(policy_id):
            if each.is_rollback:
                held.pop()
            else:
                held.append(each.revision)
        return held[-2] if len(held) > 1 else None

    def _initial(self, policy_id: str) -> int | None:
        return 0 if policy_id == self.base_id else None

    async def _conflict(self, policy_id: str) -> Conflict:
        _, held = await self._expect(policy_id, None)
        told = "no revision is" if held is None else f"revision {held} is"
        return Conflict(
            f"{told} active now for the policy {policy_id!r}; look at it, then decide again",
            active=held,
        )

    async def _latest(self, policy_id: str) -> Revision | None:
        latest = await self._store.latest(policy_id)
        return self._settings() if latest is None and policy_id == self.base_id else latest

    def _check_id(self, policy_id: str) -> None:
        if policy_id != self.base_id and not _ID.fullmatch(policy_id):
            told = "must be 1 to 64 letters, digits, '.', '_' or '-'"
            raise InvalidInput(
                f"the policy id {policy_id[:80]!r} {told}",
                errors=[{"pointer": "/policy/id", "detail": told}],
            )

    async def _check_room(self, policy_id: str, latest: Revision | None) -> None:
        if latest is None and len(await self._store.ids()) >= MAX_POLICIES:
            raise Conflict(f"there are {MAX_POLICIES} policies; that is the most")
        if latest is not None and latest.number >= MAX_REVISIONS:
            raise Conflict(f"{policy_id!r} has {MAX_REVISIONS} revisions; that is the most")

    def _standing(self, known: Known, policy_id: str, latest: int) -> Standing:
        held = known.held.get(policy_id)
        if held is not None:
            activation, judge = held
            return Standing(policy_id, activation.revision, judge, activation, latest)
        if policy_id == self.base_id:
            return Standing(policy_id, 0, self._base, None, latest)
        return Standing(policy_id, None, None, None, latest)

    def _settings(self) -> Revision:
        """Revision 0."""
        return Revision(
            policy_id=self.base_id,
            number=0,
            version=self._base.version,
            document=msgspec.json.encode(complete(self._base.policy)),
            note="the policy of the settings",
            created_by="",
            created_at=0,
        )

    def _announce(self) -> None:
        self._hub.bump(GENERATION)

    def _tell(self, change: Change) -> None:
        if self._on_change is not None:
            self._on_change(change)

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def decoded(revision: Revision) -> Policy:
    """The policy of a revision. Raises Conflict for one that this version cannot read."""
    try:
        return msgspec.json.decode(revision.document, type=Policy)
    except msgspec.DecodeError as error:
        raise Conflict(
            f"revision {revision.number} of {revision.policy_id!r} was written by another version "
            f"of Penstock and cannot be read: {error}"
        ) from error
