from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import tasks as commands
from penstock.observe.metrics import Metrics
from penstock.opening import open_layer_queue
from penstock.settings import Settings
from penstock.tasks import Job
from penstock.tasks.job import QUEUES
from penstock.tasks.task import declare


@declare(name="test.double")
async def double(number: int) -> int:
    return 2 * number


@declare(name="test.fail", retries=0)
async def fail() -> None:
    raise RuntimeError("no luck")


@declare(name="test.shout", retries=0)
async def shout() -> None:
    raise RuntimeError("\x1b]0;title\x07\x1b[2Jred\x9b31m\ntwo")


@pytest.fixture
def jobs(home: Path) -> dict[str, str]:
    """Jobs that an earlier process left, by name."""

    async def fill() -> dict[str, str]:
        settings = Settings(home=home, log_level="error")
        async with open_layer_queue(settings, metrics=Metrics()) as queue:
            done = await queue.enqueue(double, (21,))
            failed = await queue.enqueue(fail)
            await done.result()
            await _end(failed)
            await queue.pause("analytics")
            options = {"queue": "analytics", "priority": "urgent", "owner": "team"}
            urgent = await queue.enqueue(double, (1,), {}, options)
            normal = await queue.enqueue(double, (2,), {}, {"queue": "analytics"})
            named = {"done": done, "failed": failed, "urgent": urgent, "normal": normal}
            return {name: job.id for name, job in named.items()}

    async def _end(job: Job[Any]) -> None:
        async for record in job.watch():
            if record.is_final:
                return

    return asyncio.run(fill())


@pytest.fixture
def state(run_json: Callable[..., Any]) -> Callable[[str], str]:
    return lambda job_id: run_json("tasks", "show", job_id)["state"]


@pytest.mark.parametrize("command", ["list", "queues", "schedules", "dead"])
def test_a_folder_without_jobs_is_refused_and_nothing_is_made_in_it(run, home, command):
    result = run("tasks", command)

    assert result.exit_code == 2
    assert f"error: no job file in {home}\n" in result.stderr
    assert "PENSTOCK_HOME or --home" in result.stderr
    assert not home.exists()


@pytest.mark.parametrize("place", [("--home", "home", "list"), ("list", "--home", "home")])
def test_home_names_the_folder_before_or_after_the_command(run, jobs, monkeypatch, place):
    monkeypatch.setenv("PENSTOCK_HOME", "elsewhere")

    assert jobs["done"] in run("tasks", *place).stdout


def test_an_empty_answer_names_the_folder(run, run_json, home, jobs):
    result = run("tasks", "list", "--owner", "nobody")

    assert (result.stdout, result.stderr) == ("", f"no such job in {home}\n")
    assert run_json("tasks", "list", "--owner", "nobody") == []


def test_a_task_that_no_job_is_of_is_told_with_those_that_there_are(run, home, jobs):
    listed = run("tasks", "list", "--task", "test.dubble")
    cancelled = run("tasks", "cancel", "--task", "test.dubble")

    told = f"no job in {home} is of the task 'test.dubble'; there are jobs of: "
    assert listed.stderr == cancelled.stderr == f"{told}test.double, test.fail\n"


def test_a_queue_that_there_is_not_is_a_usage_error_that_names_the_five(run, jobs):
    result = run("tasks", "list", "--queue", "fast")

    assert result.exit_code == 2
    assert all(queue in result.stderr for queue in QUEUES)
    assert commands.QUEUES == QUEUES


def test_list_shows_jobs_newest_first(run, run_json, jobs):
    found = run_json("tasks", "list")

    assert [job["id"] for job in found] == [
        jobs[name] for name in ("normal", "urgent", "failed", "done")
    ]
    assert found[-1]["created_at"].endswith("Z")
    assert jobs["urgent"] in run("tasks", "list").stdout


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--state", "failed"], ["failed"]),
        (["--state", "failed", "--state", "completed"], ["failed", "done"]),
        (["--queue", "analytics"], ["normal", "urgent"]),
        (["--task", "test.fail"], ["failed"]),
        (["--owner", "team"], ["urgent"]),
        (["--batch", "none"], []),
        (["--limit", "1"], ["normal"]),
    ],
)
def test_list_is_filtered(run_json, jobs, options, names):
    found = run_json("tasks", "list", *options)

    assert [job["id"] for job in found] == [jobs[name] for name in names]


def test_show_tells_result_and_errors(run, run_json, jobs):
    assert run_json("tasks", "show", jobs["done"])["result"] == 42
    assert run_json("tasks", "show", jobs["failed"])["error"]["message"] == "no luck"
    told = run("tasks", "show", jobs["failed"]).stdout
    assert "RuntimeError: no luck" in told
    assert "in fail" in told


