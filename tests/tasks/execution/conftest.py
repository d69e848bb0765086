from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from penstock.clock import SystemClock
from penstock.observe.metrics import Metrics
from penstock.tasks.engine import Outcome, Run
from penstock.tasks.execution.run import Execution
from penstock.tasks.job import Progress
from penstock.tasks.task import Task

DEADLINE = 60.0


class Rig:
    """An execution, and the engine's part of it: it hands out runs and takes outcomes."""

    def __init__(self, **options: Any) -> None:
        self.metrics = Metrics()
        self.reported: list[tuple[int, Progress]] = []
        self.said = asyncio.Event()
        self.started = 0
        self.told: list[int] = []
        self.execution = Execution(
            clock=SystemClock(), metrics=self.metrics, report=self._report, **options
        )

    def start(self, task: Task[..., Any], *args: Any, **known: Any) -> asyncio.Future[Outcome]:
        """Begin one attempt; what is returned gets its outcome."""
        self.started += 1
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(run: Run, value: Outcome) -> None:
            self.told.append(run.number)
            outcome.set_result(value)

        number, arguments = self.started, task.pack(args, {})
        run = Run(number, f"job_{number}", task, arguments, known.pop("attempt", 1), done, **known)
        self.execution.start(run)
        return outcome

    async def run(self, task: Task[..., Any], *args: Any, **known: Any) -> Outcome:
        """The outcome of one attempt."""
        return await soon(self.start(task, *args, **known))

    async def progress(self, number: int = 1) -> Progress:
        """The next progress of a job that is reported from now on, or was already."""
        async with asyncio.timeout(DEADLINE):
            while not any(told == number for told, _ in self.reported):
                self.said.clear()
                await self.said.wait()
        return [progress for told, progress in self.reported if told == number][-1]

    def _report(self, number: int, progress: Progress) -> None:
        self.reported.append((number, progress))
        self.said.set()


async def soon(future: asyncio.Future[Any]) -> Any:
    """What a future gives within the deadline."""
    return await asyncio.wait_for(future, DEADLINE)


@pytest.fixture
async def make_rig() -> AsyncIterator[Callable[..., Rig]]:
    """Executions with options of the test's own."""
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(**options))
        return made[-1]

    yield make
    for rig in made:
        await rig.execution.aclose()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """One whose patience after a cancel is short."""
    return make_rig(cancel_grace=0.2)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged about jobs so far."""
    caplog.set_level("INFO", logger="penstock.tasks")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "penstock.tasks"]
