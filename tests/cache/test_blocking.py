"""Plain functions on several servers: what one computed, set and forgot, seen by the others."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from penstock.cache import Cache, MemoryStore, open_store
from penstock.clock import ManualClock
from penstock.hub.redis import RedisHub
from penstock.net.redis import connect_sync
from tests.cache.conftest import PATIENCE, PATIENT

THREADS = 8
LEASES = "penstock:hub:lease:flight:*"

user = contextvars.ContextVar("user", default="")


class Work:
    """What a decorated function does: it is counted, and waits until it is let go."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self, text: str) -> str:
        self.calls[text] += 1
        self.began.set()
        assert self.may_end.wait(PATIENCE)
        return f"{text} {self.calls[text]}"


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def raw(redis):
    with connect_sync(redis.url, timeout=5) as client:
        yield client


def function(cache: Cache, work: Callable[[str], str], **options: Any) -> Any:
    """The same function on each server, as if its module had been imported there."""

    @cache.cached(namespace="words", **options)
    def shout(text: str) -> str:
        return work(text)

    return shout


@pytest.fixture
async def pair(start, work) -> tuple[Any, Any]:
    """The function on two servers."""
    return function(await start(), work), function(await start(), work)


async def until(is_so: Callable[[], object]) -> None:
    """Return when it is so; fail when that takes too long."""
    ends = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.001)


async def in_threads(call: Callable[[], Any], count: int = THREADS) -> list[Any]:
    """What `call` returns in so many threads, which all begin at once."""
    begins = threading.Barrier(count)

    def run() -> Any:
        begins.wait(PATIENCE)
        return call()

    with ThreadPoolExecutor(count) as pool:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, run) for _ in range(count)))


def written(raw, count: int = 1) -> Callable[[], bool]:
    """Whether Redis has so many entries, and nobody holds a turn."""
    return lambda: len(raw.keys("cache:*")) == count and not raw.keys(LEASES)


def asides() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "penstock-cache"]


# --- what is shared ------------------------------------------------------------------------------


@pytest.mark.parametrize("on_a_loop", [False, True], ids=["in a thread", "on the loop"])
async def test_what_one_server_computed_another_finds(pair, work, raw, on_a_loop):
    one, other = pair

    async def lookup(shout: Any) -> Any:
        return shout.lookup("a") if on_a_loop else await asyncio.to_thread(shout.lookup, "a")

    first = await lookup(one)
    await until(written(raw))
    second = await lookup(other)

    assert (first.source, second.source) == ("computed", "redis")
    assert first.value == second.value == "a 1"
    assert (await lookup(other)).source == "memory"


async def test_servers_and_threads_that_ask_at_once_compute_once(pair, work, raw):
    work.may_end.clear()
    calls = [functools.partial(shout.lookup, "a") for shout in pair]
    asked = [asyncio.ensure_future(in_threads(call)) for call in calls]
    await until(work.began.is_set)
    work.may_end.set()

    one, other = await asyncio.gather(*asked)

    assert work.calls == {"a": 1}
    assert {hit.value for hit in (*one, *other)} == {"a 1"}
    await until(written(raw))


async def test_a_turn_is_kept_for_as_long_as_the_thread_computes(pair, work, raw, monkeypatch):
    monkeypatch.setattr("penstock.cache.turns.EXTEND_EVERY", 0.02)
    work.may_end.clear()
    computing = asyncio.ensure_future(asyncio.to_thread(pair[0], "a"))
    await until(work.began.is_set)
    (name,) = raw.keys(LEASES)
    raw.pexpire(name, 100)
    await until(lambda: raw.pttl(name) > 1000)
    work.may_end.set()

    assert await computing == "a 1"


async def test_who_holds_up_a_loop_waits_for_no_other_process(start, work):
    one, other = function(await start(), work), function(await start(), Work())
    work.may_end.clear()
    computing = asyncio.ensure_future(asyncio.to_thread(one, "a"))
    await until(work.began.is_set)

    assert other.lookup("a").source == "computed"

    work.may_end.set()
    await computing


async def test_a_loop_that_waits_for_a_thread_of_its_own_does_not_stop_it(pair, work):
    """The thread asks for a turn while the loop of the hub stands still."""
    began, shout = threading.Event(), pair[0]

    def call() -> Any:
        began.set()
        return shout.lookup("a")

    calling = asyncio.ensure_future(asyncio.to_thread(call))
    await until(began.is_set)

    assert shout.lookup("a").value == "a 1"

    assert (await calling).value == "a 1"
    assert work.calls == {"a": 1}


