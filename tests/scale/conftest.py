"""Several machines in small: processes with folders of their own that share servers alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.rigs.servers import PostgresServer, RedisServer
from tests.conftest import ADMIN, PATIENCE, free_port, wait_until_ready

QUEUES = "default,conversations,analytics,notifications,maintenance"


@dataclass
class Cluster:
    """What is shared, and how members are started."""

    redis: RedisServer
    postgres: PostgresServer
    folder: Path
    env: dict[str, str]
    members: ExitStack

    def server(self, name: str, **env: str) -> httpx.Client:
        """A client, with the admin key, of a new API server with a folder of its own."""
        port = free_port()
        command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
        process, log = self.start(name, command, **env)
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log)
        headers = {"Authorization": f"Bearer {ADMIN}"}
        return self.members.enter_context(
            httpx.Client(base_url=url, headers=headers, timeout=PATIENCE)
        )

    def celery(self, name: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """One of Celery's own commands on our application."""
        command = [sys.executable, "-m", "celery", "-A", "penstock.celery_app", *arguments]
        return self.start(name, command, **env)[0]

    def start(
        self, name: str, command: list[str], **env: str
    ) -> tuple[subprocess.Popen[str], Path]:
        """A process with a folder of its own, ended with the cluster."""
        home, log = self.folder / name, self.folder / f"{name}.log"
        with log.open("w") as sink:
            process = subprocess.Popen(
                command,
                env={**self.env, "PENSTOCK_HOME": str(home), **env},
                stdout=sink,
                stderr=sink,
                text=True,
            )
        self.members.callback(_end, process)
        return process, log


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Redis, PostgreSQL and the settings of those who share them."""
    with RedisServer() as redis, PostgresServer("fsync=off") as postgres, ExitStack() as members:
        known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env = {
            **known,
            "PENSTOCK_ADMIN_KEY": ADMIN,
            "PENSTOCK_LOG_LEVEL": "warning",
            "PENSTOCK_TASKS": "celery",
            "REDIS_URL": redis.url,
            "PENSTOCK_DATABASE_URL": postgres.database(),
        }
        folder = tmp_path_factory.mktemp("cluster")
        yield Cluster(redis, postgres, folder, env, members)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
