"""Each role's own command, as the image and the compose files run it, on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import ADMIN, free_port, wait_until_ready

pytestmark = pytest.mark.slow

DEPLOY = Path(__file__).parents[2] / "deploy"
PATIENCE = 60.0
Start = Callable[..., "Role"]


class Role:
    """The entry point's process, with what it writes."""

    def __init__(self, *words: str, home: Path, **env: str) -> None:
        self.log = home.with_name(f"{words[0]}.log")
        folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environ = {
            **{name: value for name, value in os.environ.items() if "PENSTOCK" not in name},
            "PATH": folders,
            "PENSTOCK_HOME": str(home),
            "PENSTOCK_ADMIN_KEY": ADMIN,
            "no_proxy": "*",
            "C_FORCE_ROOT": "1",  # tolerated, and needed by nobody
            **env,
        }
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [str(DEPLOY / "entrypoint.sh"), *words],
                env=self.environ,
                cwd=home.parent,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    def wait_for(self, pattern: str) -> None:
        """Until it has written this."""
        for _ in range(int(PATIENCE * 10)):
            if re.search(pattern, self.log.read_text("utf-8", "replace")):
                return
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)
                break
        assert re.search(pattern, self.log.read_text("utf-8", "replace")), self.log.read_text()

    def health(self) -> int:
        """What the image's HEALTHCHECK would say."""
        return subprocess.run(
            [sys.executable, str(DEPLOY / "healthcheck.py")],
            env={**self.environ, "PROBE_PID": str(self.process.pid)},
            cwd=self.log.parent,
            timeout=PATIENCE,
            check=False,
        ).returncode

    def stop(self) -> int:
        """SIGTERM, as a container engine sends it to process 1; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Role] = []

    def run(*words: str, **env: str) -> Role:
        started.append(Role(*words, home=tmp_path / "home", **env))
        return started[-1]

    yield run
    for role in started:
        if role.process.poll() is None:
            os.killpg(role.process.pid, signal.SIGKILL)
            role.process.wait(PATIENCE)


@pytest.fixture
def scaled(redis, postgres) -> dict[str, str]:
    """The variables of compose.scale.yaml."""
    return {
        "REDIS_URL": redis.database(0),
        "CELERY_BROKER_URL": redis.database(1),
        "CELERY_RESULT_BACKEND": redis.database(2),
        "DATABASE_URL": postgres.url,
    }


def test_the_api_answers_is_called_healthy_and_drains(start: Start):
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    role = start("api", PENSTOCK_PORT=str(port), DRAIN_SECONDS="3")
    wait_until_ready(url, role.process, role.log)  # type: ignore[arg-type]

    assert role.health() == 0
    with httpx.Client(base_url=url) as client:
        client.get("/livez")
        role.process.send_signal(signal.SIGTERM)
        role.wait_for("server.draining")
        draining = client.get("/readyz")
    assert (draining.status_code, draining.json()["status"]) == (503, "draining")
    assert draining.headers["connection"] == "close"
    assert role.process.wait(PATIENCE) == 0
    assert role.health() == 1 or role.process.poll() is not None


def test_the_worker_without_a_broker_is_the_embedded_one(start: Start):
    role = start("worker", PENSTOCK_QUEUES="default,maintenance")

    role.wait_for("Penstock worker .* queues: default, maintenance")

    assert role.health() == 0
    assert role.stop() == 0


def test_the_worker_with_a_broker_is_celery_s(start: Start, scaled):
    role = start("worker", CONCURRENCY="1", **scaled)

    role.wait_for(r"celery@\S+ ready")

    assert role.health() == 0
    assert role.stop() == 0


def test_beat_starts(start: Start, scaled):
    role = start("beat", **scaled)

    role.wait_for("beat: Starting")

    assert role.health() == 0
    assert role.stop() == 0


def test_flower_asks_who_looks(start: Start, scaled):
    port = str(free_port())

    refused = start("flower", **scaled)
    assert refused.process.wait(PATIENCE) == 2
    assert "FLOWER_BASIC_AUTH" in refused.log.read_text()
    role = start("flower", FLOWER_PORT=port, FLOWER_BASIC_AUTH="who:secret", **scaled)
    role.wait_for("Visit me at")

    url = f"http://127.0.0.1:{port}/workers"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, auth=("who", "secret")).status_code == 200
    assert role.health() == 0
    assert role.stop() == 0


def test_another_word_is_a_command(start: Start):
    role = start("--version")

    assert role.process.wait(PATIENCE) == 0
    assert role.log.read_text().startswith("penstock ")
