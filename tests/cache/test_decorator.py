from __future__ import annotations

import asyncio
import enum
import inspect
import sqlite3
import sys
import threading
from collections.abc import Callable

import msgspec
import pytest

from penstock.cache import Cache, MemoryStore
from penstock.cache.decorator import decorate
from penstock.clock import ManualClock
from penstock.errors import ConfigurationError, UnencodableValue


class Verdict(msgspec.Struct, frozen=True):
    label: str


class Mood(enum.StrEnum):
    GOOD = "good"


class Calls(list):
    """Arguments a function was called with."""


@pytest.fixture
def calls() -> Calls:
    return Calls()


async def test_the_second_call_does_not_run_the_body(cache, calls):
    """H-10, async."""

    @cache.cached(max_age=3600)
    async def double(text: str) -> str:
        calls.append(text)
        return text * 2

    assert [await double("a"), await double("a"), await double("b")] == ["aa", "aa", "bb"]
    assert calls == ["a", "b"]


def test_a_plain_function_stays_plain(cache, calls):
    """H-10, sync."""

    @cache.cached(max_age=3600)
    def double(text: str) -> str:
        calls.append(text)
        return text * 2

    assert [double("a"), double("a"), double("b")] == ["aa", "aa", "bb"]
    assert calls == ["a", "b"]


@pytest.mark.parametrize("value", [None, 0, "", [], False])
async def test_falsy_results_are_remembered(cache, calls, value):
    @cache.cached()
    async def answer(text: str) -> object:
        calls.append(text)
        return value

    assert [await answer("a"), await answer("a")] == [value, value]
    assert calls == ["a"]


async def test_equal_arguments_of_other_types_are_other_calls(cache, calls):
    @cache.cached()
    async def kind(value: object) -> str:
        calls.append(value)
        return type(value).__name__

    values = [1, 1.0, True, "1", b"1", "good", Mood.GOOD, 0.0, False]
    for _ in range(3):
        names = [await kind(value) for value in values]

        assert names == [type(value).__name__ for value in values]
    assert len(calls) == len(values)


async def test_every_way_to_write_a_call_is_the_same_call(cache, calls):
    @cache.cached()
    async def join(first: str, second: str = "b", *, sep: str = "-") -> str:
        calls.append(first)
        return sep.join((first, second))

    answers = [
        await join("a"),
        await join("a", "b"),
        await join(first="a", second="b"),
        await join(second="b", sep="-", first="a"),
        await join("a", sep="-"),
    ]

    assert answers == ["a-b"] * 5
    assert calls == ["a"]


async def test_one_argument_may_be_named_or_left_out(cache):
    @cache.cached()
    async def shout(text: str = "hey") -> str:
        return text.upper()

    assert [await shout(), await shout("hey"), await shout(text="hey")] == ["HEY"] * 3
    assert (await cache.stats()).misses == 1


async def test_the_signature_and_the_name_stay(cache):
    @cache.cached()
    async def shout(text: str = "hey") -> str:
        """Shout."""
        return text.upper()

    assert str(inspect.signature(shout)) == "(text: 'str' = 'hey') -> 'str'"
    assert (shout.__name__, shout.__doc__) == ("shout", "Shout.")
    assert inspect.iscoroutinefunction(shout)
    with pytest.raises(TypeError):
        await shout("a", "b")


async def test_functions_of_one_name_do_not_share(cache):
    """O-19."""

    def make(answer: str) -> Callable:
        def same(text: str) -> str:
            return answer

        same.__module__ = answer
        return cache.cached()(same)

    assert (make("first")("a"), make("second")("a")) == ("first", "second")


async def test_another_version_is_another_result(cache):
    def answer(text: str) -> str:
        return "x"

    assert cache.cached(version=1)(answer).key("a") != cache.cached(version=2)(answer).key("a")


async def test_lookup_says_where_a_value_came_from(cache, clock):
    @cache.cached()
    async def double(text: str) -> str:
        return text * 2

    first = await double.lookup("a")
    clock.advance(5)
    second = await double.lookup("a")

    assert (first.value, first.source, first.age) == ("aa", "computed", 0)
    assert (second.value, second.source, second.age) == ("aa", "memory", 5)


