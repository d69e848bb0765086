"""A stored batch from its items to its end, through cancels, time-outs and restarts."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

from penstock.batch import output
from penstock.batch.files import FileStore
from penstock.batch.operation import ItemError
from penstock.batch.records import COMPLETED, FAILED
from penstock.batch.store import BatchStore
from penstock.batch.work import BatchWork
from penstock.errors import ProviderGarbage, ProviderRefused, StorageUnavailable
from tests.batch.conftest import ENDPOINT, SOON, Numbers, items_of, new_batch


async def upload(files: FileStore, text: str):
    async def data():
        yield text.encode()

    return await files.save(data(), name="in.jsonl", owner="team")


def line(at: int, number: int, *, url: str = ENDPOINT) -> str:
    return f'{{"custom_id":"id-{at}","method":"POST","url":"{url}","body":{number}}}\n'


async def outcomes(store: BatchStore) -> list[object]:
    return [
        msgspec.json.decode(item.outcome) if item.outcome else None
        for item in await store.items("batch_1", start=0, limit=1000)
    ]


async def test_every_item_gets_its_answer_in_order(store, work, numbers):
    await store.add(new_batch(total=4), items_of(2, 4, 6, 8))

    await work.run("batch_1")

    batch = await store.find("batch_1")
    assert (batch.status, batch.completed, batch.failed) == ("completed", 4, 0)
    assert [found["double"] for found in await outcomes(store)] == [4, 8, 12, 16]


async def test_what_was_asked_is_forgotten_with_the_answer(store, work, database):
    await store.add(new_batch(total=3), items_of(2, 3, 4))

    await work.run("batch_1")

    assert await database.rows("SELECT DISTINCT body FROM batch_items") == [(None,)]


async def test_an_item_that_cannot_be_read_and_one_that_fails_fail_alone(store, work, numbers):
    numbers.faults = {4: ProviderRefused("the key is wrong")}
    await store.add(new_batch(total=3), items_of(2, 3, 4))

    await work.run("batch_1")

    batch = await store.find("batch_1")
    assert (batch.status, batch.completed, batch.failed) == ("completed", 1, 2)
    codes = [found.get("code") for found in await outcomes(store)]
    assert codes == [None, "invalid_input", "provider_refused"]


async def test_equal_items_are_computed_once(store, work, numbers):
    await store.add(new_batch(total=6), items_of(2, 2, 4, 2, 4, 4))

    await work.run("batch_1")

    batch = await store.find("batch_1")
    assert sorted(numbers.ran) == [2, 4]
    assert (batch.completed, batch.cached) == (6, 4)


async def test_what_comes_after_the_key_s_budget_is_used_up_fails(store, work, numbers, purse):
    purse.left = 2
    await store.add(new_batch(total=600, key_id="key_1"), items_of(*range(2, 1202, 2)))

    await work.run("batch_1")

    batch = await store.find("batch_1")
    assert (batch.status, batch.completed, batch.failed) == ("completed", 2, 598)
    assert sorted(numbers.ran) == [2, 4]
    assert purse.asked == {"key_1"}
    failed = {(found["code"], found["status"]) for found in (await outcomes(store))[2:]}
    assert failed == {("budget_exhausted", 429)}


async def test_what_is_being_written_when_the_last_item_is_done_is_on_record(store, work, numbers):
    """PostgreSQL undoes a write whose caller goes away."""
    await store.add(new_batch(total=1000), items_of(*range(1, 2001, 2)))  # all refused at once

    await work.run("batch_1")

    batch = await store.find("batch_1")
    assert (batch.status, batch.completed, batch.failed) == ("completed", 0, 1000)


async def test_while_nobody_knows_what_is_spent_the_batch_waits_for_another_run(
    store, work, numbers, purse
):
    purse.fault = StorageUnavailable("the ledger cannot be read")
    await store.add(new_batch(total=2), items_of(2, 4))
    with pytest.raises(StorageUnavailable):
        await work.run("batch_1")

    await work.run("batch_1")

    batch = await store.find("batch_1")
    assert (batch.status, batch.completed, batch.failed) == ("completed", 2, 0)


async def test_requests_that_somebody_waits_for_stop_at_the_budget_too(work, numbers, purse):
    purse.left = 2
    answers = await work.run_now(ENDPOINT, [2, 4, 6, 8], owner="team", key="key_1", time_limit=SOON)

    assert [found.error and found.error.code for found in answers] == [
        *(None, None),
        *["budget_exhausted"] * 2,
    ]
    assert len(numbers.ran) == 2


async def test_a_batch_that_was_interrupted_goes_on_where_it_stopped(store, work, numbers):
    numbers.held = {8}
    await store.add(new_batch(total=4), items_of(2, 4, 6, 8))
    first = asyncio.ensure_future(work.run("batch_1"))
    await store.until_done("batch_1", 3)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    numbers.ran.clear()
    numbers.gate.set()

    await work.run("batch_1")

    batch = await store.find("batch_1")
    assert numbers.ran == [8]
    assert (batch.status, batch.completed) == ("completed", 4)


async def test_a_batch_that_has_ended_is_not_run_again(store, work, numbers):
    await store.add(new_batch(total=1), items_of(2))
    await work.run("batch_1")
    numbers.ran.clear()

    await work.run("batch_1")

    assert numbers.ran == []


async def test_a_cancelled_batch_keeps_what_is_finished(store, work, numbers):
    numbers.held = {8}
    await store.add(new_batch(total=3), items_of(2, 4, 8))
    run = asyncio.ensure_future(work.run("batch_1"))
    await store.until_done("batch_1", 2)

    await store.cancel("batch_1", at=1)
    work.stop("batch_1")
    async with asyncio.timeout(SOON):
        await run

    batch = await store.find("batch_1")
    assert (batch.status, batch.completed, batch.failed) == ("cancelled", 2, 1)
    assert (await outcomes(store))[2]["code"] == "batch_cancelled"


async def test_a_cancel_by_another_process_is_noticed(store, work, numbers):
    numbers.held = {2}
    await store.add(new_batch(total=1), items_of(2))
    run = asyncio.ensure_future(work.run("batch_1"))
    await numbers.until(lambda: numbers.ran == [2])

    await store.cancel("batch_1", at=1)
    async with asyncio.timeout(SOON):
        await run

    assert (await store.find("batch_1")).status == "cancelled"


async def test_when_its_time_is_up_what_is_finished_stays(store, work, numbers):
    numbers.held = {8}
    await store.add(new_batch(total=3, time_limit=2.0), items_of(2, 4, 8))

    async with asyncio.timeout(SOON):
        await work.run("batch_1")

    batch = await store.find("batch_1")
    assert (batch.status, batch.completed, batch.failed) == ("expired", 2, 1)
    assert (await outcomes(store))[2]["code"] == "timeout"


async def test_a_batch_beyond_its_window_is_expired_without_running(store, work, numbers):
    await store.add(new_batch(total=1, expires_at=1), items_of(2))

    await work.run("batch_1")

    assert numbers.ran == []
    assert (await store.find("batch_1")).status == "expired"
    assert (await outcomes(store))[0]["code"] == "batch_expired"


async def test_the_lines_of_a_file_become_items(store, files, work):
    file = await upload(files, line(0, 2) + "\n" + line(1, 3) + line(2, 4).strip())
    await store.add(new_batch(input_file_id=file.id))

    await work.run("batch_1")

    batch = await store.find("batch_1")
    assert (batch.status, batch.total, batch.completed, batch.failed) == ("completed", 3, 2, 1)


async def test_a_file_with_wrong_lines_fails_the_batch_and_names_them(store, files, work, numbers):
    file = await upload(
        files,
        line(0, 2) + "{broken\n" + line(0, 4) + line(3, 6, url="/v1/other") + '{"custom_id":"x"}\n',
    )
    await store.add(new_batch(input_file_id=file.id))

    await work.run("batch_1")

    batch = await store.find("batch_1")
    told = [(error["line"], error["code"]) for error in msgspec.json.decode(batch.errors)]
    assert batch.status == "failed"
    assert numbers.ran == []
    assert told == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
        (4, "mismatched_url"),
        (5, "invalid_request"),
    ]


async def test_an_empty_file_fails_the_batch(store, files, work):
    file = await upload(files, "\n\n")
    await store.add(new_batch(input_file_id=file.id))

    await work.run("batch_1")

    assert b"empty_file" in (await store.find("batch_1")).errors


async def test_a_file_that_is_gone_fails_the_batch(store, work):
    await store.add(new_batch(input_file_id="file-none"))

    await work.run("batch_1")

    assert b"file_not_found" in (await store.find("batch_1")).errors


async def test_a_validation_that_was_interrupted_is_done_again_without_doubles(store, files, work):
    file = await upload(files, line(0, 2) + line(1, 4))
    await store.add(new_batch(input_file_id=file.id))
    await store.add_items("batch_1", items_of(2))

    await work.run("batch_1")

    batch = await store.find("batch_1")
    assert (batch.total, batch.completed) == (2, 2)


async def test_outputs_are_announced_with_the_size_they_have(store, files, work):
    await store.add(new_batch(total=3), items_of(2, 3, 4))

    await work.run("batch_1")

    batch = await store.find("batch_1")
    for file_id, state in ((batch.output_file_id, COMPLETED), (batch.error_file_id, FAILED)):
        file = await files.find(file_id)
        text = b"".join([part async for part in output.lines(store, "batch_1", state=state)])
        assert file.size == len(text)
        assert text.endswith(b"\n")


async def test_an_answer_that_cannot_be_read_stays_an_error_after_its_retries(
    store: BatchStore, work: BatchWork, numbers: Numbers
):
    numbers.faults = {2: ProviderGarbage()}
    await store.add(new_batch(total=1, time_limit=0.5), items_of(2))

    await work.run("batch_1")

    batch = await store.find("batch_1")
    assert (batch.completed, batch.failed) == (0, 1)


async def test_a_batch_that_never_came_in_whole_ends_with_the_items_that_there_are(store, work):
    await store.add(new_batch(total=5), items_of(2, 4))
    batch = await store.find("batch_1")

    await work.end(batch, "failed", error=ItemError("incomplete", "it broke off"))

    ended = await store.find("batch_1")
    assert (ended.total, ended.completed, ended.failed) == (2, 0, 2)
    assert ended.progress.percent == 100.0
