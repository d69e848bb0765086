"""`penstock services` with real processes: two servers, two workers, nginx in front."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from penstock.cli.services_ledger import Ledger, is_alive
from tests.cli.conftest import VARIABLES
from tests.conftest import ADMIN, free_port

pytestmark = pytest.mark.slow

PATIENCE = 120.0
CALLERS = 4
Call = Callable[..., subprocess.CompletedProcess[str]]


class House(NamedTuple):
    """A data folder whose processes run."""

    home: Path
    url: str
    call: Call
    started: str

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home)

    def pids(self) -> dict[str, int]:
        return {each.name: each.pid for each in self.ledger.records()}


def environment(home: Path, **more: str) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    keys = {"PENSTOCK_HOME": str(home), "PENSTOCK_ADMIN_KEY": ADMIN, "no_proxy": "*"}
    return {**known, **keys, **more}


def caller(home: Path, **more: str) -> Call:
    """Calls the command as a user does, in a process of its own."""

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "penstock", "services", *args],
            env=environment(home, **more),
            cwd=home.parent,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return call


def kill_all(home: Path) -> None:
    for record in Ledger(home).records():
        if is_alive(record):
            os.killpg(record.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """What the documented command starts, on free ports."""
    home = tmp_path_factory.mktemp("house") / "home"
    call = caller(home)
    ports = ",".join(str(free_port()) for _ in range(2))
    proxy = free_port()
    options = ("--servers", "2", "--ports", ports, "--workers", "2", "--proxy", str(proxy))
    try:
        done = call("start", *options)
        assert done.returncode == 0, done.stderr
        yield House(home, f"http://127.0.0.1:{proxy}", call, done.stdout)
    finally:
        kill_all(home)


def test_one_command_starts_two_servers_and_two_workers_behind_a_proxy(house: House):
    assert set(house.pids()) == {"api-1", "api-2", "worker-1", "worker-2", "proxy"}
    assert f"on {house.url}, described at {house.url}/docs" in house.started
    assert httpx.get(f"{house.url}/livez").json() == {"status": "alive"}


def test_status_tells_of_each_process_and_queue(house: House):
    done = house.call("status", "--json")

    told = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert {each["name"]: each["state"] for each in told["processes"]} == dict.fromkeys(
        house.pids(), "healthy"
    )
    assert {each["name"] for each in told["queues"]} >= {"default", "maintenance"}


def test_a_job_makes_its_round_trip_through_every_queue(house: House):
    done = house.call("test", "--json")

    trips = json.loads(done.stdout)
    workers = {house.pids()["worker-1"], house.pids()["worker-2"]}
    assert done.returncode == 0, done.stdout
    assert len(trips) == 5
    assert {int(re.findall(r"pid (\d+)", trip["where"])[0]) for trip in trips} <= workers


def test_the_log_of_a_queue_tells_of_its_jobs(house: House):
    house.call("test", "analytics")

    done = house.call("logs", "analytics")

    assert re.search(r"analytics job_\w+ ping completed after", done.stdout)
    assert " notifications job_" not in done.stdout


def test_the_log_of_all_names_the_process_of_each_line(house: House):
    done = house.call("logs", "--lines", "5")

    assert {line.partition(":")[0] for line in done.stdout.splitlines()} >= {"api-1", "worker-2"}


def test_the_monitor_tells_of_a_job_as_it_ends(house: House):
    watching = subprocess.Popen(
        [sys.executable, "-u", "-m", "penstock", "services", "monitor"],
        env=environment(house.home),
        cwd=house.home.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    assert watching.stderr is not None
    try:
        assert "watching" in watching.stderr.readline()
        house.call("test", "notifications")
        line = watching.stdout.readline()
        while "completed" not in line:
            assert line, watching.stderr.read()
            line = watching.stdout.readline()
        assert " notifications job_" in line
    finally:
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE) == 0
        watching.stdout.close()
        watching.stderr.close()


class Load:
    """Callers with open connections who ask again as soon as they are answered."""

    def __init__(self, url: str, *, callers: int = CALLERS) -> None:
        self._url = url
        self._callers = callers
        self._over = asyncio.Event()
        self.answers: Counter[str] = Counter()

    async def run(self, until: asyncio.Future[Any]) -> None:
        until.add_done_callback(lambda _: self._over.set())
        await asyncio.gather(*(self._caller(number) for number in range(self._callers)))

    async def _caller(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(base_url=self._url, headers=headers, timeout=30.0) as client:
            turn = 0
            while not self._over.is_set():
                turn += 1
                try:
                    if turn % 4 == 0:
                        answer = await client.get("/v1/models")
                    else:
                        body = {"input": f"caller {number} asks for the {turn}th time"}
                        answer = await client.post("/v1/moderations", json=body)
                except httpx.HTTPError as error:
                    self.answers[f"{turn % 4 == 0} {error!r}"] += 1
                else:
                    self.answers[str(answer.status_code)] += 1


async def test_a_rolling_restart_under_load_fails_no_request(house: House):
    before = house.pids()
    restart = asyncio.ensure_future(asyncio.to_thread(house.call, "restart", "api"))
    load = Load(house.url)

    await load.run(restart)

    done = await restart
    after = house.pids()
    assert done.returncode == 0, done.stderr
    assert set(load.answers) == {"200"}, load.answers
    assert load.answers["200"] > 100
    assert {name for name in before if after[name] != before[name]} == {"api-1", "api-2"}


def test_a_dead_server_is_told_the_other_one_serves_and_start_starts_it_alone(house: House):
    before = house.ledger.alive()
    os.killpg(before["api-1"].pid, signal.SIGKILL)
    ports = ",".join(str(record.port) for record in before.values() if record.kind == "api")
    proxy = house.url.rpartition(":")[2]

    answers = {httpx.get(f"{house.url}/livez").status_code for _ in range(6)}
    told = house.call("status")
    again = house.call("start", "--ports", ports, "--workers", "2", "--proxy", proxy)

    assert answers == {200}
    assert told.returncode == 1
    assert re.search(r"api-1 .* dead", told.stdout)
    after = house.pids()
    assert again.returncode == 0, again.stderr
    assert {name for name in after if after[name] != before[name].pid} == {"api-1"}


def test_stop_ends_all_of_them_and_no_process_of_the_same_name(house: House):
    stranger = subprocess.Popen(  # what a search for names would find
        [sys.executable, "-c", "import sys; sys.stdin.read()", "-m", "penstock", "worker"],
        stdin=subprocess.PIPE,
    )
    try:
        before = house.ledger.records()

        done = house.call("stop")

        assert done.returncode == 0, done.stderr
        assert not [each.name for each in before if is_alive(each)]
        assert not house.ledger.records()
        assert "killed" not in done.stdout
        assert stranger.poll() is None
        assert "nothing was running" in house.call("stop").stdout
    finally:
        stranger.communicate(timeout=PATIENCE)
