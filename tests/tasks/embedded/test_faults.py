"""A file that cannot be written, read or trusted."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.errors import Conflict, StorageFull, StorageUnavailable
from penstock.tasks.embedded.engine import EmbeddedEngine
from penstock.tasks.job import JobFilter
from tests.tasks.embedded.embedded_jobs import PATIENCE, Gate, add, declare, final, job, until


async def work() -> str:
    return "done"


WORK = declare(work)


async def fill_up(engine: EmbeddedEngine) -> None:
    """Leave no page free, as a full disk does."""
    pages = await engine._core.call(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await engine._core.call(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())


async def make_room(engine: EmbeddedEngine) -> None:
    await engine._core.call(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone())


async def test_a_full_disk_is_said_and_nothing_is_half_written(opened):
    engine = await opened()
    await fill_up(engine)

    with pytest.raises(StorageFull, match="free space on the volume"):
        await engine.add([job(WORK), *(job("big", owner="x" * 9000) for _ in range(5))])

    assert await engine.store.count(JobFilter()) == {}
    await make_room(engine)
    await add(engine, job(WORK))


async def test_what_still_fits_on_a_full_disk_is_accepted_beside_what_does_not(opened):
    engine = await opened()
    await fill_up(engine)

    outcomes = await asyncio.gather(
        engine.add([job("big", owner="x" * 9000)]), engine.add([job(WORK)]), return_exceptions=True
    )

    assert isinstance(outcomes[0], StorageFull)
    assert await engine.store.count(JobFilter()) == {"queued": 1}


async def test_a_result_that_does_not_fit_is_kept_until_it_does(opened, caplog):
    gate = Gate()

    async def big() -> str:
        await gate.gate()
        return "x" * 50_000

    engine = await opened(declare(big))
    (job_id,) = await add(engine, job(declare(big)))
    await gate.arrival.wait()
    await fill_up(engine)
    gate.open.set()
    async with asyncio.timeout(PATIENCE):
        while not engine._core.attempts.has_unwritten:
            await engine.store.count(JobFilter())
    assert (await engine.store.get(job_id)).state == "running"
    assert "tasks.ends_not_stored" in caplog.text

    await make_room(engine)

    record = await final(engine, job_id)
    assert (record.state, len(record.result), gate.came) == ("completed", 50_000, [0])


async def test_a_locked_file_is_said_after_a_while_and_work_goes_on_afterwards(opened, sql):
    engine = await opened(WORK, patience=0.05)
    sql.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageUnavailable, match="is locked by another process"):
        await engine.add([job(WORK)])
    sql.execute("ROLLBACK")

    (job_id,) = await add(engine, job(WORK))
    assert (await final(engine, job_id)).state == "completed"


async def test_jobs_that_end_while_the_file_is_locked_are_stored_afterwards(opened, sql):
    gate = Gate()
    engine = await opened(gate.task, patience=0.05, workers=1)
    ids = await add(engine, job(gate.task, 1), job(gate.task, 2))
    await gate.arrival.wait()

    sql.execute("BEGIN IMMEDIATE")
    gate.open.set()
    async with asyncio.timeout(PATIENCE):
        while not engine._core.attempts.has_unwritten:
            await engine.store.count(JobFilter())
    sql.execute("ROLLBACK")

    assert [(await final(engine, each)).state for each in ids] == ["completed"] * 2
    assert gate.came == [1, 2]


async def test_jobs_whose_claim_was_refused_start_later(opened, sql):
    gate = Gate()
    engine = await opened(gate.task, patience=0.05, workers=1)
    first, second = await add(engine, job(gate.task, 1), job(gate.task, 2))
    await until(engine, first, lambda record: record.state == "running")
    sql.execute("BEGIN IMMEDIATE")

    gate.open.set()
    async with asyncio.timeout(PATIENCE):
        while not engine._core._is_blocked:
            await engine.store.count(JobFilter())
    sql.execute("ROLLBACK")

    assert (await final(engine, second)).state == "completed"
    assert gate.came == [1, 2]


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    # A file in its place, since a root that runs the tests may write anywhere.
    (tmp_path / "home").write_text("")

    with pytest.raises(StorageUnavailable, match=r"check that .*home exists and may be written"):
        EmbeddedEngine(tmp_path / "home" / "tasks.db")


async def test_a_file_that_is_no_database_is_named(path: Path):
    path.parent.mkdir()
    path.write_bytes(b"x" * 5000)

    with pytest.raises(StorageUnavailable, match="is damaged; stop the server"):
        EmbeddedEngine(path)


async def test_a_file_of_a_newer_release_is_left_alone(path: Path, sql: sqlite3.Connection):
    sql.execute("PRAGMA user_version = 99")

    with pytest.raises(StorageUnavailable, match="layout 99, of a newer Penstock"):
        EmbeddedEngine(path)


async def test_one_bad_job_harms_no_other(opened):
    engine = await opened(WORK)

    bad = job(WORK)
    bad.owner = "\ud800"  # no text that could be stored
    outcomes = await asyncio.gather(
        engine.add([job(WORK)]), engine.add([bad]), engine.add([job(WORK)]), return_exceptions=True
    )

    assert isinstance(outcomes[1], UnicodeEncodeError)
    for added in (outcomes[0][0], outcomes[2][0]):
        assert (await final(engine, added.id)).state == "completed"
    (later,) = await add(engine, job(WORK))
    assert (await final(engine, later)).state == "completed"  # its place was given back


async def test_one_call_that_fails_harms_no_other(opened, sql):
    engine = await opened()
    (job_id,) = await add(engine, job(WORK))

    outcomes = await asyncio.gather(
        engine.cancel(job_id), engine.cancel(job_id), add(engine, job(WORK)), return_exceptions=True
    )

    assert isinstance(outcomes[1], Conflict)
    assert sql.execute("SELECT count(*) FROM job WHERE state = 0").fetchone() == (1,)


class TurnedBack(ManualClock):
    """A clock whose wall time can be set."""

    shift = 0.0

    def now(self) -> float:
        return super().now() + self.shift


async def test_a_clock_set_back_delays_nothing_and_keeps_the_order(opened):
    clock = TurnedBack()
    engine = await opened(WORK, clock=clock)
    delayed, before = await add(engine, job(WORK, delay=60), job(WORK))

    clock.shift = -3600.0
    (after,) = await add(engine, job(WORK))
    clock.advance(61)

    assert (await final(engine, delayed)).state == "completed"
    assert before < after
    record = await engine.store.get(after)
    assert record.created_at >= (await engine.store.get(before)).created_at


async def test_numbers_go_on_after_a_restart_with_a_clock_set_back(opened):
    first = await opened(WORK, clock=ManualClock(2_000_000_000.0))
    (before,) = await add(first, job(WORK))
    await first.stop(grace=1)

    second = await opened(WORK, clock=ManualClock(1_900_000_000.0))
    (after,) = await add(second, job(WORK))

    assert before < after
    assert (await final(second, after)).state == "completed"


async def test_a_machine_that_slept_catches_up(opened):
    clock = TurnedBack()
    engine = await opened(WORK, clock=clock)
    (delayed,) = await add(engine, job(WORK, delay=3000))

    clock.shift = 3600.0  # the wall clock went on, the monotonic one did not
    async with asyncio.timeout(PATIENCE):
        while (await engine.store.get(delayed)).state == "queued":
            clock.advance(1)
            await engine.store.count(JobFilter())

    assert (await final(engine, delayed)).state == "completed"


async def test_too_many_enqueues_that_wait_are_refused(opened, monkeypatch):
    monkeypatch.setattr("penstock.tasks.embedded.intake.MAX_OUTSTANDING", 3)
    engine = await opened()

    waiting = [asyncio.ensure_future(engine.add([job(WORK)])) for _ in range(3)]

    with pytest.raises(StorageUnavailable, match="too slow"):
        await engine.add([job(WORK)])
    await asyncio.gather(*waiting)
    await add(engine, job(WORK))


async def test_a_file_that_is_closed_under_a_stop_does_not_keep_it(opened, sql):
    """The rows stay; whoever comes next finds the process dead."""
    engine = await opened(WORK, patience=0.05)
    sql.execute("BEGIN IMMEDIATE")

    await asyncio.wait_for(engine.stop(grace=0), PATIENCE)

    sql.execute("ROLLBACK")
    again = await opened(WORK)
    assert len(await again.store.workers()) == 1
