"""Remembering: results in tiers, computed once, forgotten on demand.

from penstock.cache import Cache, open_store

cache = Cache([open_store("memory://"), open_store("disk://cache.db")], hub=hub)

@cache.cached(ttl="1h", stale="10m")
async def classify(text: str) -> Result: ...
"""

from penstock.cache.batch import decorate_batch
from penstock.cache.decorator import decorate
from penstock.cache.entry import CacheStats, EntryInfo, Hit, Selection, TierStats
from penstock.cache.factory import open_store
from penstock.cache.keys import CacheKeyBuilder, fingerprint
from penstock.cache.memory import MemoryStore
from penstock.cache.patterns import escape
from penstock.cache.shapes import AsyncCached, CachedBatch, SyncCached
from penstock.cache.store import LocalStore, Store
from penstock.cache.tiers import Cache
from penstock.clock import seconds

__all__ = [
    "AsyncCached",
    "Cache",
    "CacheKeyBuilder",
    "CacheStats",
    "CachedBatch",
    "EntryInfo",
    "Hit",
    "LocalStore",
    "MemoryStore",
    "Selection",
    "Store",
    "SyncCached",
    "TierStats",
    "decorate",
    "decorate_batch",
    "escape",
    "fingerprint",
    "open_store",
    "seconds",
]
