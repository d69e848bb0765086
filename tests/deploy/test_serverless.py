"""The entry for serverless hosts: one request, no lifespan, no disk of one's own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.serverless import Serverless, on_no_disk
from penstock.settings import Settings
from tests.conftest import ADMIN

SERVERLESS = Path(__file__).parents[2] / "deploy" / "serverless"
QUESTION = {"input": "Have a lovely day, everyone."}
TEXTS = ["Have a lovely day, everyone.", "I will kill you tomorrow morning.", "See you there."]
BATCH = {
    "endpoint": "/v1/moderations",
    "requests": [{"custom_id": f"r{n}", "body": {"input": text}} for n, text in enumerate(TEXTS)],
}
PATIENCE = 60.0


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Settings(home=Path("/proc/penstock"), admin_key=ADMIN, log_level="error")  # type: ignore[arg-type]


async def ask(
    app: Serverless,
    path: str = "/v1/moderations",
    body: dict[str, Any] | None = QUESTION,
    *,
    method: str = "POST",
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(
        transport=transport, base_url="http://testserver", headers=headers
    ) as client:
        async with asyncio.timeout(PATIENCE):
            return await client.request(method, path, json=body)


def test_what_needs_a_disk_is_left_out():
    plain = on_no_disk(Settings())
    scaled = on_no_disk(
        Settings(
            redis_url="redis://127.0.0.1/0",
            celery_broker_url="redis://127.0.0.1/1",
            tasks="celery",
        )
    )

    assert (plain.cache, plain.tasks, plain.task_workers) == (("memory",), "inline", 0)
    assert (scaled.cache, scaled.tasks) == (("memory", "redis"), "celery")


async def test_requests_are_answered_without_a_lifespan(settings):
    app = Serverless(settings)

    answers = await asyncio.gather(*(ask(app) for _ in range(3)))
    await app.aclose()

    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].json()["results"][0]["penstock"]["decision"] == "approved"


def test_a_loop_per_request_costs_one_thread_and_no_answer(settings):
    app = Serverless(settings)
    answers = [asyncio.run(ask(app)) for _ in range(3)]

    own = [each for each in threading.enumerate() if each.name == "penstock-serverless"]
    asyncio.run_coroutine_threadsafe(app.aclose(), app._own).result(30)  # type: ignore[arg-type]
    app._own.call_soon_threadsafe(app._own.stop)  # type: ignore[union-attr]
    own[0].join(30)
    app._own.close()  # type: ignore[union-attr]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len(own) == 1


@pytest.mark.parametrize(
    ("path", "body", "count"),
    [
        ("/v1/batches", BATCH, lambda told: told["request_counts"]["completed"]),
        (
            "/api/moderate/batch",
            {"contents": TEXTS, "background": True},
            lambda told: told["processed_items"],
        ),
    ],
)
async def test_without_a_broker_a_batch_is_done_in_its_request(settings, path, body, count):
    async with aclosing(Serverless(settings)) as app:
        answer = await ask(app, path, body)

    assert answer.status_code == 202, answer.text
    assert (answer.json()["status"], count(answer.json())) == ("completed", 3)


async def test_a_batch_that_its_process_did_not_end_is_completed_when_it_is_read(settings):
    async with aclosing(Serverless(settings)) as first:
        await ask(first, "/v1/queues/default/pause", None)
        told = batch = (await ask(first, "/v1/batches", BATCH)).json()

    async with aclosing(Serverless(settings)) as app, asyncio.timeout(PATIENCE):
        while told["status"] in ("validating", "in_progress", "finalizing"):
            told = (await ask(app, f"/v1/batches/{batch['id']}", None, method="GET")).json()

    assert batch["status"] == "validating"
    assert (told["status"], told["request_counts"]["completed"]) == ("completed", 3)


async def test_without_a_broker_a_schedule_runs_in_the_request_that_asks_for_it(settings):
    async with aclosing(Serverless(settings)) as app:
        fired = (await ask(app, "/v1/schedules/cleanup/run", None)).json()
        job = (await ask(app, f"/v1/jobs/{fired['job_id']}", None, method="GET")).json()

    assert (job["task"], job["state"]) == ("cleanup", "completed")


PROGRAM = """
import asyncio, json, sys, threading
sys.path.insert(0, sys.argv[1])
before = threading.active_count()
from index import app
imported = threading.active_count()
sent = []

async def one():
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
             "scheme": "http", "path": "/livez", "raw_path": b"/livez", "query_string": b"",
             "headers": [(b"host", b"x")], "client": ("127.0.0.1", 1), "server": ("x", 80)}
    await app(scope, receive, send)
    names = sorted(thread.name for thread in threading.enumerate())
    await app.aclose()
    return names

names = asyncio.run(one())
print(json.dumps({"status": sent[0]["status"], "started": imported - before, "threads": names}))
"""


@pytest.mark.slow
def test_on_redis_and_postgresql_the_entry_serves_with_no_disk_and_no_thread_of_its_own(
    redis, postgres, tmp_path: Path
):
    environ = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "TMPDIR": str(tmp_path),
        "PENSTOCK_HOME": "/proc/penstock",  # nobody can write there, root included
        "REDIS_URL": redis.url,
        "DATABASE_URL": postgres.url,
        "CELERY_BROKER_URL": redis.database(1),
        "PENSTOCK_LOG_LEVEL": "error",
    }

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SERVERLESS / "api")],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == 200
    assert told["started"] == 0
    kept = [path for path in (tmp_path / "penstock").rglob("*") if path.suffix == ".db"]
    assert not kept


def test_the_host_is_told_to_send_everything_there():
    told = json.loads((SERVERLESS / "vercel.json").read_text("utf-8"))

    assert told["rewrites"] == [{"source": "/(.*)", "destination": "/api/index"}]
    assert list(told["functions"]) == ["api/index.py"]
    assert (SERVERLESS / "api" / "index.py").is_file()
