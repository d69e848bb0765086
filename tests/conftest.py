"""Fixtures of the whole suite: real parts in temporary folders, on loopback, on free ports."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.load import free_port
from benchmarks.rigs.upstream import Upstream
from penstock.observe import logging
from penstock.runtime import Runtime
from penstock.server.app import Server
from penstock.settings import Settings

pytest_plugins = ["tests.servers"]

ADMIN = "admin-key-of-the-tests-0123456789abcdefghij"
PATIENCE = 60.0
OUTSIDE = {"PORT", "HOST", "OPENAI_API_KEY", "DATABASE_URL", "SMTP_URL"}


def pytest_collection_finish() -> None:
    """Take what was imported and collected out of the garbage collector's rounds.

    It stays to the end, and is half a million objects: to go through them again and again took a
    tenth of all time, and on a busy machine up to three seconds at once, in the middle of a test
    whose time-out is shorter.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # or what is left would be gone through for every request


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's environment says must not reach a test."""
    for name in list(os.environ):
        if name.startswith(("PENSTOCK_", "REDIS_", "CELERY_")) or name in OUTSIDE:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_logging_left() -> Iterator[None]:
    """What a test configured of logging must not reach the next."""
    yield
    logging.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Defaults in a folder of the test's own, with a known admin key."""
    return Settings(home=tmp_path / "home", admin_key=ADMIN, log_level="error")


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """The application in this process, its runtime at `server.runtime`."""
    server = Server(settings)
    async with server.running() as runtime:
        server.runtime = runtime  # type: ignore[attr-defined]
        yield server


@pytest.fixture
async def runtime(server: Server) -> Runtime:
    """The open parts behind `server` and `client`."""
    return server.runtime  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin key, of the application in this process."""
    async with connect(server, ADMIN) as client:
        yield client


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A provider on loopback that answers at once; its faults are scripted."""
    with Upstream(latency=(0.0, 0.0)) as upstream:
        yield upstream


def connect(server: Server, token: str | None = None) -> httpx.AsyncClient:
    """A client of an application in this process."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx.ASGITransport(app=server, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers)


@dataclass
class Live:
    """A server in a process of its own."""

    url: str
    home: Path
    process: subprocess.Popen[str]
    output: str


@pytest.fixture
def serve(tmp_path: Path):
    """`with serve(home=..., PENSTOCK_X=...) as live:` runs `penstock serve` on a free port."""

    @contextmanager
    def start(*options: str, home: Path | None = None, **env: str) -> Iterator[Live]:
        home = home or tmp_path / "live"
        port = free_port()
        command = [sys.executable, "-m", "penstock", "serve", "--port", str(port), *options]
        log = tmp_path / f"serve-{port}.log"
        with log.open("w") as sink:
            process = subprocess.Popen(
                command,
                env={**os.environ, "PENSTOCK_HOME": str(home), "PENSTOCK_ADMIN_KEY": ADMIN, **env},
                stdout=sink,
                stderr=sink,
                text=True,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(url, process, log)
            yield Live(url, home, process, log.read_text())
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)

    return start


@pytest.fixture
def live_server(serve) -> Iterator[Live]:
    """One server in a process of its own."""
    with serve() as live:
        yield live


def wait_until_ready(url: str, process: subprocess.Popen[str], log: Path) -> None:
    """Return when the server answers; fail with its output when it ends or takes too long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            process_wait(process, 0.05)
    raise AssertionError(f"{url} was not ready in time: {log.read_text()}")


def process_wait(process: subprocess.Popen[str], seconds: float) -> None:
    """Wait for a process to end, for a moment."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return
