"""Halilit's cache paths."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query

from penstock.cache import Cache
from penstock.clock import Clock
from penstock.server.routes.cache import Cleared, clear
from penstock.web.roles import Operator, Viewer

MaxAge = Annotated[float | None, Query(ge=0, description="Only entries at least that old.")]


def router(cache: Cache, clock: Clock) -> APIRouter:
    """The routes below /api/v2/cache."""
    routes = APIRouter(prefix="/api/v2/cache", tags=["halilit"])

    @routes.get("/stats")
    async def get_stats(_: Viewer) -> dict[str, Any]:
        """Entries, bytes, hits, misses and their rate."""
        stats = await cache.stats()
        return {
            "total_entries": stats.entries,
            "total_size_bytes": stats.size_bytes,
            "total_size_mb": round(stats.size_bytes / (1 << 20), 3),
            "hits": stats.hits,
            "misses": stats.misses,
            "hit_rate": stats.hit_rate,
            "tiers": msgspec.to_builtins(stats.tiers),
        }

    @routes.post("/clear")
    async def clear_cache(_: Operator, max_age_seconds: MaxAge = None) -> Cleared:
        """Forget cached results, all or the older ones."""
        return await clear(cache, clock, older_than=max_age_seconds)

    return routes
