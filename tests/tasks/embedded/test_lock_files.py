"""Lock files and pipes of other processes that cannot be used."""

from __future__ import annotations

import asyncio
import os

import pytest

from penstock.errors import StorageUnavailable
from penstock.tasks.embedded.engine import EmbeddedEngine
from penstock.tasks.embedded.liveness import is_alive, lock_path
from penstock.tasks.embedded.wake import pipe_path
from tests.tasks.embedded.embedded_jobs import PATIENCE, add, declare, final, job
from tests.tasks.embedded.test_sharing import die

STRANGE = 8


async def work() -> str:
    return "done"


WORK = declare(work)


def stranger(sql) -> None:
    """A process that runs jobs, by its entry."""
    sql.execute(
        "INSERT INTO worker (id, pid, host, started_at, runs) VALUES (?, 1, '', 0, 1)", (STRANGE,)
    )


async def test_a_lock_that_cannot_be_opened_keeps_no_other_job_from_being_rescued(
    opened, path, sql, caplog
):
    await opened()
    stranger(sql)
    lock_path(path, STRANGE).mkdir()  # as one of another user: it is there, and of no use
    lost = die(sql, path)

    engine = await opened(WORK)
    await engine._upkeep.rescue()

    assert (await final(engine, lost)).state == "completed"
    assert caplog.text.count("tasks.worker_lock_unusable") == 1


async def test_a_process_takes_the_first_number_whose_lock_it_can_have(opened, path):
    path.parent.mkdir()
    lock_path(path, 1).mkdir()

    engine = await opened(WORK)

    assert [worker.id for worker in await engine.store.workers()] == ["worker-2"]


async def test_a_folder_in_which_no_lock_can_be_had_is_named(path, monkeypatch):
    path.parent.mkdir()
    monkeypatch.setattr("penstock.tasks.embedded.liveness.SLOTS", 3)
    for number in (1, 2, 3):
        lock_path(path, number).mkdir()

    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        EmbeddedEngine(path)


async def test_who_asks_whether_a_process_lives_is_not_held_up_by_a_pipe(path):
    path.parent.mkdir()
    os.mkfifo(lock_path(path, STRANGE))

    alive = asyncio.to_thread(is_alive, path, STRANGE)

    assert await asyncio.wait_for(alive, PATIENCE) is False


async def test_a_process_that_cannot_be_woken_holds_nobody_up(opened, path, sql):
    engine = await opened(WORK)
    stranger(sql)
    lock_path(path, STRANGE).mkdir()
    pipe_path(path, STRANGE).mkdir()
    engine._core.peers.forget()

    ids = await add(engine, *(job(task) for task in (WORK, "elsewhere", WORK)))

    assert (await final(engine, ids[2])).state == "completed"
