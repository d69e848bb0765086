"""API keys: made, revoked, and looked up on every request.

    request ─► stale? await refresh ─► verify: one SHA-256, one dictionary look-up

A token is shown once and stored as its SHA-256 digest. Making or revoking a key publishes its id on
the hub, and every process forgets that key before its next check and reads its row again, so a
revoked key is refused everywhere at once. Every second a process looks into the table itself, in
case the hub tells nothing. Both are on the audit log, which never holds a token.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from penstock.audit import AuditLog
from penstock.clock import Clock
from penstock.db import Database
from penstock.db.database import Call
from penstock.db.look import Look
from penstock.errors import Conflict, InvalidInput, NotFound, StorageError, StorageUnavailable
from penstock.hub.hub import Hub
from penstock.observe.logging import get_logger
from penstock.server.limits import kept_routes, limits_of
from penstock.server.store import KeyRecord, KeyStore
from penstock.usage.budgets import Budget
from penstock.web.principal import Principal, Role

TOPIC: Final = "auth"
TOKEN_PREFIX: Final = "psk_"
ID_PREFIX: Final = "key_"
PREFIX_PATTERN: Final = "^[a-z]{2,16}_$"
TOKEN_BYTES: Final = 32  # 43 characters of base64url
LONGEST_TOKEN: Final = 512  # nothing longer is hashed
TOUCH_SECONDS: Final = 60.0  # how exactly the last use is known
RETRY_SECONDS: Final = 1.0  # between attempts to read keys from a database that failed
LOOK_SECONDS: Final = 1.0  # how long a change may stay unseen when the hub tells nothing

_log = get_logger("penstock.auth")


class NewKey(msgspec.Struct, frozen=True):
    """A key just made, with the token that nobody can show again."""

    token: str
    record: KeyRecord


class _Entry:
    """What a request needs to know of a key, and when its use was last noted (seconds, UTC)."""

    __slots__ = ("expires_at", "principal", "touched_at")

    def __init__(self, record: KeyRecord) -> None:
        self.principal = Principal(record.id, record.owner, record.role, limits_of(record))
        self.expires_at = None if record.expires_at is None else record.expires_at / 1000
        self.touched_at = (record.last_used_at or 0) / 1000


class KeyRing:
    """All keys of one installation. `admin_key` is a token that is admin without being stored."""

    def __init__(
        self, database: Database, hub: Hub, clock: Clock, *, admin_key: str | None = None
    ) -> None:
        self._store = KeyStore(database)
        self._audit = AuditLog(database, clock=clock)
        self._hub = hub
        self._clock = clock
        self._admin_digest = _digest(admin_key) if admin_key else None
        self._admin = Principal("env", "admin", "admin")
        self._entries: dict[bytes, _Entry] = {}
        self._digests: dict[str, bytes] = {}  # by key id
        self._position: int | None = None  # in the hub's log; None: nothing was read yet
        self._unread: set[str] | None = None  # ids of keys that changed; None: all may have
        self._in_doubt = True  # all may have, until they are read
        self._failure: StorageError | None = None  # why they could not be read
        self._look = Look(self._read)
        self._look_at = 0.0  # when the table is to be asked; the past: keys are unread
        self._state: object = None

    @property
    def stale(self) -> bool:
        """Whether `verify` may not know all: then `refresh` first. Two reads of memory."""
        return self._hub.heads[0] != self._position or self._clock.monotonic() >= self._look_at

    async def refresh(self) -> None:
        """Learn what changed since the last look: one row per changed key, or all of them.

        Those who ask at once share one look. While keys cannot be read, hardly anybody waits.
        """
        if self._hub.heads[0] != self._position:
            self._listen()
        if self._clock.monotonic() < self._look_at:
            return
        if not await self._look.share() and self._failure is None:
            self._fail(StorageUnavailable("the database does not answer"))

    def verify(self, token: str | bytes) -> Principal | None:
        """Whose token this is; None when it opens nothing (unknown, revoked, expired).

        Costs one SHA-256 and one look-up, of what `refresh` read. While keys cannot be read, those
        that did not change stay valid, and StorageError is raised for any other token.
        """
        if not 0 < len(token) <= LONGEST_TOKEN:
            return None
        # Looked up by digest, so that the time taken tells nothing about a stored token.
        digest = _digest(token)
        if digest == self._admin_digest:
            return self._admin
        entry = self._entries.get(digest)
        if entry is None:
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            return None
        now = self._clock.now()
        if entry.expires_at is not None and entry.expires_at <= now:
            return None
        if now - entry.touched_at >= TOUCH_SECONDS:
            self._touch(entry, now)
        return entry.principal

    async def accepts(self, who: Principal) -> bool:
        """Whether the key that `verify` knew is still good; while keys cannot be read it is."""
        if who.key_id == self._admin.key_id:
            return True
        if self.stale:
            await self.refresh()
        digest = self._digests.get(who.key_id)
        if digest is None:
            return self._failure is not None
        ends = self._entries[digest].expires_at
        return ends is None or ends > self._clock.now()

    async def budget(self, key_id: str) -> Budget | None:
        """What a key may spend, of what `verify` knows. Raises KeyError for a key it does not."""
        if not key_id.startswith(ID_PREFIX):
            return None  # of no key on record: the environment's, or none at all
        if self.stale:
            await self.refresh()
        return self._entries[self._digests[key_id]].principal.limits.budget

    async def aclose(self) -> None:
        """Stop looking; before the database closes."""
        await self._look.aclose()

    async def create(
        self,
        name: str,
        *,
        actor: str,
        role: Role,
        owner: str | None = None,
        rate_limit: int | None = None,
        route_limits: Mapping[str, str] | None = None,
        budget: Budget | None = None,
        expires_in: float | None = None,
        prefix: str = TOKEN_PREFIX,
    ) -> NewKey:
        """Make a key; all keys of one `owner` (default: the key's own id) see the same records.

        `actor` is who asks: a key's id or "cli". `rate_limit` is in requests a minute (None: the
        server's default, 0: none), `route_limits` are rates by route, `expires_in` is in seconds.
        """
        _check(prefix=prefix, expires_in=expires_in)
        budget = budget or Budget()
        has_budget = budget.micros is not None or budget.tokens is not None
        new = self._make(name, role=role, owner=owner, prefix=prefix)
        record = msgspec.structs.replace(
            new.record,
            rate_limit=rate_limit,
            route_limits=kept_routes(route_limits),
            budget_micros=budget.micros,
            budget_tokens=budget.tokens,
            budget_period=budget.period if has_budget else None,
            expires_at=expires_in and new.record.created_at + round(expires_in * 1000),
        )
        await self._store.add(record, audit=self._created(record, actor))
        self._announce(record.id)
        return NewKey(new.token, record)

    async def ensure_admin(self) -> str | None:
        """Make the first admin key and return its token; None when any key exists.

        Of processes that start at once, one gets the token.
        """
        if self._admin_digest is not None:
            return None
        new = self._make("first admin key", role="admin", owner="admin")
        if not await self._store.add_first(new.record, audit=self._created(new.record, "cli")):
            return None
        self._announce(new.record.id)
        return new.token

    async def change(self, id: str, values: Mapping[str, Any], *, actor: str) -> KeyRecord:
        """Set columns of a key (`store.CHANGEABLE`); every process knows before its next check.

        Raises NotFound, and Conflict for a revoked key.
        """
        told = self._audit.entry(actor, "key.changed", id, dict(values), if_changed=True)
        if values and await self._store.change(id, values, audit=told):
            self._announce(id)
        record = await self.get(id)
        if values and record.revoked_at is not None:
            raise Conflict(f"{id} is revoked; make another key")
        return record

    async def revoke(self, id: str, *, actor: str) -> KeyRecord:
        """Refuse the key from now on, in every process; revoking twice changes nothing.

        Raises NotFound, and Conflict for the last admin key when none comes from the environment.
        """
        told = self._audit.entry(actor, "key.revoked", id, if_changed=True)
        keep_admin = self._admin_digest is None
        if await self._store.revoke(id, at=self._now(), keep_admin=keep_admin, audit=told):
            self._announce(id)
        record = await self.get(id)
        if record.revoked_at is None:
            raise Conflict(
                f"{id} is the last admin key; make another one first or set PENSTOCK_ADMIN_KEY"
            )
        return record

    async def get(self, id: str) -> KeyRecord:
        """One key, revoked or not. Raises NotFound."""
        record = await self._store.find(id)
        if record is None:
            raise NotFound(f"there is no key {id!r}")
        return record

    async def page(
        self, *, after: tuple[int, str] | None = None, limit: int = 50
    ) -> list[KeyRecord]:
        """At most `limit` keys, newest first, older than `after` (created_at, id)."""
        return await self._store.page(after=after, limit=limit)

    def _make(
        self, name: str, *, role: Role, owner: str | None, prefix: str = TOKEN_PREFIX
    ) -> NewKey:
        id = ID_PREFIX + secrets.token_hex(8)
        token = prefix + secrets.token_urlsafe(TOKEN_BYTES)
        record = KeyRecord(
            id=id,
            name=name,
            owner=owner or id,
            role=role,
            digest=_digest(token).hex(),
            prefix=token[: len(prefix) + 4],
            rate_limit=None,
            created_at=self._now(),
        )
        return NewKey(token, record)

    def _created(self, record: KeyRecord, actor: str) -> Call:
        """The audit entry of a key that was made, if it was."""
        detail: dict[str, Any] = {
            "name": record.name,
            "owner": record.owner,
            "role": record.role,
            "rate_limit": record.rate_limit,
            "expires_at": record.expires_at,
        }
        for name in ("route_limits", "budget_micros", "budget_tokens", "budget_period"):
            if getattr(record, name) is not None:
                detail[name] = getattr(record, name)
        return self._audit.entry(actor, "key.created", record.id, detail, if_changed=True)

    def _listen(self) -> None:
        """Hear what changed, and forget it: if reading fails, a revoked key must not live on."""
        told = None if self._position is None else self._hub.since(self._position)
        if told is None:
            # Taken before reading, so that what changes meanwhile is read again.
            self._position = self._hub.heads[0]
            self._unread = None
            self._forget_all()
        else:
            self._position, messages = told
            for id in (message.body.decode() for message in messages if message.topic == TOPIC):
                self._forget(id)
                if self._unread is not None:
                    self._unread.add(id)
        if self._unread != set() and self._failure is None:
            self._look_at = 0.0

    async def _read(self) -> None:
        """Read what is unread, or compare the table with what is known."""
        began = self._clock.monotonic()
        if self._failure is not None:
            self._look_at = began + RETRY_SECONDS  # one tries; others do not wait for it
        try:
            if self._unread == set():
                state = await self._store.state()
                if state != self._state:
                    self._state, self._unread = state, None
            while self._unread != set():
                await self._learn()
        except StorageError as error:
            self._fail(error)
            raise
        self._failure = None
        self._look_at = began + LOOK_SECONDS

    async def _learn(self) -> None:
        """Read the keys that changed. What changes meanwhile is left for the next time."""
        wanted = self._take_unread()
        try:
            if wanted is None:
                records = await self._store.unrevoked()
            else:
                found = [await self._store.find(id) for id in wanted]
                records = [record for record in found if record is not None]
        except BaseException:
            self._unread = None if wanted is None or self._unread is None else wanted | self._unread
            raise
        if self._unread is None:
            return  # messages were lost meanwhile: all of it is read again
        if wanted is None:
            self._forget_all()
            self._in_doubt = False
        now = self._now()
        for record in records:
            if record.is_live(now) and record.id not in self._unread:
                digest = bytes.fromhex(record.digest)
                self._entries[digest] = _Entry(record)
                self._digests[record.id] = digest

    def _take_unread(self) -> set[str] | None:
        taken, self._unread = self._unread, set()
        self._in_doubt = self._in_doubt or taken is None
        return taken

    def _fail(self, error: StorageError) -> None:
        if self._failure is None:
            _log.error("auth.keys_unreadable", detail=error.detail)
        self._failure = error
        self._look_at = self._clock.monotonic() + RETRY_SECONDS
        if self._in_doubt or self._unread is None:  # any of them may have been revoked
            self._forget_all()

    def _forget_all(self) -> None:
        self._entries.clear()
        self._digests.clear()

    def _forget(self, id: str) -> None:
        digest = self._digests.pop(id, None)
        if digest is not None:
            del self._entries[digest]

    def _touch(self, entry: _Entry, now: float) -> None:
        entry.touched_at = now
        try:
            self._store.touch(entry.principal.key_id, at=int(now * 1000))
        except StorageError as error:
            _log.warning("auth.last_use_not_noted", detail=error.detail)

    def _announce(self, id: str) -> None:
        self._hub.publish(TOPIC, id.encode())

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def _check(*, prefix: str, expires_in: float | None) -> None:
    if not re.fullmatch(PREFIX_PATTERN, prefix):
        raise InvalidInput(
            f"the prefix {prefix!r} cannot be used; write 2 to 16 small letters and a final _",
            errors=[{"pointer": "/prefix", "detail": f"must match {PREFIX_PATTERN}"}],
        )
    if expires_in is not None and expires_in <= 0:
        raise InvalidInput(
            f"a key cannot expire {-expires_in:g} s ago",
            errors=[{"pointer": "/expires_in_seconds", "detail": "must be greater than 0"}],
        )


def _digest(token: str | bytes) -> bytes:
    raw = token if isinstance(token, bytes) else token.encode("utf-8", "surrogatepass")
    return sha256(raw).digest()