async def test_many_are_found_in_one_call(pair, work, raw):
    texts = ["a", "b", "c"]
    await asyncio.to_thread(pair[0].get_many, texts)
    await until(written(raw, 3))

    assert await asyncio.to_thread(pair[1].get_many, texts) == ["a 1", "b 1", "c 1"]

    assert work.calls == dict.fromkeys(texts, 1)


async def test_a_stale_result_of_another_server_is_renewed_by_one_thread(start, work, raw):
    clock = ManualClock()
    one = function(await start(clock=clock), work, ttl=60, stale=60)
    other = function(await start(clock=clock), work, ttl=60, stale=60)
    await asyncio.to_thread(one, "a")
    await until(written(raw))
    clock.advance(70)

    assert await asyncio.to_thread(other, "a") == "a 2"
    await until(written(raw))

    assert await asyncio.to_thread(one, "a") == "a 2"


# --- what is told --------------------------------------------------------------------------------


async def test_what_one_server_forgets_the_other_does_too(pair, raw):
    one, other = pair
    assert await asyncio.to_thread(one, "a") == "a 1"
    await until(written(raw))
    assert await asyncio.to_thread(other, "a") == "a 1"

    assert await asyncio.to_thread(one.invalidate, "a")

    assert not raw.keys("cache:*")
    await until(lambda: other("a") == "a 2")


async def test_what_lies_in_redis_alone_can_be_forgotten(pair, raw):
    await asyncio.to_thread(pair[0], "a")
    await until(written(raw))

    assert await asyncio.to_thread(pair[1].invalidate, "a")
    assert not await asyncio.to_thread(pair[1].invalidate, "a")

    assert not raw.keys("cache:*")


async def test_what_one_server_renews_the_other_gets(pair, raw):
    one, other = pair
    await asyncio.to_thread(one, "a")
    await until(written(raw))
    await asyncio.to_thread(other, "a")

    assert await asyncio.to_thread(one.refresh, "a") == "a 2"

    await until(lambda: other("a") == "a 2")


async def test_a_renewal_does_not_wait_for_ever_for_a_redis_that_stalls(
    redis, proxy, work, monkeypatch
):
    monkeypatch.setattr("penstock.cache.blocking.FLUSH_SECONDS", 0.05)
    hub = RedisHub(redis.url)
    await hub.start(wait=PATIENCE)
    forever = "socket_timeout=600&socket_connect_timeout=600&timeout=600s"
    cache = Cache([MemoryStore(), open_store(f"{proxy.url}/0?{forever}")], hub=hub, jitter=0.0)

    def stalls(text: str) -> str:
        proxy.freeze()
        return work(text)

    shout = function(cache, stalls)
    try:
        renewing = asyncio.ensure_future(asyncio.to_thread(shout.refresh, "a"))
        assert await asyncio.wait_for(renewing, PATIENCE) == "a 1"
    finally:
        proxy.thaw()
        await cache.aclose()
        await hub.aclose()


async def test_what_was_computed_before_a_change_is_not_written_over_it(pair, work, raw):
    one, other = pair
    work.may_end.clear()
    computing = asyncio.ensure_future(asyncio.to_thread(one, "a"))
    await until(work.began.is_set)

    await asyncio.to_thread(other.invalidate, "a")
    work.may_end.set()
    assert await computing == "a 1"
    await until(lambda: not raw.keys(LEASES))

    assert not raw.keys("cache:*")


# --- what stays with the caller ------------------------------------------------------------------


async def test_it_computes_in_its_callers_thread_and_context(start):
    def look(text: str) -> str:
        user.set(f"{user.get()} and more")
        return f"{user.get()} in {threading.get_ident()}"

    shout = function(await start(), look)

    def call() -> tuple[str, str, int]:
        user.set("ann")
        return shout("a"), user.get(), threading.get_ident()

    answer, after, thread = await asyncio.to_thread(call)

    assert answer == f"ann and more in {thread}"
    assert after == "ann and more"


async def test_an_error_is_the_callers_and_ends_the_turn(start, raw):
    def fail(text: str) -> str:
        raise LookupError(text)

    shout = function(await start(), fail)

    for _ in range(2):
        with pytest.raises(LookupError, match="a"):
            await asyncio.to_thread(shout, "a")

    await until(lambda: not raw.keys(LEASES))