async def test_invalidate_forgets_one_call(cache, calls):
    @cache.cached()
    async def double(text: str) -> str:
        calls.append(text)
        return text * 2

    await double("a")
    await double("b")

    assert await double.invalidate("a") is True
    assert await double.invalidate("a") is False
    await double("a")
    await double("b")
    assert calls == ["a", "b", "a"]


async def test_refresh_computes_anew(cache):
    numbers = iter(range(10))

    @cache.cached()
    async def count(text: str) -> int:
        return next(numbers)

    @cache.cached()
    def count_sync(text: str) -> int:
        return next(numbers)

    assert [await count("a"), await count.refresh("a"), await count("a")] == [0, 1, 1]
    assert [count_sync("a"), count_sync.refresh("a"), count_sync("a")] == [2, 3, 3]
    assert count_sync.invalidate("a")


async def test_get_many_answers_in_order(cache, calls):
    @cache.cached()
    async def join(a: str, b: str) -> str:
        calls.append((a, b))
        return a + b

    await join("a", "b")

    assert await join.get_many([("c", "d"), ("a", "b"), ("c", "d")]) == ["cd", "ab", "cd"]
    assert sorted(calls) == [("a", "b"), ("c", "d")]


def test_get_many_of_a_plain_function(cache):
    @cache.cached()
    def double(text: str) -> str:
        return text * 2

    assert double.get_many(["a", "b"]) == ["aa", "bb"]


async def test_an_expired_result_is_computed_anew(cache, clock, calls):
    @cache.cached(ttl="1m")
    async def double(text: str) -> str:
        calls.append(text)
        return text * 2

    await double("a")
    clock.advance(59)
    await double("a")
    clock.advance(1)
    await double("a")

    assert calls == ["a", "a"]


async def test_a_stale_result_answers_while_it_is_renewed(cache, clock):
    numbers = iter(range(10))

    @cache.cached(ttl=60, stale="30s")
    async def count(text: str) -> int:
        return next(numbers)

    await count("a")
    clock.advance(60)

    hit = await count.lookup("a")
    await cache.flights.settle()

    assert (hit.value, hit.stale, await count("a")) == (0, True, 1)


def test_the_thread_that_finds_a_stale_result_renews_it(cache, clock):
    numbers = iter([0, 1])

    @cache.cached(ttl=60, stale=60)
    def count(text: str) -> int:
        return next(numbers)

    values = [count("a")]
    clock.advance(60)
    values += [count("a"), count("a")]
    clock.advance(60)
    values.append(count("a"))  # fails to renew: the old one answers

    assert values == [0, 1, 1, 1]


async def test_the_last_known_result_answers_when_computing_fails(cache, clock):
    down = False

    @cache.cached(ttl=60, on_error="stale")
    async def price(item: str) -> int:
        if down:
            raise RuntimeError("upstream")
        return 7

    @cache.cached(ttl=60, on_error="stale")
    def price_sync(item: str) -> int:
        return 1 // (not down)

    await price("a")
    price_sync("a")
    down = True
    clock.advance(3600)

    assert (await price.lookup("a")).stale
    assert (await price("a"), price_sync("a")) == (7, 1)
    with pytest.raises(RuntimeError):
        await price("never asked")


async def test_a_last_known_result_that_cannot_be_read_does_not_hide_the_error(
    tiered, clock, tmp_path
):
    cache = tiered()

    @cache.cached(ttl=60, on_error="stale", tiers=["disk"])
    async def parts(item: str) -> list[str]:
        if item in seen:
            raise RuntimeError("upstream")
        seen.append(item)
        return [item]

    seen: list[str] = []
    await parts("a")
    await cache.stats()
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        connection.execute("UPDATE entries SET record = CAST(substr(record, 1, 43) AS BLOB)")
    connection.close()
    clock.advance(3600)

    with pytest.raises(RuntimeError, match="upstream"):
        await parts("a")


