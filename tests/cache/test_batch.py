from __future__ import annotations

import asyncio

import pytest

from penstock.errors import CacheError, ConfigurationError


async def test_only_the_misses_are_computed(cache):
    asked = []

    @cache.cached_batch(over="texts")
    async def shout(texts: list[str], sep: str = "!") -> list[str]:
        asked.append(list(texts))
        return [text.upper() + sep for text in texts]

    assert await shout(["a", "b"]) == ["A!", "B!"]
    assert await shout(["b", "c", "a", "c"]) == ["B!", "C!", "A!", "C!"]
    assert await shout(["a"], sep="?") == ["A?"]
    assert await shout([]) == []
    assert asked == [["a", "b"], ["c"], ["a"]]


async def test_concurrent_batches_share_their_items(cache):
    asked = []
    go = asyncio.Event()

    @cache.cached_batch(over="texts")
    async def shout(texts: list[str]) -> list[str]:
        asked.append(texts)
        await go.wait()
        return [text.upper() for text in texts]

    tasks = [asyncio.ensure_future(shout(texts)) for texts in (["a", "b"], ["b", "c"], ["c", "a"])]
    for _ in range(10):  # each takes a few turns of the loop to begin
        await asyncio.sleep(0)
    go.set()

    assert await asyncio.gather(*tasks) == [["A", "B"], ["B", "C"], ["C", "A"]]
    assert asked == [["a", "b"], ["c"]]


async def test_a_cancelled_batch_harms_nobody(cache):
    go = asyncio.Event()
    begun = asyncio.Event()

    @cache.cached_batch(over="texts")
    async def shout(texts: list[str]) -> list[str]:
        begun.set()
        await go.wait()
        return [text.upper() for text in texts]

    first = asyncio.ensure_future(shout(["a", "b"]))
    await begun.wait()
    second = asyncio.ensure_future(shout(["b"]))
    await asyncio.sleep(0)
    first.cancel()
    go.set()

    assert await second == ["B"]


async def test_an_error_reaches_all_who_wait_and_is_not_remembered(cache):
    failing = True

    @cache.cached_batch(over="texts")
    async def shout(texts: list[str]) -> list[str]:
        if failing:
            raise RuntimeError("upstream")
        return [text.upper() for text in texts]

    answers = await asyncio.gather(shout(["a"]), shout(["a"]), return_exceptions=True)
    failing = False

    assert all(isinstance(answer, RuntimeError) for answer in answers)
    assert await shout(["a"]) == ["A"]


async def test_a_function_that_answers_too_little_is_told(cache):
    @cache.cached_batch(over="texts")
    async def shout(texts: list[str]) -> list[str]:
        return []

    with pytest.raises(CacheError, match="returned 0 results for 2 items"):
        await shout(["a", "b"])


async def test_lookup_says_where_each_came_from(cache):
    @cache.cached_batch(over="texts")
    async def shout(texts: list[str]) -> list[str]:
        return [text.upper() for text in texts]

    await shout(["a"])

    assert [hit.source for hit in await shout.lookup(["a", "b"])] == ["memory", "computed"]


async def test_items_can_be_invalidated(cache):
    asked = []

    @cache.cached_batch(over="texts")
    async def shout(texts: list[str]) -> list[str]:
        asked.extend(texts)
        return [text.upper() for text in texts]

    await shout(["a", "b"])

    assert await shout.invalidate(["a"]) == 1
    await shout(["a", "b"])
    assert asked == ["a", "b", "a"]
    assert len(set(shout.keys(["a", "b"]))) == 2


async def test_repeated_items_do_not_share_a_value(cache):
    @cache.cached_batch(over="texts")
    async def split(texts: list[str]) -> list[list[str]]:
        return [[text] for text in texts]

    first, second = await split(["a", "a"])
    first.append("changed")

    assert second == ["a"]
    assert await split(["a"]) == [["a"]]


async def test_stale_items_answer_while_they_are_renewed(cache, clock):
    numbers = iter(range(10))

    @cache.cached_batch(over="texts", ttl=60, stale=60)
    async def count(texts: list[str]) -> list[int]:
        return [next(numbers) for _ in texts]

    await count(["a", "b"])
    clock.advance(60)

    old = await count(["a", "b"])
    await cache.flights.settle()

    assert (old, await count(["a", "b"])) == ([0, 1], [2, 3])


async def test_a_switched_off_cache_passes_everything_on(make_cache):
    asked = []

    @make_cache(enabled=False).cached_batch(over="texts")
    async def shout(texts: list[str]) -> list[str]:
        asked.append(texts)
        return texts

    await shout(["a"])
    await shout(["a"])

    assert asked == [["a"], ["a"]]


def test_wrong_declarations_are_refused(cache):
    with pytest.raises(ConfigurationError, match="no coroutine function"):

        @cache.cached_batch(over="texts")
        def plain(texts: list[str]) -> list[str]:
            return texts

    with pytest.raises(ConfigurationError, match="no argument 'items'"):

        @cache.cached_batch(over="items")
        async def wrong(texts: list[str]) -> list[str]:
            return texts