async def test_what_is_found_here_asks_no_thread(make_cache, start, work):
    before = asides()
    function(make_cache(), work)("a")
    memory_only = function(await start(), work, tiers=("memory",))
    assert [memory_only("a"), memory_only.refresh("a")] == ["a 2", "a 3"]
    assert asides() == before

    shout = function(await start(), work)
    await asyncio.to_thread(shout, "b")
    assert len(asides()) == len(before) + 1
    assert shout.lookup("b").source == "memory"


# --- endings -------------------------------------------------------------------------------------


async def test_closing_writes_what_waits_and_ends_the_thread(start, work, raw):
    before = asides()
    cache, other = await start(), function(await start(), work)
    shout = function(cache, work)
    for text in map(str, range(10)):
        shout(text)

    await cache.aclose()

    assert asides() == before
    assert len(raw.keys("cache:*")) == 10
    assert other.lookup("9").source == "redis"
    assert shout("after the end") == "after the end 1"


async def test_a_thread_that_waits_for_another_server_computes_when_the_cache_is_closed(
    start, work, raw
):
    cache = await start()
    shout = function(cache, work)
    raw.set(f"penstock:hub:lease:flight:penstock:{shout.key('a')}", "of another", px=60_000)
    waiting = asyncio.ensure_future(asyncio.to_thread(shout, "a"))
    await until(lambda: raw.pubsub_channels("*flight*"))
    assert not work.calls

    await cache.aclose()

    assert await waiting == "a 1"


async def test_a_redis_that_is_away_is_asked_three_times_and_then_left_alone(start, proxy, work):
    clock = ManualClock()
    cache = await start(f"{proxy.url}/0", clock=clock)
    shout = function(cache, work)
    proxy.refuse()
    await until(lambda: not cache.hub.is_current)

    for number in range(10):
        assert await asyncio.to_thread(shout, str(number)) == f"{number} 1"

    tier = (await cache.stats()).tiers["redis"]
    assert (tier.state, tier.errors) == ("down", 3)
    assert not await asyncio.to_thread(shout.invalidate, "unknown")


async def test_a_silent_redis_does_not_hold_up_computing(start, proxy, work):
    shout = function(await start(f"{proxy.url}/0"), work)
    proxy.freeze()

    async with asyncio.timeout(PATIENCE):
        assert await asyncio.to_thread(shout, "a") == "a 1"
    assert shout("on the loop") == "on the loop 1"


async def test_what_could_not_be_forgotten_there_is_not_served_later(start, proxy, work, raw):
    clock = ManualClock()
    cache = await start(f"{proxy.url}/0{PATIENT}", clock=clock)
    shout = function(cache, work)
    await asyncio.to_thread(shout, "a")
    await until(written(raw))
    proxy.refuse()
    await asyncio.to_thread(shout.invalidate, "a")
    proxy.accept()

    assert await asyncio.to_thread(shout, "a") == "a 2"

    await until(written(raw))
    assert b"a 2" in raw.get(raw.keys("cache:*")[0])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
async def test_a_forked_child_computes_and_finds(start, work, raw):
    shout = function(await start(), work)
    shout("before")
    await until(written(raw))
    mine, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(theirs, json.dumps([shout("before"), shout("after")]).encode())
        finally:
            os._exit(0)
    try:
        os.close(theirs)
        with os.fdopen(mine, "rb") as told:
            assert select.select([mine], [], [], PATIENCE)[0], "it hangs"
            assert json.loads(told.read()) == ["before 1", "after 1"]
        assert shout("goes on") == "goes on 1"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)  # noqa: ASYNC222  # it is dead


# --- processes -----------------------------------------------------------------------------------

SCRIPT = """
from penstock import cached

@cached(ttl="1h")
def summarise(text: str) -> str:
    return text.upper()

print(summarise.lookup("a").source)
"""


@pytest.mark.slow
def test_the_second_run_of_a_script_finds_what_the_first_computed(redis, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "REDIS_URL": redis.url + PATIENT}

    def run(name: str) -> str:
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**env, "PENSTOCK_HOME": str(tmp_path / name)},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        assert not done.stderr
        return done.stdout.strip()

    assert [run("one"), run("other")] == ["computed", "redis"]