async def test_none_has_a_time_of_its_own(cache, clock, calls):
    @cache.cached(ttl=600, negative_ttl=10)
    async def find(name: str) -> str | None:
        calls.append(name)
        return None if name == "nobody" else name

    for _ in range(2):
        await find("nobody")
        await find("ada")
        clock.advance(10)

    assert calls == ["nobody", "ada", "nobody"]


async def test_tags_may_name_arguments(cache, calls):
    @cache.cached(tags=("all", "policy:{policy}"))
    async def judge(text: str, policy: str = "strict") -> str:
        calls.append(policy)
        return text

    await judge("a")
    await judge("a", "mild")

    assert await cache.clear(tag="policy:strict") == 1
    await judge("a")
    await judge("a", "mild")
    assert calls == ["strict", "mild", "strict"]


async def test_a_namespace_may_depend_on_the_arguments(cache, calls):
    @cache.cached(namespace=lambda tenant, text: f"tenant {tenant}")
    async def answer(tenant: int, text: str) -> str:
        calls.append(tenant)
        return text

    for _ in range(2):
        await answer(1, "a")
        await answer(2, "a")
    await cache.clear(namespace="tenant 1")
    await answer(1, "a")
    await answer(2, "a")

    assert calls == [1, 2, 1]
    assert answer.key(1, "a").startswith("tenant 1:")


async def test_arguments_can_be_left_out_of_the_key(cache, calls):
    @cache.cached(ignore=("session",))
    async def load(name: str, session: object) -> str:
        calls.append(name)
        return name

    await load("a", object())
    await load("a", object())

    assert calls == ["a"]


async def test_an_argument_without_a_stable_form_is_refused_with_advice(cache):
    @cache.cached()
    async def load(session: object) -> str:
        return "x"

    with pytest.raises(UnencodableValue, match="ignore="):
        await load(object())


async def test_methods_work_when_the_object_says_what_it_is(cache, calls):
    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

        def __cache_key__(self) -> str:
            return self.name

        @cache.cached()
        async def run(self, text: str) -> str:
            calls.append(self.name)
            return self.name + text

    assert await Model("m").run("a") == await Model("m").run("a") == "ma"
    assert await Model("n").run("a") == "na"
    assert calls == ["m", "n"]


async def test_a_result_changed_by_its_user_is_not_changed_for_the_next(cache):
    @cache.cached()
    async def words(text: str) -> list[str]:
        return [text]

    (await words("a")).append("poison")
    (await words("a")).append("poison")

    assert await words("a") == ["a"]


async def test_an_immutable_result_is_the_same_object(cache):
    @cache.cached()
    async def verdict(text: str) -> Verdict:
        return Verdict(text)

    assert await verdict("a") is await verdict("a")


async def test_the_annotation_brings_the_type_back_from_disk(tiered, calls):
    async def verdict(text: str) -> tuple[Verdict, int]:
        calls.append(text)
        return Verdict(text), 1

    first = tiered()
    await first.cached()(verdict)("a")
    await first.aclose()
    again = tiered().cached()(verdict)

    assert (await again.lookup("a")).source == "disk"
    assert await again("a") == (Verdict("a"), 1)
    assert calls == ["a"]


def test_a_plain_function_finds_its_results_on_disk(tiered, calls):
    def double(text: str) -> tuple[str, str]:
        calls.append(text)
        return text, text

    first = tiered()
    first.cached()(double)("a")
    asyncio.run(first.aclose())
    again = tiered().cached()(double)

    assert again.lookup("a").source == "disk"
    assert (again("a"), calls) == (("a", "a"), ["a"])


async def test_a_result_without_a_type_stays_in_memory_and_says_so_once(tiered, told):
    cache = tiered()

    @cache.cached()
    async def pair(text: str):
        return [(text, 1)]

    for text in "abc":
        await pair(text)

    assert await pair("a") == [("a", 1)]
    assert (await pair.lookup("a")).source == "memory"
    (line,) = told()
    assert line.startswith("cache.memory_only")
    assert "pair" in line
    assert "annotate" in line
    stats = await cache.stats()
    assert (stats.tiers["disk"].entries, stats.tiers["disk"].skipped) == (0, 3)


