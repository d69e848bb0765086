"""That every batch ends, whatever became of its job."""

from __future__ import annotations

import asyncio

from penstock.batch import Batch, NewItem, id_of
from penstock.batch.store import BatchStore
from tests.server.conftest import App, Start

SOON = 60.0
ITEMS = [NewItem(0, b'{"input":"A fine day."}'), NewItem(1, b'{"input":"A fine evening."}')]
ABOUT = {"endpoint": "/v1/moderations", "owner": "team", "digest": "d"}


async def ended(app: App, batch_id: str) -> Batch:
    async with asyncio.timeout(SOON):
        found = [batch async for batch in app.runtime.batches.watch(batch_id, owner=None)]
    return found[-1]


def stored(app: App, **fields) -> Batch:
    """A batch as one finds it whose server was killed."""
    now = int(app.runtime.clock.now() * 1000)
    return Batch(
        id=id_of(*map(str, fields.values())),
        status="validating",
        completion_window="24h",
        created_at=fields.pop("created_at", now),
        expires_at=now + 86_400_000,
        **{**ABOUT, "total": 2, **fields},  # type: ignore[arg-type]
    )


async def test_a_batch_that_never_got_its_job_gets_one(app: App):
    batch = stored(app)
    await BatchStore(app.runtime.database).add(batch, ITEMS)

    end = await ended(app, batch.id)

    assert (end.status, end.completed) == ("completed", 2)


async def test_a_batch_that_was_left_is_resumed_at_start(start: Start):
    async with start(task_workers=0) as app:
        batch = stored(app)
        await BatchStore(app.runtime.database).add(batch, ITEMS)

    async with start() as app:
        end = await ended(app, batch.id)

    assert end.completed == 2


async def test_a_batch_that_broke_off_while_it_came_in_is_given_up_in_the_end(app: App):
    store = BatchStore(app.runtime.database)
    young, old = stored(app, total=3), stored(app, total=4, created_at=1)
    await store.add(young, ITEMS)
    await store.add(old, ITEMS)

    left = await app.runtime.batches.find(young.id, owner=None)
    end = await app.runtime.batches.find(old.id, owner=None)

    assert left.status == "validating"
    assert (end.status, end.failed) == ("failed", 2)


async def test_the_same_request_completes_a_batch_that_broke_off(app: App):
    items = [NewItem(number, b'{"input":"A fine day."}') for number in range(1500)]
    batch = stored(app, total=1500)
    await BatchStore(app.runtime.database).add(batch, items[:1000])

    await app.runtime.batches.create(items, id=batch.id, **ABOUT)

    assert (await ended(app, batch.id)).completed == 1500


async def test_a_batch_whose_job_failed_for_good_fails_and_says_so(app: App):
    batch = stored(app, endpoint="/v1/gone")
    await BatchStore(app.runtime.database).add(batch, ITEMS)

    end = await ended(app, batch.id)

    items = await app.runtime.batches.items(end)
    assert (end.status, end.failed) == ("failed", 2)
    assert b"InvalidInput" in (items[0].outcome or b"")


async def test_old_batches_and_files_are_forgotten(app: App):
    batches = app.runtime.batches
    batch = await batches.create(ITEMS, **ABOUT)
    await ended(app, batch.id)

    await batches.purge(int(app.runtime.clock.now() * 1000) + 1)

    assert await batches.page(owner=None) == []
    assert await app.runtime.database.rows("SELECT count(*) FROM batch_items") == [(0,)]