def test_a_traceback_cannot_steer_the_terminal_and_keeps_its_form(run, home):
    async def fill() -> str:
        settings = Settings(home=home, log_level="error")
        async with open_layer_queue(settings, metrics=Metrics()) as queue:
            job = await queue.enqueue(shout)
            async for record in job.watch():
                if record.is_final:
                    break
            return job.id

    told = run("tasks", "show", asyncio.run(fill())).stdout

    assert "title" in told
    assert all(letter.isprintable() for letter in told.replace("\n", ""))
    assert "\n    raise RuntimeError(" in told


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
@pytest.mark.parametrize("job_id", ["job_0000000000001", "nonsense"])
def test_an_unknown_job_is_exit_code_1_in_the_same_words_everywhere(run, jobs, command, job_id):
    result = run("tasks", command, job_id)

    assert result.exit_code == 1
    assert result.stderr == f"error: no job is called {job_id!r}; its record may have expired\n"


def test_dead_lists_failed_jobs_with_their_error(run, run_json, jobs):
    assert [job["id"] for job in run_json("tasks", "dead")] == [jobs["failed"]]
    assert "RuntimeError: no luck" in run("tasks", "dead").stdout


def test_queues_print_the_true_backlog_over_all_priorities(run, run_json, jobs):
    """F-62, C-10: `llen` would count one priority."""
    found = {queue["name"]: queue for queue in run_json("tasks", "queues")}

    assert found["analytics"]["depth"] == 2
    assert {k: v for k, v in found["analytics"]["depth_by_priority"].items() if v} == {
        "0": 1,
        "5": 1,
    }
    assert found["analytics"]["paused"] is True
    (line,) = [x for x in run("tasks", "queues").stdout.splitlines() if x.startswith("analytics")]
    assert line.split()[:4] == ["analytics", "2", "0:1", "5:1"]
    assert line.split()[-1] == "paused"


def test_cancel_ends_the_named_jobs(run, state, jobs):
    result = run("tasks", "cancel", jobs["urgent"], jobs["normal"])

    assert result.exit_code == 0
    assert result.stdout == f"{jobs['urgent']} is cancelled\n{jobs['normal']} is cancelled\n"
    assert state(jobs["urgent"]) == "cancelled"


def test_what_cannot_be_cancelled_is_named_and_the_others_go_on(run, state, jobs):
    result = run("tasks", "cancel", jobs["done"], jobs["normal"])

    assert result.exit_code == 1
    assert "completed" in result.stderr
    assert state(jobs["normal"]) == "cancelled"


def test_retry_queues_failed_jobs_anew(run_json, jobs):
    (answer,) = run_json("tasks", "retry", jobs["failed"])

    assert answer == {"id": jobs["failed"], "state": "queued"}


def test_many_are_cancelled_after_a_yes(run, state, jobs):
    refused = run("tasks", "cancel", "--queue", "analytics", stdin="n\n")
    agreed = run("tasks", "cancel", "--queue", "analytics", "--json", stdin="y\n")

    assert "2 jobs will be cancelled. Go on?" in refused.stderr
    assert refused.exit_code == 1
    assert json.loads(agreed.stdout) == {"changed": 2, "skipped": 0}
    assert state(jobs["urgent"]) == state(jobs["normal"]) == "cancelled"


def test_all_failed_jobs_are_queued_anew_at_once(run, state, jobs):
    result = run("tasks", "retry", "--all", "--yes")

    assert result.stdout == "1 jobs queued anew\n"
    assert state(jobs["failed"]) == "queued"


@pytest.mark.parametrize("options", [[], ["job_1", "--all"], ["job_1", "--queue", "default"]])
def test_cancel_takes_ids_or_a_choice(run, options):
    assert run("tasks", "cancel", *options).exit_code == 2


def test_with_a_broker_the_jobs_are_those_of_the_broker(run, run_json, home, redis, monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", redis.database(1))

    async def fill() -> str:
        settings = Settings(
            home=home, tasks="celery", celery_broker_url=redis.database(1), log_level="error"
        )
        async with open_layer_queue(settings, metrics=Metrics()) as queue:
            return (await queue.enqueue(double, (1,), {}, {"queue": "analytics"})).id

    empty = run("tasks", "list")
    job_id = asyncio.run(fill())
    depths = {queue["name"]: queue["depth"] for queue in run_json("tasks", "queues")}

    assert empty.exit_code == 0
    assert f"no job in redis://127.0.0.1:{redis.port}/1" in empty.stderr
    assert depths["analytics"] == 1
    assert [job["id"] for job in run_json("tasks", "list")] == [job_id]
    assert not (home / "tasks.db").exists()
    assert run_json("tasks", "cancel", job_id) == [{"id": job_id, "state": "cancelled"}]


def test_a_broker_that_is_gone_is_one_line_and_exit_code_3(run, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/1")

    result = run("tasks", "queues")

    assert result.exit_code == 3
    assert "redis://127.0.0.1:1/1 cannot be reached" in result.stderr
    assert "hub." not in result.stderr
