"""`penstock worker` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.observe.metrics import Metrics
from penstock.opening import open_layer_queue
from penstock.settings import Settings
from penstock.tasks import TaskQueue
from tests.cli.conftest import PATIENCE, VARIABLES

SHOP = """
import asyncio
from penstock.tasks.task import declare

@declare(name="shop.double")
async def double(number: int) -> int:
    return 2 * number

@declare(name="shop.hold", queue="analytics")
async def hold() -> None:
    await asyncio.Event().wait()
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A user's module with tasks, in the working directory."""
    path = tmp_path / "shop.py"
    path.write_text(SHOP, "utf-8")
    return path


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Starts `penstock worker` in the working directory."""
    started: list[subprocess.Popen[str]] = []

    def run(*options: str) -> subprocess.Popen[str]:
        known = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        command = [sys.executable, "-m", "penstock", "worker", "--home", str(home), *options]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, cwd=home.parent, env=known
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=PATIENCE)


def on_queue(home: Path, work: Callable[[TaskQueue], Any]) -> Any:
    """What `work` returns of a queue on that folder that runs nothing itself."""

    async def run() -> Any:
        settings = Settings(home=home, log_level="error", task_workers=0)
        async with open_layer_queue(settings, metrics=Metrics()) as queue:
            return await asyncio.wait_for(work(queue), PATIENCE)

    return asyncio.run(run())


async def until(queue: TaskQueue, job_id: str, state: str) -> None:
    async for record in queue.job(job_id).watch():
        if record.state == state:
            return
    raise AssertionError(f"{job_id} was never {state}")


def shop_task(shop: Path, name: str) -> Any:
    found: dict[str, Any] = {}
    exec(compile(SHOP, str(shop), "exec"), found)
    return found[name]


@pytest.mark.slow
def test_a_worker_runs_the_tasks_of_a_users_module_and_ends_on_a_signal(home, shop, start):
    async def double(queue: TaskQueue) -> int:
        job = await queue.enqueue(shop_task(shop, "double"), (21,))
        return int(await job.result())

    process = start("--include", "shop", "--queues", "default,maintenance", "--concurrency", "2")
    greeting = process.stdout.readline()

    assert on_queue(home, double) == 42
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert "2 tasks of yours" in greeting
    assert "default, maintenance" in greeting


@pytest.mark.slow
def test_a_worker_leaves_the_queues_that_it_was_not_given(home, shop, start):
    async def both(queue: TaskQueue) -> str:
        held = await queue.enqueue(shop_task(shop, "hold"))
        await (await queue.enqueue(shop_task(shop, "double"), (1,))).result()
        return (await held.status()).state

    process = start("--include", "shop", "--queues", "default")
    process.stdout.readline()

    assert on_queue(home, both) == "queued"


@pytest.mark.slow
def test_a_job_that_runs_in_a_worker_is_cancelled_from_the_command_line(home, shop, start, run):
    async def hold(queue: TaskQueue) -> str:
        job = await queue.enqueue(shop_task(shop, "hold"))
        await until(queue, job.id, "running")
        return job.id

    start("--include", "shop").stdout.readline()
    job_id = on_queue(home, hold)

    result = run("tasks", "cancel", job_id)

    assert result.exit_code == 0
    on_queue(home, lambda queue: until(queue, job_id, "cancelled"))


@pytest.mark.slow
def test_a_worker_without_a_users_task_says_how_to_include_them(start):
    process = start()

    assert "runs 0 tasks of yours" in process.stdout.readline()
    assert "--include" in process.stdout.readline()


@pytest.mark.slow
def test_show_tells_that_the_process_of_a_running_job_is_dead(home, shop, start, run, run_json):
    async def hold(queue: TaskQueue) -> str:
        job = await queue.enqueue(shop_task(shop, "hold"))
        await until(queue, job.id, "running")
        return job.id

    process = start("--include", "shop")
    process.stdout.readline()
    job_id = on_queue(home, hold)
    alive = run_json("tasks", "show", job_id)["why"]
    process.kill()
    process.wait(PATIENCE)

    told = run("tasks", "show", job_id).stdout

    assert alive is None
    assert "its process is dead; it is queued again when a process starts" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--include", "no_such_module"], "no_such_module"),
        (["--queues", "fast"], "no queue is called 'fast'"),
        (["--concurrency", "0"], "0 is not in the range"),
    ],
)
def test_what_cannot_be_run_is_said_before_the_start(start, options, said):
    process = start(*options)

    _, error = process.communicate(timeout=PATIENCE)

    assert process.returncode == 2
    assert said in error
