"""What TaskQueue does itself, whatever engine it stands on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from penstock.errors import ConfigurationError
from penstock.tasks import Task, TaskQueue, open_queue
from penstock.tasks.group import Group


@pytest.fixture
async def queue() -> AsyncIterator[TaskQueue]:
    async with open_queue("inline://") as queue:
        yield queue


def task_of(name: str) -> Task[[], str]:
    async def answer() -> str:
        return name

    return Task(answer, name="answer")


async def test_two_tasks_of_one_name_are_refused(queue):
    queue.register([task_of("a")])

    with pytest.raises(ConfigurationError, match="two tasks are called answer"):
        queue.register([task_of("b")])
    with pytest.raises(ConfigurationError, match="two tasks are called answer"):
        await queue.enqueue(Task(asyncio.sleep, name="answer"), (0,))


async def test_one_task_may_be_registered_twice(queue):
    task = task_of("a")

    queue.register([task, task])

    assert await (await task.enqueue()).result() == "a"


async def test_a_function_that_was_imported_twice_is_one_task(queue):
    queue.register([Task(asyncio.sleep, name="nap")])

    queue.register([Task(asyncio.sleep, name="nap")])

    assert list(queue.tasks) == ["nap"]


async def test_a_type_that_json_cannot_carry_is_said_at_once(queue):
    def sort(items: set[int] | list[int]) -> None: ...

    with pytest.raises(ConfigurationError, match="sort has a type that JSON cannot carry"):
        queue.register([Task(sort)])


async def test_on_the_loop_itself_the_blocking_calls_are_refused(queue):
    task = task_of("a")
    queue.register([task])

    with pytest.raises(ConfigurationError, match="await the coroutine instead"):
        task.enqueue_sync()


async def test_plain_functions_in_threads_have_blocking_calls(queue):
    task = task_of("a")
    queue.register([task])

    def plain() -> tuple[Any, ...]:
        job = task.options(priority="high").enqueue_sync()
        return job.result_sync(), job.status_sync().priority

    assert await asyncio.to_thread(plain) == ("a", 2)


async def test_the_time_to_wait_for_a_result_is_a_number_or_words():
    release = asyncio.Event()

    async def wait() -> str:
        await release.wait()
        return "a"

    with TemporaryDirectory() as folder:
        async with open_queue(f"embedded://{folder}/tasks.db") as queue:
            job = await queue.enqueue(Task(wait))
            jobs = Group("g", [job])

            with pytest.raises(TimeoutError, match=r"has not ended within 0\.01 s; it goes on"):
                await job.result("10ms")
            with pytest.raises(TimeoutError):
                await jobs.results("10ms")
            release.set()
            assert await job.result("10s") == "a"
            assert await jobs.outcomes("10s") == ["a"]


async def test_an_empty_list_of_calls_is_no_job(queue):
    assert await queue.enqueue_many(task_of("a"), []) == []
