"""/v1/cache: statistics, a preview of what a pattern names, single entries, clearing, warming.

The source systems' cache paths (`server/compat/`) call the same functions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from penstock.cache import Cache, Hit
from penstock.clock import Clock
from penstock.errors import InvalidInput, NotFound
from penstock.services.moderation.service import ModerationService
from penstock.web.errors import responses
from penstock.web.roles import Operator, Viewer

MAX_WARM = 1000

Pattern = Annotated[
    str, Query(min_length=1, max_length=512, description="`*` any text, `?` one letter, `[ab]`.")
]
Limit = Annotated[int, Query(ge=1, le=1000)]


class EntryView(BaseModel):
    """One cached entry without its value."""

    key: str
    size_bytes: int
    age_seconds: float
    expires_in_seconds: float
    tier: str


class EntryList(BaseModel):
    """What a pattern names, at most `limit` of it."""

    pattern: str
    items: list[EntryView]


class EntryValue(BaseModel):
    """One entry. Only administrators see the value."""

    key: str
    source: str
    age_seconds: float
    value: Any = None
    value_hidden: bool


class ClearRequest(BaseModel, extra="forbid"):
    """Which entries to forget: what fulfils everything given; all entries when nothing is."""

    pattern: str | None = Field(
        default=None, min_length=1, max_length=512, examples=["moderation:*"]
    )
    tag: str | None = Field(default=None, min_length=1, max_length=256)
    namespace: str | None = Field(default=None, min_length=1, max_length=256)
    older_than_seconds: float | None = Field(default=None, ge=0)


class Cleared(BaseModel):
    """What was forgotten, in the words of every system that asks."""

    status: Literal["success"] = "success"
    cleared_entries: int
    deleted_count: int
    pattern: str | None
    message: str
    timestamp: str


class WarmRequest(BaseModel, extra="forbid"):
    """Texts to judge ahead of time."""

    texts: list[str] = Field(min_length=1, max_length=MAX_WARM)


class Warmed(BaseModel):
    """How many distinct texts were judged now, were known, or met a failing provider."""

    computed: int
    known: int
    failed: int


def router(cache: Cache, clock: Clock, moderation: ModerationService) -> APIRouter:
    """The routes below /v1/cache."""
    routes = APIRouter(prefix="/v1/cache", tags=["cache"])

    @routes.get("")
    async def get_stats(_: Viewer) -> dict[str, Any]:
        """Hits, misses, sizes and evictions, per tier."""
        found: dict[str, Any] = msgspec.to_builtins(await cache.stats())
        return found

    @routes.get("/entries")
    async def list_entries(_: Operator, pattern: Pattern = "*", limit: Limit = 100) -> EntryList:
        """Preview what a pattern names, before clearing it."""
        found = await cache.scan(pattern, limit)
        items = [EntryView(**msgspec.to_builtins(item)) for item in found]
        return EntryList(pattern=pattern, items=items)

    @routes.get("/entries/{key:path}", responses=responses(NotFound))
    async def get_entry(key: str, who: Operator) -> EntryValue:
        """One entry; its value for administrators only."""
        hit = await entry(cache, key)
        shown = who.role == "admin"
        return EntryValue(
            key=key,
            source=hit.source,
            age_seconds=hit.age,
            value=readable(hit.value) if shown else None,
            value_hidden=not shown,
        )

    @routes.delete("/entries/{key:path}", responses=responses(NotFound))
    async def delete_entry(key: str, _: Operator) -> Cleared:
        """Forget one entry."""
        if not await cache.delete(key):
            raise NotFound(f"there is no cached key {key[:200]!r}")
        return _cleared(clock, 1, key)

    @routes.post("/clear")
    async def clear_entries(_: Operator, request: ClearRequest | None = None) -> Cleared:
        """Forget entries by pattern, tag, namespace or age; all without a body."""
        asked = request or ClearRequest()
        return await clear(
            cache,
            clock,
            pattern=asked.pattern,
            tag=asked.tag,
            namespace=asked.namespace,
            older_than=asked.older_than_seconds,
        )

    @routes.post("/warm")
    async def warm(who: Operator, request: WarmRequest) -> Warmed:
        """Judge texts ahead of time, so that their first request is a hit.

        Each distinct text is a call of the key.
        """
        done = await moderation.warm(request.texts, owner=who.owner, key=who.key_id)
        return Warmed(**done._asdict())

    return routes


async def clear(
    cache: Cache,
    clock: Clock,
    *,
    pattern: str | None = None,
    tag: str | None = None,
    namespace: str | None = None,
    older_than: float | None = None,
) -> Cleared:
    """Clear and report in the union of all systems' words."""
    for name, other in (("tag", tag), ("pattern", pattern)):
        if namespace is not None and other is not None:
            raise InvalidInput(
                f"clear by {name} or by namespace, not both",
                errors=[{"pointer": "/namespace", "detail": f"stands beside {name}"}],
            )
    number = await cache.clear(pattern=pattern, tag=tag, namespace=namespace, older_than=older_than)
    return _cleared(clock, number, pattern)


async def entry(cache: Cache, key: str) -> Hit:
    """The entry under `key`; NotFound without one."""
    hit: Hit | None = await cache.lookup(key)
    if hit is None:
        raise NotFound(f"there is no cached key {key[:200]!r}")
    return hit


def readable(value: Any) -> Any:
    """A cached value as JSON can say it: structs as lists or objects, bytes in base64.

    The library may have cached anything; arrays become lists, what has no other form its type's
    name.
    """
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)


def _plain(value: Any) -> Any:
    as_list = getattr(value, "tolist", None)
    return as_list() if as_list else f"<{type(value).__name__}>"


def _cleared(clock: Clock, number: int, pattern: str | None) -> Cleared:
    return Cleared(
        cleared_entries=number,
        deleted_count=number,
        pattern=pattern,
        message=f"{number} cached entries forgotten",
        timestamp=datetime.fromtimestamp(clock.now(), UTC).isoformat(),
    )
