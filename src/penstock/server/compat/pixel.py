"""Pixel's cache paths, in its envelope {status, <name>, timestamp}."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field

from penstock.cache import Cache
from penstock.clock import Clock
from penstock.errors import NotFound
from penstock.server.routes.cache import Cleared, clear, entry, readable
from penstock.web.errors import responses
from penstock.web.roles import Admin, Operator, Viewer


class ClearRequest(BaseModel, extra="forbid"):
    """Which keys to forget; all without a pattern."""

    pattern: str | None = Field(
        default=None, min_length=1, max_length=512, examples=["conversation:*"]
    )


def router(cache: Cache, clock: Clock) -> APIRouter:
    """The routes below /api/performance/cache."""
    routes = APIRouter(prefix="/api/performance/cache", tags=["pixel"])

    @routes.get("/stats")
    async def get_stats(_: Viewer) -> dict[str, Any]:
        """State of the cache."""
        stats = await cache.stats()
        return envelope(clock, cache_stats=msgspec.to_builtins(stats))

    @routes.post("/clear")
    async def clear_cache(_: Operator, request: ClearRequest | None = None) -> Cleared:
        """Forget the keys that match a pattern."""
        return await clear(cache, clock, pattern=request.pattern if request else None)

    @routes.get("/key/{key:path}", responses=responses(NotFound))
    async def get_key(key: str, _: Admin) -> dict[str, Any]:
        """One cached value."""
        found = await entry(cache, key)
        return envelope(clock, key=key, value=readable(found.value))

    @routes.delete("/key/{key:path}", responses=responses(NotFound))
    async def delete_key(key: str, _: Operator) -> dict[str, Any]:
        """Forget one key."""
        if not await cache.delete(key):
            raise NotFound(f"there is no cached key {key[:200]!r}")
        return envelope(clock, key=key, deleted=True)

    return routes


def envelope(clock: Clock, **named: Any) -> dict[str, Any]:
    """What every answer of Pixel is wrapped in."""
    moment = datetime.fromtimestamp(clock.now(), UTC).isoformat()
    return {"status": "success", **named, "timestamp": moment}
