"""The layer as the user of a plain FastAPI application meets it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, HTTPException

import penstock
from penstock import Cache, LocalHub, ModelCache, cache_model, cached, cached_batch, open_store
from penstock.default import slot


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of the test's own; the slot is empty before and after."""
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "data"
    slot.swap(None, None)
    slot.close()


@pytest.fixture
async def memory() -> AsyncIterator[Cache]:
    cache = Cache([open_store("memory://")], hub=LocalHub(None))
    yield cache
    await cache.aclose()


class Plain:
    """Somebody's application; the three lines of the layer are in its constructor."""

    def __init__(self, *, stats: str | None = None) -> None:
        self.calls: list[str] = []
        self.events: list[str] = []
        self.app = FastAPI(lifespan=self.lifespan)

        @cached(ttl="1h")
        async def classify(text: str) -> dict[str, int]:
            self.calls.append(text)
            return {"length": len(text)}

        @self.app.get("/classify/{text}")
        async def answer(text: str) -> dict[str, int]:
            return await classify(text)

        @self.app.get("/teapot")
        async def refuse() -> None:
            raise HTTPException(418, "short and stout")

        penstock.install(self.app, stats=stats)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self.events.append("start")
        yield
        self.events.append("stop")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[httpx.AsyncClient]:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://app")
        async with self.app.router.lifespan_context(self.app), client:
            yield client


async def test_a_second_request_does_not_run_the_function():
    """E-28"""
    plain = Plain()

    async with plain.running() as client:
        replies = [(await client.get("/classify/hello")).json() for _ in range(3)]

    assert replies == [{"length": 5}] * 3
    assert plain.calls == ["hello"]


async def test_the_result_outlives_the_application(home: Path):
    """H-07: the disk tier is in the data folder, and what waits is written at the end."""
    first = Plain()
    async with first.running() as client:
        await client.get("/classify/hello")

    second = Plain()
    async with second.running() as client:
        reply = await client.get("/classify/hello")

    assert reply.json() == {"length": 5}
    assert (first.calls, second.calls) == (["hello"], [])
    assert (home / "cache.db").exists()


async def test_the_same_application_runs_again_after_it_ended():
    """As under a test client, once per test."""
    plain = Plain()

    for _ in range(3):
        async with plain.running() as client:
            assert (await client.get("/classify/hello")).json() == {"length": 5}

    assert plain.calls == ["hello"]
    assert plain.events == ["start", "stop"] * 3


async def test_requests_get_an_id_and_their_times():
    async with Plain().running() as client:
        reply = await client.get("/classify/hello", headers={"X-Request-ID": "order-1"})
        other = await client.get("/classify/hello")

    assert reply.headers["x-request-id"] == "order-1"
    assert other.headers["x-request-id"] not in ("", "order-1")
    assert "total;dur=" in other.headers["server-timing"]


async def test_the_application_s_own_lifespan_and_errors_stay_as_they_are():
    plain = Plain()

    async with plain.running() as client:
        reply = await client.get("/teapot")

    assert plain.events == ["start", "stop"]
    assert (reply.status_code, reply.json()) == (418, {"detail": "short and stout"})


async def test_what_was_counted_is_shown_under_a_path_of_the_user_s_choice():
    async with Plain(stats="/internal/penstock").running() as client:
        before = (await client.get("/internal/penstock")).json()
        for _ in range(4):
            await client.get("/classify/hello")
        told = (await client.get("/internal/penstock")).json()

    assert told["requests"] == before["requests"] + 5
    assert told["cache"]["hits"] == before["cache"]["hits"] + 3
    assert told["seconds"]["p95"] > 0


async def test_without_asking_there_is_no_such_path():
    async with Plain().running() as client:
        assert (await client.get("/internal/penstock")).status_code == 404


def test_importing_and_decorating_builds_nothing(tmp_path: Path):
    code = (
        "import threading\n"
        "from penstock import Cache, cache_model, cached, cached_batch\n"
        "@cached(ttl=5)\n"
        "async def one(text: str) -> str: return text\n"
        "@cached_batch(over='texts')\n"
        "async def many(texts: list[str]) -> list[str]: return texts\n"
        "@cache_model('big')\n"
        "def load() -> object: raise AssertionError\n"
        "assert threading.active_count() == 1\n"
    )

    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)

    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_sync_function_is_cached_the_same_way():
    calls = []

    @cached(max_age=60)
    def double(number: int) -> int:
        calls.append(number)
        return 2 * number

    assert [double(2), double(2), double(3)] == [4, 4, 6]
    assert calls == [2, 3]


