"""Servers for tests over HTTP: in this process with any settings, and real processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from benchmarks.rigs.upstream import Upstream
from penstock.runtime import Runtime
from penstock.server.app import Server
from penstock.settings import Settings
from penstock.tasks.job import JobFilter
from tests.conftest import ADMIN, PATIENCE, Live, connect, free_port, wait_until_ready


@dataclass
class App:
    """A server in this process, its parts, and a client with the admin key."""

    server: Server
    runtime: Runtime
    client: httpx.AsyncClient

    def connect(self, token: str | None) -> httpx.AsyncClient:
        """A client with another key, or without one."""
        return connect(self.server, token)

    async def key(self, role: str, **fields: Any) -> httpx.AsyncClient:
        """A client with a key made for it."""
        body = {"name": f"{role} of a test", "role": role, **fields}
        reply = await self.client.post("/v1/keys", json=body)
        assert reply.status_code == 201, reply.text
        return self.connect(reply.json()["token"])


SHARED = pytest.mark.asyncio(loop_scope="module")
Start = Callable[..., AbstractAsyncContextManager[App]]


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[App]:
    """A server in this process."""
    server = Server(settings)
    async with server.running() as runtime, connect(server, ADMIN) as client:
        yield App(server, runtime, client)


@pytest.fixture
def start(settings: Settings) -> Start:
    """`async with start(store_text=True) as app:` serves with these settings, on the same home."""
    return lambda **changes: opened(settings.model_copy(update=changes))


@pytest.fixture
async def app(start: Start) -> AsyncIterator[App]:
    """A server in this process with the defaults."""
    async with start() as app:
        yield app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    """One server in this process for many tests of a module; they run on the module's loop.

    Opening one costs 0.3 s: tables of small cases share it.
    """
    home = tmp_path_factory.mktemp("shared") / "home"
    async with opened(Settings(home=home, admin_key=SecretStr(ADMIN), log_level="error")) as app:
        yield app


@pytest_asyncio.fixture(loop_scope="module")
async def emptied(shared: App) -> App:
    """The shared server with an empty cache, which no job of an earlier test fills again."""
    under_way = JobFilter(states=("queued", "running"))
    async with asyncio.timeout(PATIENCE):
        while await shared.runtime.jobs.store.count(under_way):
            pass  # each look is a turn of the loop
    await shared.runtime.cache.clear()
    return shared


@pytest.fixture
def behind(start: Start, upstream: Upstream) -> Start:
    """Like `start`, with the rig as provider, asked once and without patience."""

    def running(**changes: Any) -> AbstractAsyncContextManager[App]:
        asked = {
            "provider": (f"{upstream.url}?api=moderations",),
            "model": "stub",
            "provider_retries": 0,
            "provider_timeout": 2.0,
        }
        return start(**{**asked, **changes})

    return running


@pytest.fixture
def policy(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a policy file."""

    def write(text: str) -> Path:
        path = tmp_path / "policy.toml"
        path.write_text(text, "utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server in a process of its own for all tests of a module: leave no state in its way."""
    folder, port = tmp_path_factory.mktemp("shared"), free_port()
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    log = folder / "serve.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "serve", "--port", str(port)],
            env={**known, "PENSTOCK_HOME": str(folder / "home"), "PENSTOCK_ADMIN_KEY": ADMIN},
            stdout=sink,
            stderr=sink,
            text=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process, log)
        yield Live(url, folder / "home", process, log.read_text())
    finally:
        process.terminate()
        process.wait(timeout=60)
