"""`penstock.install(app)`: jobs and schedules run from the start of an application."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

import penstock
from penstock import default, task
from penstock.default import Slot
from penstock.errors import ConfigurationError, PenstockError
from penstock.tasks import Task, open_queue

DEADLINE = 60.0
SHOP = """
import asyncio
from penstock import task

fired = asyncio.Event()

@task(name="shop.tick", schedule="every 100ms")
async def tick() -> None:
    fired.set()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder, a slot and imports of the test's own."""
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(default, "slot", Slot())
    before = set(sys.modules)
    yield tmp_path / "data"
    for name in set(sys.modules) - before:
        if name.startswith("shop_"):
            del sys.modules[name]


def running() -> AbstractAsyncContextManager[Any]:
    """An application that has the layer, from its start to its end."""
    app = FastAPI()
    penstock.install(app)
    return app.router.lifespan_context(app)


async def left_over(home: Path, name: str, *calls: tuple[Any, ...]) -> list[str]:
    """Jobs of an earlier process."""

    def forgotten(number: int = 0) -> None: ...

    async with open_queue(f"embedded://{home}/tasks.db", workers=0) as queue:
        jobs = await queue.enqueue_many(Task(forgotten, name=name), calls)
    return [job.id for job in jobs]


async def test_a_job_that_was_left_over_runs_at_the_start(home: Path):
    home.mkdir()
    (left,) = await left_over(home, "shop.double", (21,))

    @task(name="shop.double")
    async def double(number: int) -> int:
        return 2 * number

    async with running():
        queue = await default.slot.queue()
        assert await queue.job(left).result(DEADLINE) == 42


async def test_a_schedule_fires_although_nobody_enqueues():
    fired = asyncio.Event()

    def declare() -> None:  # the function has no other holder, as in an application's factory
        @task(name="shop.tick", schedule="every 100ms")
        async def tick() -> None:
            fired.set()

    declare()
    gc.collect()

    async with running():
        await asyncio.wait_for(fired.wait(), DEADLINE)


async def test_modules_of_the_settings_are_run_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "shop_included.py").write_text(SHOP)
    monkeypatch.setenv("PENSTOCK_INCLUDE", "shop_included")

    async with running():
        await asyncio.wait_for(sys.modules["shop_included"].fired.wait(), DEADLINE)


async def test_a_task_of_a_module_that_is_imported_later_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    @task
    async def first() -> None: ...

    (tmp_path / "shop_later.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path)

    async with running():
        later = import_module("shop_later")
        await asyncio.wait_for(later.fired.wait(), DEADLINE)


async def test_a_function_that_is_declared_anew_replaces_the_one_before():
    """Two applications of one factory, as tests make them."""

    def create(answer: str) -> Any:
        @task(name="shop.answer")
        async def tell() -> str:
            return answer

        return tell

    create("old")
    new = create("new")

    async with running():
        assert await (await new.enqueue()).result(DEADLINE) == "new"


async def test_a_task_that_cannot_be_run_stops_the_start():
    @task
    async def sort(items: set[int] | list[int]) -> None: ...

    with pytest.raises(ConfigurationError, match="sort has a type that JSON cannot carry"):
        async with running():
            pass


async def test_without_tasks_nothing_is_opened(home: Path):
    async with running():
        pass

    assert not home.exists()


async def test_a_queue_that_was_put_in_is_left_alone(home: Path):
    @task
    async def first() -> None: ...

    async with open_queue("inline://") as queue:
        with penstock.using(queue=queue):
            async with running():
                assert await default.slot.queue() is queue

        assert await queue.store.workers()  # it was not closed either
    assert not home.exists()


def asking(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://app")


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """An application whose broker is away."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/1")
    app = FastAPI()

    @task(name="shop.pack")
    async def pack() -> None: ...

    @app.post("/orders")
    async def order() -> None:
        await pack.enqueue()

    @app.get("/fault")
    async def fault() -> None:
        raise ConfigurationError("not for the caller")

    return app


async def test_what_cannot_be_enqueued_now_is_a_503_that_says_when_to_come_back(shop: FastAPI):
    penstock.install(shop)

    async with shop.router.lifespan_context(shop), asking(shop) as client:
        reply = await client.post("/orders", headers={"X-Request-ID": "order-1"})
        inside = await client.get("/fault")

    told = reply.json()
    assert reply.status_code == 503
    assert reply.headers["content-type"] == "application/problem+json"
    assert int(reply.headers["retry-after"]) > 0
    assert told["type"] == "/docs/errors#storage-unavailable"
    assert told["request_id"] == reply.headers["x-request-id"] == "order-1"
    assert (inside.status_code, inside.text) == (500, "Internal Server Error")


async def test_an_application_with_an_answer_of_its_own_keeps_it(shop: FastAPI):
    @shop.exception_handler(PenstockError)
    async def own(_: Request, error: PenstockError) -> PlainTextResponse:
        return PlainTextResponse("come back later", status_code=error.status)

    penstock.install(shop)

    async with shop.router.lifespan_context(shop), asking(shop) as client:
        reply = await client.post("/orders")

    assert (reply.status_code, reply.text) == (503, "come back later")
