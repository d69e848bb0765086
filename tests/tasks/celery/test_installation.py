"""`penstock worker` on Celery: the options that it becomes, and a whole installation."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from penstock.celery_app import make, pixel
from penstock.errors import ConfigurationError
from penstock.settings import Settings
from penstock.tasks import Task, open_queue
from penstock.worker import celery_command
from tests.tasks.celery.conftest import PATIENCE, ROOT, until

SHOP = """
from penstock import task

@task
async def send(to: str) -> str:
    job = await count.enqueue(len(to))
    return f"sent to {to}, {await job.result()}"

@task(queue="analytics")
def count(letters: int) -> int:
    return letters

@task(schedule="every 1s", queue="maintenance")
async def tick() -> None: ...
"""


def settings_of(redis: Any, home: Path, **more: Any) -> Settings:
    return Settings(home=home, tasks="celery", celery_broker_url=redis.database(1), **more)


def test_a_worker_becomes_celery_s_with_the_options_that_are_meant(redis, tmp_path):
    settings = settings_of(redis, tmp_path, include=("shop",))

    command, env = celery_command(
        settings, queues=["analytics"], include=["more"], concurrency=3, beat=True
    )

    assert command[1:6] == ["-m", "celery", "-A", "penstock.celery_app", "worker"]
    assert command[6:] == [
        *("--queues", "analytics", "--concurrency", "3", "--loglevel", "info", "--beat")
    ]
    assert env["PENSTOCK_INCLUDE"] == "shop,more"
    assert env["PENSTOCK_HOME"] == str(tmp_path)
    with pytest.raises(ConfigurationError, match="no queue is called 'fast'"):
        celery_command(settings, queues=["fast"])


def test_an_application_without_a_broker_says_what_to_set(tmp_path):
    with pytest.raises(ConfigurationError, match="set CELERY_BROKER_URL, or PENSTOCK_TASKS=celery"):
        make(Settings(home=tmp_path))


def test_settings_of_celery_are_what_is_promised(redis, tmp_path):
    conf = make(settings_of(redis, tmp_path)).conf

    assert (conf.broker_url, conf.result_backend) == (redis.database(1), redis.database(2))
    assert (conf.accept_content, conf.task_serializer) == (["json"], "json")
    assert conf.task_default_queue == "default"
    assert [queue.name for queue in conf.task_queues] == [
        *("default", "conversations", "analytics", "notifications", "maintenance")
    ]
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost) == (True, True)
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_transport_options["priority_steps"] == list(range(10))


@pytest.mark.parametrize("path", ["background_tasks.celery_app", "core.celery_app"])
@pytest.mark.slow
def test_the_source_systems_paths_lead_to_it(redis, tmp_path, path):
    """C-09, F-59"""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "compat"),
        "CELERY_BROKER_URL": redis.database(1),
        "PENSTOCK_HOME": str(tmp_path),
    }
    code = f"from {path} import app, celery_app; print(app.main, app is celery_app)"

    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("penstock True\n", "")


def python(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """What a user calls, with `compat` on the path."""
    home = {"PYTHONPATH": str(ROOT / "compat"), "PENSTOCK_HOME": str(folder)}
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **home, **more},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.slow
def test_celery_without_a_broker_says_so_in_one_line(tmp_path):
    call = ("-m", "celery", "-A", "penstock.celery_app", "worker")

    done = python(tmp_path, *call, REDIS_HOST="127.0.0.1", REDIS_PORT="1")

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: redis://127.0.0.1:1/0 is set, and not that jobs run on it: set ")
    assert "set PENSTOCK_TASKS=celery" in line
    assert "servers" in line


@pytest.mark.slow
def test_in_the_source_system_s_environment_its_path_takes_the_redis_for_a_broker(tmp_path):
    """P-69, P-73: REDIS_HOST and REDIS_PORT alone."""
    code = "from core.celery_app import app; print(app.conf.broker_url, app.conf.result_backend)"

    done = python(tmp_path, "-c", code, REDIS_HOST="127.0.0.1", REDIS_PORT="7")

    assert done.stdout == "redis://127.0.0.1:7/1 redis://127.0.0.1:7/2\n"
    assert "set PENSTOCK_TASKS=celery for the servers too" in done.stderr


def test_that_path_obeys_who_decided_what_runs_jobs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:7/0")
    (tmp_path / ".env").write_text("PENSTOCK_TASKS=embedded\n")
    with pytest.raises(ConfigurationError, match="set PENSTOCK_TASKS=celery"):
        pixel()

    (tmp_path / ".env").write_text("CELERY_BROKER_URL=redis://127.0.0.1:8/3\n")

    assert pixel().conf.broker_url == "redis://127.0.0.1:8/3"
    assert capsys.readouterr().err == ""


@pytest.fixture
def installation(redis: Any, tmp_path: Path) -> Any:
    """`penstock worker --beat` as a process."""
    (tmp_path / "shop.py").write_text(SHOP)
    env = {
        **os.environ,
        "CELERY_BROKER_URL": redis.database(1),
        "PENSTOCK_HOME": str(tmp_path / "home"),
    }
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "penstock", "worker", "--beat"),
                *("--include", "shop", "--concurrency", "2"),
            ],
            cwd=tmp_path,
            env=env,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    yield worker
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


@pytest.mark.slow
async def test_an_installation_runs_tasks_of_the_user_and_its_own_and_fires_schedules(
    redis, tmp_path, installation
):
    async def send(to: str) -> str: ...

    async with open_queue(settings_of(redis, tmp_path).task_engine, workers=0) as queue:
        sending = Task(send, name="shop:send")
        assert await (await queue.enqueue(sending, ("ann",))).result(PATIENCE) == "sent to ann, 3"
        assert (await (await queue.fire("health-report")).result(PATIENCE))["status"]
        with Redis.from_url(redis.database(1)) as broker:
            await until(lambda: broker.zcard("penstock:fired:shop:tick"))
        (worker,) = await queue.store.workers()

        installation.terminate()
        assert await asyncio.to_thread(installation.wait, PATIENCE) == 0
        assert await queue.store.workers() == []
    assert worker.alive