def test_a_sync_function_is_cached_over_threads():
    calls = []
    started = threading.Barrier(8)

    @cached(ttl=60)
    def slow(text: str) -> str:
        calls.append(text)
        return text.upper()

    def ask(_: int) -> str:
        started.wait(timeout=30)
        return slow("hello")

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(ask, range(8)))

    assert results == ["HELLO"] * 8
    assert calls == ["hello"]


async def test_only_the_misses_of_a_batch_are_computed(memory: Cache):
    asked: list[list[str]] = []

    @cached_batch(over="texts", ttl="1d")
    async def lengths(texts: list[str]) -> list[int]:
        asked.append(list(texts))
        return [len(text) for text in texts]

    with penstock.using(cache=memory):
        first = await lengths(["a", "bb"])
        second = await lengths(["bb", "ccc", "a"])

    assert (first, second) == ([1, 2], [2, 3, 1])
    assert asked == [["a", "bb"], ["ccc"]]


async def test_a_test_puts_its_own_cache_in_for_the_length_of_a_with(memory: Cache, home: Path):
    @cached(ttl=60, namespace="greetings")
    async def greet(name: str) -> str:
        return f"Hello {name}"

    with penstock.using(cache=memory):
        await greet("Ada")
        (kept,) = await memory.scan("greetings:*")

    assert kept.tier == "memory"
    assert not home.exists()


async def test_a_decorated_function_follows_the_cache_in_the_slot(memory: Cache):
    calls = []

    @cached(ttl=60)
    async def greet(name: str) -> str:
        calls.append(name)
        return f"Hello {name}"

    await greet("Ada")
    with penstock.using(cache=memory):
        await greet("Ada")
        await greet("Ada")
    await greet("Ada")

    assert calls == ["Ada", "Ada"]


async def test_the_cache_that_was_there_comes_back_after_an_error(memory: Cache):
    penstock.use(cache=memory)
    other = Cache([open_store("memory://")], hub=LocalHub(None))

    with pytest.raises(ZeroDivisionError), penstock.using(cache=other):
        raise ZeroDivisionError

    assert slot.cache() is memory
    await other.aclose()


async def test_use_keeps_what_it_is_not_given(memory: Cache):
    models = ModelCache()

    penstock.use(cache=memory)
    penstock.use(models=models)

    assert slot.cache() is memory
    assert slot.models() is models


async def test_closing_leaves_a_cache_alone_that_the_application_brought(memory: Cache):
    slot.cache()
    penstock.use(cache=memory)

    slot.close()

    assert slot.cache() is memory


async def test_a_cache_closed_meanwhile_does_not_come_back(memory: Cache):
    """A test's `with` around an application that ends inside it."""
    calls = []

    @cached(ttl=60)
    async def greet(name: str) -> str:
        calls.append(name)
        return f"Hello {name}"

    await greet("Ada")
    with penstock.using(cache=memory):
        slot.close()

    assert await greet("Ada") == "Hello Ada"
    assert calls == ["Ada"]


def test_a_model_is_loaded_once_however_many_ask_first():
    """E-02"""
    loads = []
    started = threading.Barrier(20)

    @cache_model("big")
    def load() -> object:
        loads.append(1)
        return object()

    def ask(_: int) -> object:
        started.wait(timeout=30)
        return load()

    with ThreadPoolExecutor(20) as pool:
        models = set(pool.map(ask, range(20)))

    assert len(models) == len(loads) == 1


async def test_errors_are_raised_and_not_remembered(memory: Cache):
    calls = []

    @cached(ttl=60)
    async def shaky(text: str) -> str:
        calls.append(text)
        if len(calls) == 1:
            raise ValueError(text)
        return text

    with penstock.using(cache=memory):
        with pytest.raises(ValueError, match="hello"):
            await shaky("hello")
        assert await shaky("hello") == "hello"


async def test_with_the_cache_switched_off_every_call_is_computed(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("ENABLE_CACHE", "false")
    calls = []

    @cached(ttl=60)
    async def greet(name: str) -> str:
        calls.append(name)
        return name

    await greet("Ada")
    await greet("Ada")

    assert calls == ["Ada", "Ada"]
