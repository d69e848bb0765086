"""What the tests of the engine say about jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from penstock.tasks.embedded.engine import EmbeddedEngine
from penstock.tasks.engine import NewJob, Run, Stopped
from penstock.tasks.job import JobRecord, Progress, priority_of
from penstock.tasks.task import Task

PATIENCE = 60.0


def declare(function: Callable[..., Any], **options: Any) -> Task[..., Any]:
    """A task named after its function."""
    return Task(function, name=options.pop("name", function.__name__), **options)


def job(task: Task[..., Any] | str, *args: Any, priority: Any = None, **fields: Any) -> NewJob:
    """A job of a task; of one that is declared elsewhere when it is a name."""
    if isinstance(task, str):
        return NewJob(
            task=task,
            arguments=b"{}",
            queue=fields.pop("queue", "default"),
            priority=priority_of("normal" if priority is None else priority),
            max_attempts=fields.pop("max_attempts", 3),
            **fields,
        )
    return NewJob(
        task=task.name,
        arguments=task.pack(args, {}),
        queue=fields.pop("queue", task.queue),
        priority=task.priority if priority is None else priority_of(priority),
        max_attempts=fields.pop("max_attempts", task.policy.attempts),
        **fields,
    )


def at_once(attempts: int) -> dict[str, Any]:
    """Options of a task that is tried again without a wait."""
    return {"retries": attempts - 1, "backoff": 1e-9}


async def add(engine: EmbeddedEngine, *jobs: NewJob) -> list[str]:
    """The ids of accepted jobs."""
    return [added.id for added in await asyncio.wait_for(engine.add(jobs), PATIENCE)]


async def final(engine: EmbeddedEngine, job_id: str) -> JobRecord:
    """The record of a job that has ended."""
    return await until(engine, job_id, lambda record: record.is_final)


async def until(
    engine: EmbeddedEngine, job_id: str, test: Callable[[JobRecord], bool]
) -> JobRecord:
    """The record of a job as soon as it passes a test."""
    async with asyncio.timeout(PATIENCE):
        async for record in engine.store.watch(job_id):
            if test(record):
                return record
    raise AssertionError(f"{job_id} ended before: {record}")


async def finals(engine: EmbeddedEngine, ids: list[str]) -> list[JobRecord]:
    """The records of jobs that have ended."""
    return [await final(engine, job_id) for job_id in ids]


class Idle:
    """An execution that begins nothing: what it was given is told to have stopped unbegun."""

    def __init__(self, report: Callable[[int, Progress], None]) -> None:
        self._runs: list[Run] = []

    def start(self, run: Run) -> None:
        self._runs.append(run)

    def cancel(self, number: int) -> None: ...

    async def stop(self, grace: float) -> None:
        for run in self._runs:
            run.done(run, Stopped(has_begun=False))
        self._runs.clear()

    async def aclose(self) -> None: ...


class Gate:
    """A task that tells who came and lets nobody through until it is opened."""

    def __init__(self, **options: Any) -> None:
        self.came: list[int] = []
        self.open = asyncio.Event()
        self.arrival = asyncio.Event()
        self.task = declare(self.gate, name=options.pop("name", "gate"), **options)

    async def gate(self, number: int = 0) -> int:
        self.came.append(number)
        self.arrival.set()
        await self.open.wait()
        return number
