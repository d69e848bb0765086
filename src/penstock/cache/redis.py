"""The Redis tier: one cache for all servers of an installation.

    cache:<key>       one string per entry, with Redis' own expiry
    cache-fences      one hash: how often keys were set or deleted, by bucket; `*` counts clears

A read is one GET or MGET, and what is asked at the same time is asked together (`joining.py`).
An explicit change is one transaction that also counts its keys' fences; what was computed is
written only where the fences are as they were before computing began, so that a result of the
state before a change is never written over the change, whatever the hub has told by then.

Nothing is retried here: a server that fails is left alone by the tier's breaker.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

from redis import exceptions

from penstock.cache import redis_walk
from penstock.cache.entry import Entry, EntryInfo, Selection, TierStats
from penstock.cache.joining import Found, Joining
from penstock.cache.record import as_entry, as_record
from penstock.cache.redis_lanes import Lanes
from penstock.cache.store import Mark, WriteRefused
from penstock.clock import Clock, SystemClock
from penstock.errors import CacheUnavailable, UnencodableValue, UnreadableValue
from penstock.net.per_loop import PerLoop
from penstock.net.redis import (
    FAULTS,
    TIMEOUT,
    connect,
    drop_connections,
    explain,
    is_replica,
)

PREFIX: Final = "cache:"
FENCES: Final = "cache-fences"
MAGIC: Final = b"P1"  # what a value of ours begins with; the number is the layout's version
BUCKETS: Final = 4096
CONNECTIONS: Final = 4  # of a loop, beside those of `joining.AT_ONCE` reads
MOST_BYTES: Final = 512 << 10  # of values in one pipeline: about 1 ms to compress, 40 ms to send
BIG: Final = 256 << 10  # bytes of a value that is compressed in a thread
MOST_ENTRIES: Final = 500
LARGEST: Final = 8 << 20  # bytes of one value

_BEGIN: Final = len(MAGIC)
_EVERYTHING: Final = "*"
_KEEP: Final = """
local all = redis.call('HGET', KEYS[1], '*') or ''
local kept = 0
for i = 2, #KEYS do
  local a = (i - 2) * 4
  local fence = redis.call('HGET', KEYS[1], ARGV[a + 1]) or ''
  if fence .. '/' .. all == ARGV[a + 2] then
    redis.call('SET', KEYS[i], ARGV[a + 3], 'PX', ARGV[a + 4])
    kept = kept + 1
  end
