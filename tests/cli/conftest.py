from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock.cli import root
from penstock.observe import logging
from penstock.settings import Settings, names_of

PATIENCE = 120.0  # seconds until a process that hangs is killed
VARIABLES = [name for field in Settings.model_fields.values() for name in names_of(field)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in and a data folder that does not exist yet."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # also puts back what `serve` sets
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")  # what is asked here is on this machine
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "home"
    logging.shutdown()  # what --debug began


@pytest.fixture
def run() -> Callable[..., Result]:
    def invoke(*args: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(root, args, input=stdin, prog_name="penstock")

    return invoke


@pytest.fixture
def run_json(run: Callable[..., Result]) -> Callable[..., Any]:
    def invoke(*args: str, stdin: str | None = None) -> Any:
        result = run(*args, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return invoke


class Server:
    """A `penstock serve` of its own process."""

    def __init__(self, home: Path, *args: str, program: tuple[str, ...] = ("-m", "penstock")):
        known = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self.process = subprocess.Popen(
            [sys.executable, *program, *args, "--port", "0", "--home", str(home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home.parent,
            env=known,
            start_new_session=True,  # so that its workers can be ended with it
        )
        self.printed = ""
        self.logged = ""
        self._alarm = threading.Timer(PATIENCE, self.kill)
        self._alarm.start()

    def wait_for(self, event: str, times: int = 1) -> None:
        """Read the log until it tells of an event."""
        assert self.process.stderr is not None
        while self.logged.count(event) < times:
            line = self.process.stderr.readline()
            assert line, f"the server ended: {self.logged}"
            self.logged += line

    def read_line(self) -> str:
        """The next line of standard output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.printed += line
        return line

    def stop(self, number: signal.Signals) -> int:
        """Send a signal, read all that is left, and return the exit code."""
        self.process.send_signal(number)
        return self.finish()

    def kill(self) -> None:
        """End it and its workers at once, whatever they do."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def finish(self) -> int:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with self.process.stdout as stdout, self.process.stderr as stderr:
            self.logged += stderr.read()
            self.printed += stdout.read()
        code = self.process.wait()
        self._alarm.cancel()
        return code


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(home: Path, *args: str, **options: Any) -> Server:
        started.append(Server(home, *args, **options))
        return started[-1]

    yield start
    for server in started:
        server.kill()
        if server.process.returncode is None:
            server.finish()
