"""The entry for serverless hosts: one request, no lifespan, no disk of one's own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from penstock.serverless import Serverless, on_no_disk
from penstock.settings import Settings
from tests.conftest import ADMIN

SERVERLESS = Path(__file__).parents[2] / "deploy" / "serverless"
QUESTION = {"input": "Have a lovely day, everyone."}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Settings(home=Path("/proc/penstock"), admin_key=ADMIN, log_level="error")  # type: ignore[arg-type]


async def ask(app: Serverless) -> httpx.Response:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(
        transport=transport, base_url="http://testserver", headers=headers
    ) as client:
        return await client.post("/v1/moderations", json=QUESTION)


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
