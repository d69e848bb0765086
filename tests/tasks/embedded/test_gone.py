"""The job file is removed, or another is put in its place, while it is open."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from penstock.errors import StorageUnavailable
from penstock.tasks.embedded.connection import Reader
from penstock.tasks.schedule import parse_schedule
from tests.tasks.embedded.embedded_jobs import add, declare, final, job

GONE = "was removed or replaced while it was open; restart the server"


async def work() -> str:
    return "done"


WORK = declare(work)


def remove(path):
    path.unlink()


def replace(path):
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


both = pytest.mark.parametrize("lose", [remove, replace])


@both
@pytest.mark.parametrize("tasks", [[WORK], []], ids=["it runs jobs", "it only adds them"])
async def test_jobs_are_accepted_no_more(opened, path, clock, lose, tasks):
    engine = await opened(*tasks, clock=clock)
    await add(engine, job(WORK))

    lose(path)
    clock.advance(1)

    with pytest.raises(StorageUnavailable, match=GONE):
        await engine.add([job(WORK)])


async def test_a_file_that_is_put_back_takes_jobs_again(opened, path, clock):
    engine = await opened(WORK, clock=clock)
    path.rename(path.with_suffix(".away"))
    clock.advance(1)
    with pytest.raises(StorageUnavailable):
        await engine.add([job(WORK)])

    path.with_suffix(".away").rename(path)

    (job_id,) = await add(engine, job(WORK))
    assert (await final(engine, job_id)).state == "completed"


async def test_a_failed_job_is_not_tried_again_in_a_file_that_is_gone(opened, path, clock):
    engine = await opened(clock=clock)
    (job_id,) = await add(engine, job(WORK))
    await engine.cancel(job_id)

    path.unlink()
    clock.advance(1)

    with pytest.raises(StorageUnavailable, match=GONE):
        await engine.retry(job_id)


@both
async def test_it_is_told_to_who_asks_for_the_health(opened, path, lose):
    engine = await opened()
    before = await engine.store.health()

    lose(path)

    assert before == ""
    assert GONE in await engine.store.health()


async def test_it_is_logged_once_by_who_runs_jobs(opened, path, clock, caplog):
    engine = await opened(WORK, clock=clock)
    path.unlink()

    for _ in range(3):
        await engine._upkeep._round(rescues=True)

    assert caplog.text.count("tasks.file_gone") == 1


@both
async def test_a_reader_that_comes_too_late_makes_no_file_and_reads_no_other(opened, path, lose):
    await opened()
    reader = Reader(path)

    lose(path)

    with pytest.raises(StorageUnavailable, match=GONE):
        reader.rows("SELECT id FROM job")
    assert path.exists() == (lose is replace)


async def test_a_path_of_any_letters_leads_to_its_file(path):
    odd = path.parent / "a b?mode=ro#%41&ü"
    odd.mkdir(parents=True)
    sqlite3.connect(odd / "tasks.db").execute("CREATE TABLE job (id)").connection.close()

    assert Reader(odd / "tasks.db").rows("SELECT id FROM job") == []


async def test_schedules_are_not_fired_into_a_file_that_is_gone(opened, path, clock):
    task = declare(work, name="tick", schedule=parse_schedule("every 10s"))
    engine = await opened(task, clock=clock)
    path.unlink()

    clock.advance(1)

    with pytest.raises(StorageUnavailable, match=GONE):
        await engine.fire("tick")
