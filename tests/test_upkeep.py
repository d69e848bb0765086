"""The retention policy and the built-in scheduled tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.errors import NotFound, StorageFull, TaskError
from penstock.observe.health import CheckResult, Health
from penstock.observe.metrics import Metrics
from penstock.tasks.factory import open_queue
from penstock.tasks.task import Task
from penstock.upkeep import Retention, Rule, upkeep_tasks

DAY = 86_400.0


class Shelf:
    """Keeps things by age, and fails when told to."""

    def __init__(self, *ages: float, clock: ManualClock) -> None:
        self.made = [(clock.now() - age) * 1000 for age in ages]
        self.fault: Exception | None = None

    async def forget(self, before: int) -> int:
        if self.fault is not None:
            raise self.fault
        old = [made for made in self.made if made < before]
        self.made = [made for made in self.made if made >= before]
        return len(old)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def verdicts(clock: ManualClock) -> Shelf:
    return Shelf(100 * DAY, 91 * DAY, 89 * DAY, 0.0, clock=clock)


@pytest.fixture
def entries(clock: ManualClock) -> Shelf:
    return Shelf(1.0, clock=clock)


@pytest.fixture
def retention(verdicts: Shelf, entries: Shelf, clock: ManualClock, metrics: Metrics) -> Retention:
    rules = [Rule("verdicts", verdicts.forget, keep=90 * DAY), Rule("cache", entries.forget)]
    return Retention(rules, clock=clock, metrics=metrics)


def tasks_by_name(
    retention: Retention, metrics: Metrics, report: Callable[[], Awaitable[Health]] | None = None
) -> dict[str, Task]:
    async def well() -> Health:
        return Health("healthy", {"disk": CheckResult("healthy")})

    found = upkeep_tasks(retention=retention, report=report or well, metrics=metrics)
    return {task.name: task for task in found}


async def test_each_rule_forgets_what_is_older_than_it_keeps(
    retention: Retention, verdicts: Shelf, metrics: Metrics
):
    cleaned = await retention.apply()

    assert cleaned.removed == {"verdicts": 2, "cache": 1}
    assert len(verdicts.made) == 2
    assert metrics.total("penstock_cleanup_removed_total", what="verdicts") == 2


async def test_what_was_asked_for_is_cleaned_and_nothing_else(
    retention: Retention, verdicts: Shelf
):
    cleaned = await retention.apply("cache")

    assert cleaned.removed == {"cache": 1}
    assert len(verdicts.made) == 4


async def test_an_unknown_name_is_told_with_the_known_ones(retention: Retention):
    with pytest.raises(NotFound, match="called 'jobz'; known: verdicts, cache"):
        await retention.apply("jobz")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (StorageFull("no space is left on /data"), "no space is left on /data"),
        (RuntimeError("secret"), "it failed with RuntimeError"),
    ],
)
async def test_a_rule_that_fails_keeps_no_other_from_being_applied(
    retention: Retention, verdicts: Shelf, metrics: Metrics, fault: Exception, told: str
):
    verdicts.fault = fault

    cleaned = await retention.apply()

    assert cleaned.removed == {"cache": 1}
    assert cleaned.failed == {"verdicts": told}
    assert metrics.total("penstock_cleanup_failures_total", what="verdicts") == 1


async def test_the_cleanup_task_says_what_it_removed(retention: Retention, metrics: Metrics):
    cleanup = tasks_by_name(retention, metrics)["cleanup"]

    assert await cleanup() == {"verdicts": 2, "cache": 1}


async def test_a_cleanup_that_could_not_do_all_is_tried_again(
    retention: Retention, verdicts: Shelf, metrics: Metrics
):
    cleanup = tasks_by_name(retention, metrics)["cleanup"]
    verdicts.fault = StorageFull("no space is left on /data")

    with pytest.raises(TaskError, match="verdicts: no space is left on /data"):
        await cleanup()

    assert cleanup.policy.attempts > 1


async def test_the_health_report_is_the_result_of_its_job_and_counted(
    retention: Retention, metrics: Metrics
):
    sick = Health("degraded", {"disk": CheckResult("degraded", "12 MB free", "free space")})

    async def report() -> Health:
        return sick

    task = tasks_by_name(retention, metrics, report)["health-report"]
    health = await task()

    assert health == sick
    assert task.unpack_result(task.pack_result(health)) == sick
    assert metrics.total("penstock_health_reports_total", status="degraded") == 1


async def test_an_installation_that_falls_ill_is_told_of_once(
    retention: Retention, metrics: Metrics
):
    states = iter(["healthy", "degraded", "degraded", "healthy", "degraded"])
    alerts: list[str] = []

    async def report() -> Health:
        return Health(next(states), {})

    made = upkeep_tasks(
        retention=retention,
        report=report,
        metrics=metrics,
        alert=lambda health: alerts.append(health.status),
    )
    task = next(task for task in made if task.name == "health-report")
    for _ in range(5):
        await task()

    assert alerts == ["degraded", "degraded"]


@pytest.mark.parametrize(
    ("name", "times"),
    [("cleanup", ["09:00", "10:00"]), ("health-report", ["08:15", "08:30"])],
)
def test_the_tasks_have_the_times_of_the_design(
    retention: Retention, metrics: Metrics, name: str, times: list[str]
):
    task = tasks_by_name(retention, metrics)[name]
    now = int(datetime(2026, 1, 5, 8, tzinfo=UTC).timestamp() * 1000)

    first = task.schedule.next_after(now)
    second = task.schedule.next_after(first)

    assert task.queue == "maintenance"
    assert [f"{datetime.fromtimestamp(at / 1000, UTC):%H:%M}" for at in (first, second)] == times


async def test_the_hourly_run_forgets_jobs_whose_time_is_over(
    tmp_path: Path, clock: ManualClock, metrics: Metrics
):
    """F-82, C-18"""
    queue = open_queue(f"embedded://{tmp_path / 'tasks.db'}", clock=clock)
    pruned: asyncio.Queue[int] = asyncio.Queue()

    async def forget(_: int) -> int:
        pruned.put_nowait(await queue.engine.prune())
        return 0

    retention = Retention([Rule("jobs", forget)], clock=clock, metrics=metrics)
    greet = Task(hello, name="greet", keep="30m")
    queue.register([greet, *tasks_by_name(retention, metrics).values()])
    async with queue:
        job = await greet.enqueue()
        await job.result(timeout=30)

        clock.advance(2 * 3600)
        count = await asyncio.wait_for(pruned.get(), 30)

        assert count == 1
        assert await queue.store.get(job.id) is None


async def hello() -> str:
    return "hello"
