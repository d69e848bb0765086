"""Runs `docs/walkthrough.md`, line by line, and looks after each step what came along."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.rigs.servers import PostgresServer, RedisServer, wait_until
from tests.conftest import free_port

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "walkthrough.md"
ADMIN = "an-admin-key-of-thirty-two-characters-or-more"
TEXT = "Have a lovely day, everyone."


class Shell:
    """One bash that stays open, so that what the page exports holds for the rest of it."""

    def __init__(self, folder: Path, addresses: dict[str, str]) -> None:
        self.folder = folder
        self.addresses = addresses
        known = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
        self._env = {**known, "PATH": path, "PENSTOCK_PORT": addresses["8000"]}

    def run(self, script: str) -> str:
        """Run lines; what they printed. Fails with it when one of them fails."""
        for example, real in self.addresses.items():
            script = script.replace(example, real)
        done = subprocess.run(
            ["bash", "-e", "-c", f"{script}\nenv -0 > env.bin"],
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}\n{self._logs()}"
        pairs = (self.folder / "env.bin").read_text().split("\0")
        self._env = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return done.stdout

    def _logs(self) -> str:
        logs = sorted((self.folder / ".penstock" / "logs").rglob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in logs)


@pytest.fixture
def shell(tmp_path: Path, redis: RedisServer, postgres: Any) -> Iterator[Shell]:
    addresses = {
        "redis://127.0.0.1:6379": redis.url.rpartition("/")[0],
        "postgresql://penstock@127.0.0.1/penstock": postgres.url,
        "8000": str(free_port(span=2)),  # of two servers
        "8080": str(free_port()),
    }
    shell = Shell(tmp_path, addresses)
    yield shell
    shell.run("penstock services stop")


def steps() -> dict[str, str]:
    """The commands of each section."""
    parts = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {
        part.partition("\n")[0]: "\n".join(re.findall(r"```sh\n(.*?)```", part, re.DOTALL))
        for part in parts
    }


def test_every_step_of_the_walkthrough_carries_everything_along(
    shell: Shell, postgres: Any
) -> None:
    assert isinstance(postgres.server, PostgresServer)
    sections = steps()
    one, redis, celery, records, change = sections.values()
    direct, proxy = shell.addresses["8000"], shell.addresses["8080"]

    shell.run(one)
    known = _known(shell)
    with _client(direct) as client:
        assert known["source"] == "local"
        _assert_all_there(client, known)

    shell.run(redis)
    with _client(direct) as client:
        # Another clock: what the folder remembered cannot be told from what was cleared meanwhile.
        assert _assert_all_there(client, known) == "local"

    shell.run(celery)
    with _client(proxy) as client:
        assert _assert_all_there(client, known) in ("disk", "redis", "memory")

    assert "verdicts" in shell.run(records)
    with _client(proxy) as client:
        _assert_all_there(client, known)

    shell.run(change)
    with pytest.raises(httpx.TransportError), _client(proxy) as client:
        client.get("/livez")


def _client(port: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)


def _known(shell: Shell) -> dict[str, str]:
    """What the first step made."""
    first = json.loads((shell.folder / "first.json").read_text())["results"][0]["penstock"]
    return {
        "verdict": first["id"],
        "source": first["receipt"]["source"],
        "batch": json.loads((shell.folder / "batch.json").read_text())["id"],
        "token": json.loads((shell.folder / "key.json").read_text())["token"],
    }


def _assert_all_there(client: httpx.Client, known: dict[str, str]) -> str:
    """The verdict, the key and the batch are there; where the known text's answer came from."""
    again = client.post("/v1/moderations", json={"input": TEXT}).json()["results"][0]["penstock"]
    assert again["id"] == known["verdict"]
    assert client.get(f"/v1/verdicts/{known['verdict']}").json()["id"] == known["verdict"]
    shop = {"Authorization": f"Bearer {known['token']}"}
    assert client.get("/v1/keys/current", headers=shop).json()["role"] == "operator"

    def is_done() -> bool:
        batch = client.get(f"/v1/batches/{known['batch']}").json()
        return bool(batch["status"] == "completed" and batch["request_counts"]["completed"] == 2)

    wait_until(is_done)
    source: str = again["receipt"]["source"]
    return source
