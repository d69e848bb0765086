"""Walks over the entries in a Redis: previews, clearing by pattern, sizes. SCAN only, never KEYS.

A page is one round trip, so a walk holds up neither the server nor this loop. Redis is asked for at
least what a pattern means (its `?` and `[...]` are of bytes, ours of characters; and a pattern of
many `*` would take it long), and what comes is looked at again here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from penstock.cache.entry import Selection
from penstock.cache.patterns import escape, matcher
from penstock.cache.record import Head, head_of
from penstock.errors import UnreadableValue

PAGE: Final = 500  # keys that a page looks at
EXACT: Final = 10_000  # keys up to which entries are counted one by one
SAMPLE: Final = 100  # entries whose size is asked for
HEAD: Final = 1024  # bytes of a record that are read for its times and tags
STARS: Final = 3  # of a pattern that Redis is given whole

_PART = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])+\]|\?|\*|.", re.DOTALL)


async def clear(client: Any, selection: Selection, *, prefix: str, at: int) -> int:
    """Forget what is selected; returns how many."""
    selected = selection.may_mean
    by_head = selection.tag is not None or selection.created_before is not None
    removed = 0
    async for keys in pages(client, selection.pattern or "*", prefix):
        meant = [key for key in keys if selected(key)]
        if by_head and meant:
            heads = await _heads(client, meant, prefix, at)
            meant = [key for key, _, head in heads if _is_selected(head, selection)]
        if meant:
            removed += await client.unlink(*[prefix + key for key in meant])
    return removed


async def look_at(
    client: Any, pattern: str, limit: int, *, prefix: str, at: int
) -> list[tuple[str, int, Head]]:
    """At most `limit` entries that match: key, bytes, head."""
    matches = matcher(pattern)
    found: dict[str, tuple[str, int, Head]] = {}
    async for keys in pages(client, pattern, prefix):
        meant = [key for key in keys if key not in found and matches(key)][: limit - len(found)]
        for each in await _heads(client, meant, prefix, at):
            found[each[0]] = each
        if len(found) >= limit:
            break
    return list(found.values())


async def sizes(client: Any, *, prefix: str) -> tuple[int, int, int]:
    """Entries, their bytes in Redis, and the bytes that Redis may use: 0 without a bound.

    Up to `EXACT` keys of the database are counted; of more, the share of entries among the first of
    them is taken for all, as a walk over millions would take seconds. Bytes are those of a sample
    times the count.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.dbsize()
    pipeline.info("memory")
    total, memory = await pipeline.execute()
    seen = 0
    names: set[bytes] = set()
    cursor: Any = 0
    while seen < EXACT:
        cursor, page = await client.scan(cursor, count=PAGE)
        seen += len(page)
        names.update(name for name in page if name.startswith(prefix.encode()))
        if int(cursor) == 0:
            break
    entries = len(names) if int(cursor) == 0 else round(total * len(names) / max(1, seen))
    size = await _mean_bytes(client, list(names)[:SAMPLE]) * entries
    return entries, round(size), int(memory["maxmemory"])


async def pages(client: Any, pattern: str, prefix: str) -> AsyncIterator[list[str]]:
    """Keys that may match, a page at a time; some come twice."""
    asked = escape(prefix) + superset(pattern)
    cursor: Any = 0
    while True:
        cursor, names = await client.scan(cursor, match=asked, count=PAGE)
        if names:
            yield [name.decode("utf-8", "replace")[len(prefix) :] for name in names]
        if int(cursor) == 0:
            return


def superset(pattern: str) -> str:
    """A pattern that means to Redis at least what `pattern` means to us."""
    parts: list[str] = []
    for part in _PART.findall(pattern):
        several = part == "?" or (part[0] == "[" and len(part) > 1)
        part = "*" if several else escape(part) if part in ("[", "]") else part
        if part != "*" or parts[-1:] != ["*"]:
            parts.append(part)
    if parts.count("*") > STARS:
        parts = [*parts[: parts.index("*")], "*"]
    return "".join(parts)


async def _heads(
    client: Any, keys: Sequence[str], prefix: str, at: int
) -> list[tuple[str, int, Head]]:
    """Those of `keys` that are entries: key, bytes, head."""
    if not keys:
        return []
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.getrange(prefix + key, 0, HEAD - 1)
        pipeline.strlen(prefix + key)
    answers = await pipeline.execute(raise_on_error=False)
    found = []
    for key, record, size in zip(keys, answers[::2], answers[1::2], strict=True):
        try:
            if isinstance(record, bytes) and record:
                found.append((key, size, head_of(record, at)))
        except UnreadableValue:
            if size > HEAD:  # many tags
                whole = await client.get(prefix + key)
                found += [(key, size, head_of(whole, at))] if whole else []
    return found


async def _mean_bytes(client: Any, names: Sequence[bytes]) -> float:
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.memory_usage(name.decode("utf-8", "replace"), samples=0)
    answers = await pipeline.execute(raise_on_error=False)
    known = [size for size in answers if isinstance(size, int)]
    return sum(known) / len(known) if known else 0.0


def _is_selected(head: Head, selection: Selection) -> bool:
    tag, before = selection.tag, selection.created_before
    return (tag is None or tag in head.tags) and (before is None or head.created < before)
