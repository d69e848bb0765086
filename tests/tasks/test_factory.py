from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import ConfigurationError
from penstock.tasks import JobFilter, Task, ctx, open_engine, open_queue


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rq://:secret@localhost", "no task engine is called 'rq://localhost'; known: embedded"),
        ("tasks.db", "no task engine is called"),
        ("embedded://tasks.db", "write embedded:///absolute/tasks.db"),
        ("embedded://", "write embedded:///absolute/tasks.db"),
    ],
)
def test_an_address_that_is_none_is_refused_with_what_to_write(url, message):
    with pytest.raises(ConfigurationError, match=message):
        open_engine(url)


@pytest.mark.parametrize(
    ("workers", "message"), [({"fast": 1}, "no queue is called 'fast'"), (-1, "-1 workers")]
)
def test_workers_of_no_queue_are_refused(tmp_path: Path, workers, message):
    with pytest.raises(ConfigurationError, match=message):
        open_engine(f"embedded://{tmp_path}/tasks.db", workers=workers)


async def test_a_path_may_have_any_characters(tmp_path: Path):
    folder = tmp_path / "a b #é"
    folder.mkdir()

    async with open_queue(f"embedded://{tmp_path}/a%20b%20%23%C3%A9/tasks.db", workers=0):
        assert (folder / "tasks.db").is_file()


async def test_inline_an_enqueue_returns_when_the_job_has_ended():
    done: list[str] = []

    async def child(name: str) -> None:
        done.append(name)

    async def parent() -> str | None:
        await queue.enqueue(Task(child, name="child"), ("first",), options={"delay": "1h"})
        done.append("parent")
        return ctx.job_id

    async with open_queue("inline://") as queue:
        job = await queue.enqueue(Task(parent, name="parent"))
        states = await queue.store.count(JobFilter())

    assert sorted(done) == ["first", "parent"]
    assert states == {"completed": 2}
    assert job.id


async def test_inline_a_failure_is_final_when_enqueue_returns():
    def broken() -> None:
        raise ValueError("broken")

    async with open_queue("inline://") as queue:
        job = await queue.enqueue(Task(broken, name="broken", backoff=0))

        assert (await job.status()).state == "failed"
