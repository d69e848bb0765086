"""One batch and two machines: one was taken for dead, or another one cancels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.batch import store as queries
from penstock.batch.files import FileStore
from penstock.batch.records import COMPLETED, Done
from penstock.batch.store import BatchStore
from penstock.batch.work import BatchWork
from penstock.clock import SystemClock
from penstock.db import Database, open_database
from penstock.observe.metrics import Metrics
from tests.batch.conftest import ENDPOINT, SOON, Numbers, items_of, new_batch
from tests.databases import DATABASES, address_for_test
from tests.plans import plan_of


class Machine:
    """A machine that works on batches, with connections of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = BatchStore(database)
        self.numbers = Numbers()
        self.work = BatchWork(
            store=self.store,
            files=FileStore(database, clock=SystemClock(), keep=3600.0),
            operations={ENDPOINT: self.numbers},
            clock=SystemClock(),
            metrics=Metrics(),
            concurrency=4,
            max_items=1000,
            keep=3600.0,
        )


@pytest.fixture(params=DATABASES)
async def machines(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Machine, Machine]]:
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(
            address_for_test(request.param, request, tmp_path)
        )
        databases = [open_database(address, folder=tmp_path) for _ in range(2)]
        for each in databases:
            stack.push_async_callback(each.aclose)
        yield Machine(databases[0]), Machine(databases[1])


async def test_a_machine_that_was_taken_for_dead_and_comes_back_changes_nothing(
    machines: tuple[Machine, Machine],
) -> None:
    first, second = machines
    await first.store.add(new_batch(total=6), items_of(2, 4, 6, 8, 10, 12))
    first.numbers.held = {6, 8, 10, 12}
    hanging = asyncio.ensure_future(first.work.run("batch_1"))
    await first.numbers.until(lambda: len(first.numbers.ran) >= 4)

    await second.work.run("batch_1")
    ended = await second.store.find("batch_1")
    first.numbers.gate.set()
    await hanging

    assert ended is not None
    assert (ended.status, ended.completed, ended.failed, ended.total) == ("completed", 6, 0, 6)
    assert await first.store.find("batch_1") == ended
    found = await first.store.items("batch_1", start=0, limit=10)
    answers = [msgspec.json.decode(item.outcome or b"")["double"] for item in found]
    assert answers == [4, 8, 12, 16, 20, 24]


async def test_a_batch_that_two_machines_bring_to_its_end_at_once_is_completed(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machines
    await first.store.add(new_batch(total=2), items_of(2, 4))
    second.numbers.held = {2, 4}
    behind = asyncio.ensure_future(second.work.run("batch_1"))
    await second.numbers.until(lambda: len(second.numbers.ran) == 2)
    finalized, ends, end = asyncio.Event(), asyncio.Event(), first.store.end

    async def held(*args: Any, **kwargs: Any) -> None:
        finalized.set()
        await ends.wait()
        await end(*args, **kwargs)

    monkeypatch.setattr(first.store, "end", held)
    ahead = asyncio.ensure_future(first.work.run("batch_1"))
    await finalized.wait()
    second.numbers.gate.set()
    await behind
    ends.set()
    await ahead

    batch = await first.store.find("batch_1")
    assert batch is not None
    assert (batch.status, batch.completed, batch.failed) == ("completed", 2, 0)


async def test_outcomes_that_come_in_any_order_from_both_are_each_kept_once(
    machines: tuple[Machine, Machine],
) -> None:
    first, second = machines
    await first.store.add(new_batch(total=200), items_of(*range(200)))
    await first.store.begin("batch_1", at=1)
    done = [[Done(n, COMPLETED, False, who) for n in range(200)] for who in (b"1", b"2")]
    done[1].reverse()
    parts = [(at, each[at : at + 20]) for each in done for at in range(0, 200, 20)]

    await asyncio.gather(
        *((first if at % 40 else second).store.finish("batch_1", p, rate=1.0) for at, p in parts)
    )

    assert await first.store.recount("batch_1") == (200, 0, 0)


async def test_what_was_done_meanwhile_is_not_closed(machines: tuple[Machine, Machine]) -> None:
    first, second = machines
    await first.store.add(new_batch(total=100), items_of(*range(100)))
    await first.store.begin("batch_1", at=1)
    done = [Done(n, COMPLETED, False, b"{}") for n in range(50)]

    await asyncio.gather(
        first.store.finish("batch_1", done, rate=1.0), second.store.close_items("batch_1", b"late")
    )

    items = await first.store.items("batch_1", start=0, limit=100)
    assert all(item.outcome == (b"{}" if item.state == COMPLETED else b"late") for item in items)
    assert {item.state == COMPLETED for item in items[50:]} == {False}


async def test_progress_is_read_where_nobody_works(machines: tuple[Machine, Machine]) -> None:
    first, second = machines
    await first.store.add(new_batch(total=4), items_of(2, 4, 6, 8))
    first.numbers.held = {8}
    running = asyncio.ensure_future(first.work.run("batch_1"))

    completed = 0
    async with asyncio.timeout(SOON):
        while completed < 3:
            await asyncio.sleep(0)
            batch = await second.store.find("batch_1")
            completed = 0 if batch is None else batch.progress.done

    first.numbers.gate.set()
    await running
    ended = await second.store.find("batch_1")
    assert ended is not None
    assert ended.status == "completed"


async def test_what_waits_is_found_by_an_index(machines: tuple[Machine, Machine]) -> None:
    plan = await plan_of(machines[0].database, queries._WAITING, ("batch_1", 5, 10))

    assert "pk_batch_items" in plan or "sqlite_autoindex_batch_items" in plan
    assert "Sort" not in plan
    assert "TEMP" not in plan
