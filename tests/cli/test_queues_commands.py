"""`penstock tasks` on queues and schedules: seeing them, pausing them, running one now."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from penstock.observe.metrics import Metrics
from penstock.opening import open_layer_queue
from penstock.settings import Settings
from penstock.tasks.task import declare


@declare(name="test.digest", schedule="0 9 * * MON", queue="notifications")
async def digest() -> None: ...


@pytest.fixture(autouse=True)
def installation(home: Path) -> None:
    """Has a schedule, which its process declared before it ended."""

    async def fill() -> None:
        settings = Settings(home=home, log_level="error")
        async with open_layer_queue(settings, metrics=Metrics()) as queue:
            queue.register([digest])
            await queue.start()

    asyncio.run(fill())


def test_schedules_show_when_they_run(run, run_json):
    (found,) = run_json("tasks", "schedules")

    assert found["next_at"].endswith("T09:00:00Z")
    assert {k: found[k] for k in ("name", "when", "timezone", "queue", "last_at")} == {
        "name": "test.digest",
        "when": "0 9 * * MON",
        "timezone": "UTC",
        "queue": "notifications",
        "last_at": None,
    }
    told = run("tasks", "schedules").stdout.splitlines()[1]
    assert told.split()[-1] == "on"
    assert found["next_at"] in told


def test_a_schedule_that_nobody_fires_is_overdue(run, run_json, home):
    with closing(sqlite3.connect(home / "tasks.db")) as raw, raw:
        raw.execute("UPDATE schedule SET next_ms = 1")

    (found,) = run_json("tasks", "schedules")

    assert found["overdue"] is True
    assert run("tasks", "schedules").stdout.split()[-1] == "overdue"


def test_a_schedule_is_paused_and_goes_on(run, run_json):
    paused = run_json("tasks", "pause", "--schedule", "test.digest")
    listed = run("tasks", "schedules").stdout
    resumed = run("tasks", "resume", "--schedule", "test.digest")

    assert (paused["paused"], paused["next_at"]) == (True, None)
    assert listed.split()[-1] == "paused"
    assert resumed.stdout == "the schedule test.digest goes on\n"
    assert run_json("tasks", "schedules")[0]["paused"] is False


def test_run_queues_a_job_of_a_schedule_now(run_json):
    fired = run_json("tasks", "run", "test.digest")

    (schedule,) = run_json("tasks", "schedules")
    job = run_json("tasks", "show", fired["id"])
    assert (job["task"], job["state"], job["queue"]) == ("test.digest", "queued", "notifications")
    assert schedule["last_job"] == fired["id"]


def test_a_queue_is_paused_and_goes_on(run, run_json):
    paused = run("tasks", "pause", "analytics")
    is_paused = {queue["name"]: queue["paused"] for queue in run_json("tasks", "queues")}
    resumed = run_json("tasks", "resume", "analytics")

    assert paused.stdout == "the queue analytics is paused\n"
    assert [name for name, paused in is_paused.items() if paused] == ["analytics"]
    assert (resumed["name"], resumed["paused"]) == ("analytics", False)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("pause", "test.digest"), "known: default, conversations"),
        (("pause", "test.digest"), "for a schedule: --schedule"),
        (("resume", "--schedule", "analytics"), "there is no schedule 'analytics'"),
        (("run", "nothing"), "there is no schedule 'nothing'"),
    ],
)
def test_what_there_is_not_is_exit_code_1(run, options, told):
    result = run("tasks", *options)

    assert result.exit_code == 1
    assert told in result.stderr