end
return kept
"""
_KEEP_SHA: Final = hashlib.sha1(_KEEP.encode(), usedforsecurity=False).hexdigest()
_REFUSALS: Final = ("OOM", "READONLY", "MISCONF", "NOREPLICAS")


class RedisStore:
    """Keeps entries in one Redis; safe to use from any event loop, each with its own client."""

    name = "redis"

    def __init__(
        self,
        url: str,
        *,
        compress_from: int | None = 2048,
        timeout: float = TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        self.url = url
        self._compress_from = compress_from
        self._timeout = timeout
        self._now = (clock or SystemClock()).now
        # Any: to redis-py's types every answer may be text; that takes an option we never use.
        self._clients: PerLoop[Any] = PerLoop(self._connect, lambda client: client.aclose())
        self._lanes: PerLoop[Lanes] = PerLoop(
            lambda: Lanes(self._connect(), timeout=timeout), lambda lanes: lanes.aclose()
        )
        self._reads: PerLoop[Joining] = PerLoop(self._make_reads, lambda reads: reads.aclose())
        self._writes = self._unreadable = self._skipped = self._superseded = 0
        self._connect()  # raises ConfigurationError for what is no address; connects to nothing

    # --- reading -----------------------------------------------------------------------------

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        if not keys:
            return {}
        return self._entries(await self._reads.get().get(keys))

    async def look(self, keys: Sequence[str]) -> tuple[dict[str, Entry], dict[str, Mark]]:
        buckets = [_bucket(key) for key in keys]
        try:
            pipeline = self._clients.get().pipeline(transaction=False)
            pipeline.mget([PREFIX + key for key in keys])
            pipeline.hmget(FENCES, [_EVERYTHING, *buckets])
            records, (cleared, *changed) = await pipeline.execute()
        except FAULTS as error:
            raise await self._fault(error) from error
        found = self._entries(dict(zip(keys, records, strict=True)))
        after = b"/" + (cleared or b"")
        return found, {
            key: (fence or b"") + after for key, fence in zip(keys, changed, strict=True)
        }

    def _make_reads(self) -> Joining:
        lanes = self._lanes.get()

        async def ask(keys: Sequence[str]) -> Found:
            try:
                if len(keys) == 1:
                    return {keys[0]: await lanes.ask("GET", PREFIX + keys[0])}
                records = await lanes.ask("MGET", *[PREFIX + key for key in keys])
                return dict(zip(keys, records, strict=True))
            except exceptions.ResponseError as error:
                if not str(error).startswith("WRONGTYPE"):
                    raise await self._fault(error) from error
                self._unreadable += 1  # somebody else's list or hash under our name
                return {}
            except FAULTS as error:
                raise await self._fault(error) from error

        return Joining(ask)

    def _entries(self, records: Found) -> dict[str, Entry]:
        now, found = self._now(), {}
        for key, record in records.items():
            if record is None:
                continue
            try:
                if record[:_BEGIN] != MAGIC:
                    raise UnreadableValue("this is no entry of ours")
                entry = as_entry(key, record, _BEGIN)
            except UnreadableValue:
                self._unreadable += 1
                continue
            if now < entry.expires:
                found[key] = entry
        return found

    # --- writing -----------------------------------------------------------------------------

    async def set_many(self, entries: Sequence[Entry]) -> None:
        async for part in self._parts((entry, b"") for entry in entries):
            pipeline = self._clients.get().pipeline(transaction=True)
            for bucket in {_bucket(entry.key) for entry, _, _, _ in part}:
                pipeline.hincrby(FENCES, bucket, 1)
            for entry, record, lifetime, _ in part:
                pipeline.set(PREFIX + entry.key, record, px=lifetime)
            try:
                await pipeline.execute()
            except FAULTS as error:
                raise await self._fault(error) from error
            self._writes += len(part)

    async def set_unchanged(self, entries: Sequence[tuple[Entry, Mark]]) -> int:
        total = 0
        async for part in self._parts(entries):
            keys = [FENCES, *(PREFIX + entry.key for entry, _, _, _ in part)]
            args: list[Any] = []
            for entry, record, lifetime, mark in part:
                args += (_bucket(entry.key), mark, record, lifetime)
            kept = await self._keep(keys, args)
            self._writes += kept
            self._superseded += len(part) - kept
            total += kept
        return total

    async def _keep(self, keys: Sequence[str], args: Sequence[Any]) -> int:
        client = self._clients.get()
        try:
            try:
                kept = await client.evalsha(_KEEP_SHA, len(keys), *keys, *args)
            except exceptions.NoScriptError:  # the first time, or the server was restarted
                kept = await client.eval(_KEEP, len(keys), *keys, *args)
        except FAULTS as error:
            raise await self._fault(error) from error
        return int(kept)

    async def delete(self, keys: Sequence[str]) -> int:
        """Forget these. A server that is full cannot count fences, but it can forget."""
        removed = 0
        for at in range(0, len(keys), MOST_ENTRIES):
            part = keys[at : at + MOST_ENTRIES]
            names = [PREFIX + key for key in part]
            pipeline = self._clients.get().pipeline(transaction=True)
            for bucket in set(map(_bucket, part)):
                pipeline.hincrby(FENCES, bucket, 1)
            pipeline.unlink(*names)
            try:
                removed += (await pipeline.execute())[-1]
            except exceptions.OutOfMemoryError:
                removed += await self._unlink(names)
            except FAULTS as error:
                raise await self._fault(error) from error
        return removed

    async def _unlink(self, names: Sequence[str]) -> int:
        try:
            return int(await self._clients.get().unlink(*names))
        except FAULTS as error:
            raise await self._fault(error) from error

    async def _parts(
        self, entries: Iterable[tuple[Entry, Mark]]
    ) -> AsyncIterator[list[tuple[Entry, bytes, int, Mark]]]:
        """Entries as records with their milliseconds to live, as many as one pipeline takes."""
        now, size = self._now(), 0
        part: list[tuple[Entry, bytes, int, Mark]] = []
        for entry, mark in entries:
            record, lifetime = await self._pack(entry), int((entry.expires - now) * 1000)
            if record is None or len(record) > LARGEST or lifetime <= 0:
                self._skipped += 1
                continue
            if part and (size + entry.size > MOST_BYTES or len(part) == MOST_ENTRIES):
                yield part
                part, size = [], 0
            part.append((entry, record, lifetime, mark))
            size += entry.size
        if part:
            yield part

    async def _pack(self, entry: Entry) -> bytes | None:
        """The record of an entry; a large one is compressed beside the loop."""
        try:
            if entry.size < BIG:
                return as_record(entry, compress_from=self._compress_from, before=MAGIC)
            return await asyncio.to_thread(
                as_record, entry, compress_from=self._compress_from, before=MAGIC
            )
        except UnencodableValue:
            return None

    # --- all of it ---------------------------------------------------------------------------

    async def clear(self, selection: Selection) -> int:
        client = self._clients.get()
        try:
            await client.hincrby(FENCES, _EVERYTHING, 1)
        except exceptions.OutOfMemoryError:
            pass  # see `delete`
        except FAULTS as error:
            raise await self._fault(error) from error
        try:
            return await redis_walk.clear(client, selection, prefix=PREFIX, at=_BEGIN)
        except FAULTS as error:
            raise await self._fault(error) from error

    async def scan(self, pattern: str, limit: int) -> list[EntryInfo]:
        try:
            heads = await redis_walk.look_at(
                self._clients.get(), pattern, limit, prefix=PREFIX, at=_BEGIN
            )
        except FAULTS as error:
            raise await self._fault(error) from error
        now = self._now()
        return [
            EntryInfo(
                key, size, max(0.0, now - head.created), max(0.0, head.expires - now), self.name
            )
            for key, size, head in heads
            if now < head.expires
        ]

    async def sweep(self) -> int:
        """Nothing to do: Redis forgets what has expired by itself."""
        return 0

    async def stats(self) -> TierStats:
        """Sizes as Redis knows them; see `redis_walk.sizes` for what is estimated."""
        stats = TierStats(
            writes=self._writes,
            errors=self._unreadable,
            skipped=self._skipped,
            dropped=self._superseded,
        )
        try:
            sizes = await redis_walk.sizes(self._clients.get(), prefix=PREFIX)
        except FAULTS as error:
            stats.state, stats.detail = "down", explain(error, self.url)
            return stats
        stats.entries, stats.size_bytes, stats.max_bytes = sizes
        return stats

    async def aclose(self) -> None:
        await self._reads.aclose()
        await self._lanes.aclose()
        await self._clients.aclose()

    # --- the server ----------------------------------------------------------------------------

    def _connect(self) -> Any:
        time_out = self._timeout
        return connect(
            self.url,
            timeout=time_out,
            connect_timeout=time_out,
            connections=CONNECTIONS,
            name="penstock-cache",
        )

    async def _fault(self, error: BaseException) -> CacheUnavailable:
        """What to raise; after a failover, the next question goes to where the address leads."""
        if is_replica(error):
            await drop_connections(self._clients.get())
            await self._lanes.get().drop()
        text = str(error)
        refused = text.startswith(_REFUSALS) or "OOM command" in text
        kind = WriteRefused if refused or _is_refusal(error) else CacheUnavailable
        return kind(explain(error, self.url))


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, exceptions.OutOfMemoryError) or is_replica(error)


def _bucket(key: str) -> str:
    """Which fence a key is behind; keys that share one only lose a write now and then."""
    return str(zlib.crc32(key.encode()) % BUCKETS)