async def test_tiers_can_be_chosen(tiered):
    cache = tiered()

    @cache.cached(tiers=("disk",))
    async def double(text: str) -> str:
        return text * 2

    await double("a")

    assert (await double.lookup("a")).source == "disk"
    assert (await cache.stats()).tiers["memory"].entries == 0


async def test_an_unknown_tier_is_named(cache):
    @cache.cached(tiers=("disc",))
    async def double(text: str) -> str:
        return text

    with pytest.raises(ConfigurationError, match="no cache tier is called 'disc'; known: memory"):
        await double("a")


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": 1, "max_age": 1},
        {"ttl": "soon"},
        {"on_error": "ignore"},
        {"ignore": ("nobody",)},
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(cache, options):
    with pytest.raises(ConfigurationError):

        @cache.cached(**options)
        def double(text: str) -> str:
            return text


def test_generators_are_refused(cache):
    with pytest.raises(ConfigurationError, match="yields"):

        @cache.cached()
        def numbers():
            yield 1


async def test_what_cache_if_refuses_is_computed_again(cache, calls):
    @cache.cached(cache_if=lambda result: result != "partial")
    async def answer(text: str) -> str:
        calls.append(text)
        return text

    for text in ("partial", "whole") * 2:
        await answer(text)

    assert calls == ["partial", "whole", "partial"]


async def test_another_cache_takes_over_when_the_first_is_closed(make_cache, calls):
    current: list[Cache] = [make_cache()]

    @decorate(lambda: current[0])
    async def double(text: str) -> str:
        calls.append(text)
        return text * 2

    await double("a")
    await double("a")
    await current[0].aclose()
    current[0] = make_cache()

    assert [await double("a"), await double("a")] == ["aa", "aa"]
    assert calls == ["a", "a"]


async def test_a_switched_off_cache_calls_every_time(make_cache, calls):
    cache = make_cache(enabled=False)

    @cache.cached()
    async def double(text: str) -> str:
        calls.append(text)
        return text

    @cache.cached()
    def triple(text: str) -> str:
        calls.append(text)
        return text

    for _ in range(2):
        await double("a")
        triple("a")

    assert calls == ["a"] * 4


def test_hits_are_counted_exactly_in_eight_threads():
    """H-09. The switch interval makes threads change places after almost every instruction."""
    from penstock.hub import LocalHub

    cache = Cache([MemoryStore()], hub=LocalHub(None))

    @cache.cached()
    def double(text: str) -> str:
        return text * 2

    double("a")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [double("a") for _ in range(5000)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    stats = asyncio.run(cache.stats())
    assert (stats.hits, stats.misses) == (40_000, 1)


async def test_shortcuts_go_when_entries_go(make_cache, clock: ManualClock):
    """Bounded: a function called with ever new texts holds no more of them than memory has room."""
    store = MemoryStore(200_000, clock=clock)
    cache = make_cache(store)

    @cache.cached()
    async def double(text: str) -> str:
        return text

    for number in range(2000):
        await double(f"{number:0500}")

    stats = await store.stats()
    assert sum(map(len, store._aliases)) <= stats.entries < 200
    assert stats.size_bytes <= 200_000


def test_sixteen_threads_get_right_answers_while_entries_come_and_go(tiered):
    """E-01 over the whole cache: decorated calls, invalidation and clearing at once."""
    cache = tiered()
    wrong: list[object] = []

    @cache.cached()
    def double(text: str) -> list[str]:
        return [text * 2]

    def work(seed: int) -> None:
        for step in range(150):
            text = f"t{(seed * 5 + step) % 40}"
            if step % 11 == 0:
                double.invalidate(text)
            if (answer := double(text)) != [text * 2]:
                wrong.append(answer)
            answer.append("changed")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert not cache.flights._flights


async def test_texts_of_one_normal_form_share_a_result_only_when_asked(cache):
    calls = []

    async def count(text: str) -> int:
        calls.append(text)
        return len(calls)

    exact, normal = cache.cached(version=1)(count), cache.cached(version=2, normal_form=True)(count)

    assert await normal("caf\u00e9\n") == await normal(" cafe\u0301\r\n") == 1
    assert await exact("caf\u00e9") != await exact("cafe\u0301")
    assert await normal("Cafe") != await normal("cafe")
