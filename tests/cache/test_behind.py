"""What is written behind the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock.cache.behind import TOGETHER, Behind
from penstock.cache.entry import KEPT, Entry
from penstock.cache.store import Mark
from tests.cache.conftest import PATIENCE

MARK: Mark = b"*"


def entry(key: str, value: str = "") -> Entry:
    return Entry(
        key=key,
        value=value,
        thaw=None,
        kind=KEPT,
        size=1,
        created=0.0,
        fresh_until=1.0,
        stale_until=1.0,
        expires=1.0,
        sequence=0,
        tags=(),
    )


async def on_its_way(behind: Behind) -> None:
    """Return when all that waits is being written."""
    async with asyncio.timeout(PATIENCE):
        while len(behind):  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0)


class Writes:
    """What was written; during every write `traffic` comes in, until it is stopped."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.traffic: list[Entry] = []
        self.count = 0
        self.behind = Behind(self)

    async def __call__(self, entries: Sequence[tuple[Entry, Mark]]) -> None:
        await asyncio.sleep(0)
        self.count += 1
        self.behind.add([(one, MARK) for one in self.traffic])
        self.found.update((one.key, one.value) for one, _ in entries)


async def test_a_flush_does_not_wait_for_what_is_added_meanwhile():
    writes = Writes()
    writes.traffic = [entry(f"later {n}") for n in range(2 * TOGETHER)]
    keys = [f"k{n}" for n in range(2 * TOGETHER)]
    writes.behind.add([(entry(key), MARK) for key in keys])

    await asyncio.wait_for(writes.behind.flush(), PATIENCE)

    assert writes.found.keys() >= set(keys)
    assert len(writes.behind)  # there was no moment at which nothing waited
    writes.traffic = []
    await writes.behind.aclose()


async def test_a_flush_waits_for_the_write_that_is_on_its_way():
    writes = Writes()
    writes.behind.add([(entry("a"), MARK)])
    await on_its_way(writes.behind)

    assert not writes.found
    await asyncio.wait_for(writes.behind.flush(), PATIENCE)
    assert writes.found == {"a": ""}


async def test_what_is_added_again_and_again_keeps_its_place():
    writes = Writes()
    writes.traffic = [*(entry(f"later {n}") for n in range(TOGETHER)), entry("mine", "new")]
    writes.behind.add([(entry("first"), MARK)])
    await on_its_way(writes.behind)
    writes.behind.add([(entry(f"k{n}"), MARK) for n in range(TOGETHER)])
    writes.behind.add([(entry("mine"), MARK)])

    await asyncio.wait_for(writes.behind.flush(), PATIENCE)

    assert writes.found["mine"] == "new"
    writes.traffic = []
    await writes.behind.aclose()


async def test_a_flush_returns_when_what_waits_is_given_up(monkeypatch):
    monkeypatch.setattr("penstock.cache.behind.FLUSH_SECONDS", 0.01)

    async def never(_: Sequence[tuple[Entry, Mark]]) -> None:
        await asyncio.get_running_loop().create_future()

    behind = Behind(never)
    behind.add([(entry("a"), MARK)])
    await on_its_way(behind)
    behind.add([(entry("b"), MARK)])
    flushing = asyncio.ensure_future(behind.flush())
    await asyncio.sleep(0)

    await behind.aclose()
    await asyncio.wait_for(flushing, PATIENCE)
    assert (len(behind), behind.dropped) == (0, 1)
