"""Real processes on one job file, killed at moments that nobody chose."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from penstock.tasks.job import JobFilter
from tests.tasks.embedded import job_process
from tests.tasks.embedded.embedded_jobs import PATIENCE, add, final, until

pytestmark = pytest.mark.slow

Spawn = Callable[..., Awaitable[asyncio.subprocess.Process]]
JOBS = 200


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What jobs write when they begin and end, in this process too."""
    monkeypatch.setattr(job_process, "marks", tmp_path / "marks")
    return tmp_path / "marks"


@pytest.fixture
async def spawn(path: Path, marks: Path) -> AsyncIterator[Spawn]:
    """Starts processes that run jobs; returns when one is ready."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(*arguments: object, may_die: bool = False) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, job_process.__file__, str(path), str(marks)),
            *map(str, arguments),
            stdout=asyncio.subprocess.PIPE,
        )
        processes.append(process)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        assert line == b"ready\n" or may_die
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def lines(marks: Path) -> list[list[str]]:
    return [line.split() for line in marks.read_text().splitlines()] if marks.exists() else []


async def at_least(marks: Path, count: int) -> None:
    """Until so many jobs have ended."""
    async with asyncio.timeout(PATIENCE):
        while sum(line[0] == "end" for line in lines(marks)) < count:
            await asyncio.to_thread(marks.exists)


async def test_kills_at_any_moment_lose_no_job_and_repeat_only_what_ran(opened, spawn, path, marks):
    chance = random.Random(3)
    for kill in range(3):
        process = await spawn(*([JOBS] if kill == 0 else []))
        await at_least(marks, (kill + 1) * 40 + chance.randrange(20))
        process.kill()
        await process.wait()
        with closing(sqlite3.connect(path)) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    engine = await opened(*job_process.TASKS.values(), workers=8)
    for record in await engine.store.page(JobFilter(), limit=1000):
        await final(engine, record.id)

    begun = Counter((name, job_id) for kind, name, job_id in lines(marks) if kind == "begin")
    work = await engine.store.page(JobFilter(task="work"), limit=1000)
    once = await engine.store.page(JobFilter(task="once"), limit=1000)
    assert [record.state for record in work] == ["completed"] * JOBS
    assert sum(count - 1 for (name, _), count in begun.items() if name == "work") <= 3 * 8
    assert max(count for (name, _), count in begun.items() if name == "once") == 1
    assert {record.state for record in once} <= {"completed", "failed"}
    assert sum(record.state == "failed" for record in once) <= 3 * 8


async def test_a_process_that_lives_takes_over_from_one_that_is_killed(opened, spawn, marks):
    engine = await opened(*job_process.TASKS.values(), workers=8)
    process = await spawn(JOBS)
    await at_least(marks, 20)

    process.kill()

    for record in await engine.store.page(JobFilter(task="work"), limit=1000):
        assert (await final(engine, record.id)).state == "completed"


async def test_a_job_that_kills_its_process_ends_failed_and_others_unharmed(opened, spawn):
    adder = await opened()
    (deadly,) = await add(adder, *job_process.jobs("deadly", 1))

    for _ in range(2):
        process = await spawn(may_die=True)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 9
    await spawn()
    record = await until(adder, deadly, lambda record: record.is_final)
    (healthy,) = await add(adder, *job_process.jobs("work", 1))

    assert (record.state, record.attempt, record.error.type) == ("failed", 2, "Lost")
    assert (await final(adder, healthy)).state == "completed"


async def test_two_processes_share_a_backlog_without_a_double_run(opened, spawn, marks):
    adder = await opened()
    ids = await add(adder, *job_process.jobs("work", JOBS))

    await asyncio.gather(spawn(), spawn())
    for job_id in ids:
        await final(adder, job_id)

    begun = Counter(job_id for kind, _, job_id in lines(marks) if kind == "begin")
    assert set(begun.values()) == {1}
    assert len(begun) == JOBS


async def test_it_is_known_which_processes_live(opened, spawn):
    looker = await opened()
    first, second = await spawn(), await spawn()

    first.kill()
    await first.wait()

    statuses = {status.pid: status.alive for status in await looker.store.workers()}
    assert statuses == {first.pid: False, second.pid: True}
