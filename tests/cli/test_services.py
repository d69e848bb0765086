"""`penstock services` with real processes: two servers, a worker, nginx in front.

One test: what is started costs most of its time, and tests of a module may run in several processes
at once, each of which would start it all. Restarts under load are a drill (test_rolling_restart).
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from penstock.cli.services_ledger import Ledger, is_alive
from tests.cli.conftest import VARIABLES
from tests.conftest import ADMIN, free_port

pytestmark = pytest.mark.slow

PATIENCE = 120.0
Call = Callable[..., subprocess.CompletedProcess[str]]


class House(NamedTuple):
    """A data folder whose processes run."""

    home: Path
    url: str
    call: Call

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home)

    def pids(self) -> dict[str, int]:
        return {each.name: each.pid for each in self.ledger.records()}

    def well(self, *args: str) -> str:
        """What a command prints that ends well."""
        done = self.call(*args)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


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


def test_every_verb_on_two_servers_and_a_worker_behind_a_proxy(tmp_path: Path):
    home, proxy = tmp_path / "home", free_port()
    house = House(home, f"http://127.0.0.1:{proxy}", caller(home))
    ports = ",".join(str(free_port()) for _ in range(2))
    try:
        told = house.well("start", "--ports", ports, "--workers", "1", "--proxy", str(proxy))
        assert f"on {house.url}, described at {house.url}/docs" in told
        assert set(house.pids()) == {"api-1", "api-2", "worker-1", "proxy"}
        assert httpx.get(f"{house.url}/livez").json() == {"status": "alive"}
        status_tells_of_each_process_and_queue(house)
        the_monitor_tells_of_a_job_as_it_makes_its_round_trip(house)
        logs_tell_of_all_and_of_one_queue(house)
        a_worker_is_restarted_alone(house)
        a_dead_server_is_told_and_a_plain_start_brings_it_back(house)
        stop_ends_all_and_no_process_of_the_same_name(house)
    finally:
        kill_all(home)


def status_tells_of_each_process_and_queue(house: House) -> None:
    told = json.loads(house.well("status", "--json"))

    assert {each["name"]: each["state"] for each in told["processes"]} == dict.fromkeys(
        house.pids(), "healthy"
    )
    assert {each["name"] for each in told["queues"]} >= {"default", "maintenance"}


def the_monitor_tells_of_a_job_as_it_makes_its_round_trip(house: House) -> None:
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

        trips = json.loads(house.well("test", "--json"))

        pids = {int(re.findall(r"pid (\d+)", trip["where"])[0]) for trip in trips}
        assert (len(trips), pids) == (5, {house.pids()["worker-1"]})
        line = watching.stdout.readline()
        while "completed" not in line:
            assert line, watching.stderr.read()
            line = watching.stdout.readline()
        assert re.search(r" job_\w+ ping completed after", line)
    finally:
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE) == 0
        watching.stdout.close()
        watching.stderr.close()


def logs_tell_of_all_and_of_one_queue(house: House) -> None:
    every, one = house.well("logs", "--lines", "5"), house.well("logs", "analytics")

    assert {line.partition(":")[0] for line in every.splitlines()} >= {"api-1", "worker-1"}
    assert re.search(r"analytics job_\w+ ping completed after", one)
    assert " notifications job_" not in one


def a_worker_is_restarted_alone(house: House) -> None:
    before = house.pids()

    house.well("restart", "worker")

    after = house.pids()
    assert {name for name in before if after[name] != before[name]} == {"worker-1"}


def a_dead_server_is_told_and_a_plain_start_brings_it_back(house: House) -> None:
    """The other one serves meanwhile. Without options it is what was started last."""
    before = house.ledger.alive()
    os.killpg(before["api-1"].pid, signal.SIGKILL)

    answers = {httpx.get(f"{house.url}/livez").status_code for _ in range(6)}
    told = house.call("status")
    again = house.well("start")

    after = house.pids()
    assert answers == {200}
    assert told.returncode == 1
    assert re.search(r"api-1 .* dead", told.stdout)
    assert re.search(
        rf"api-1 \(pid {before['api-1'].pid}, port \d+\) died; .*api-1.log:\n  \S", told.stdout
    )
    assert "api-2 (pid" not in told.stdout
    assert {name for name in after if after[name] != before[name].pid} == {"api-1"}
    assert f"on {house.url}," in again
    assert "runs already" not in again


def stop_ends_all_and_no_process_of_the_same_name(house: House) -> None:
    stranger = subprocess.Popen(  # what a search for names would find
        [sys.executable, "-c", "import sys; sys.stdin.read()", "-m", "penstock", "worker"],
        stdin=subprocess.PIPE,
    )
    try:
        before = house.ledger.records()

        told = house.well("stop")

        assert not [each.name for each in before if is_alive(each)]
        assert not house.ledger.records()
        assert "killed" not in told
        assert stranger.poll() is None
        assert "nothing was running" in house.well("stop")
    finally:
        stranger.communicate(timeout=PATIENCE)
