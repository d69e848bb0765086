"""Three processes on one file, one of them killed: every tick once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.tasks.schedule.declared import tasks

SCRIPT = Path(__file__).with_name("declared.py")
PATIENCE = 60.0

pytestmark = pytest.mark.slow


def test_three_processes_fire_every_tick_once_though_one_is_killed(tmp_path: Path):
    path = tmp_path / "tasks.db"

    with ExitStack() as stack:
        processes = [start(path, stack) for _ in range(3)]
        wait_until(lambda: least(path) >= 3, processes)
        processes.pop().kill()
        processes.append(start(path, stack))
        wait_until(lambda: least(path) >= 6, processes)

    fired = ticks(path)
    assert len(fired) == 20
    for task in tasks():
        for tick, following in zip(fired[task.name], fired[task.name][1:], strict=False):
            assert following == task.schedule.next_after(tick)
    assert jobs(path) == {name: len(found) for name, found in fired.items()}


def start(path: Path, stack: ExitStack) -> subprocess.Popen[str]:
    """A process that fires and runs; ready on return, killed when the stack unwinds."""
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(path)], stdout=subprocess.PIPE, text=True
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def wait_until(done: Callable[[], bool], processes: list[subprocess.Popen[str]]) -> None:
    """Return when it is so; fail when a process ends or it takes too long."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        for process in processes:
            assert process.poll() is None
        try:
            processes[0].wait(0.1)
        except subprocess.TimeoutExpired:
            continue


def ticks(path: Path) -> dict[str, list[int]]:
    """The ticks that were fired, in order."""
    found: dict[str, list[int]] = {}
    for name, tick in rows(path, "SELECT name, tick_ms FROM fired ORDER BY name, tick_ms"):
        found.setdefault(name, []).append(tick)
    return found


def least(path: Path) -> int:
    """How many ticks the schedule has that has the fewest."""
    found = ticks(path)
    return min(map(len, found.values())) if len(found) == 20 else 0


def jobs(path: Path) -> Counter[str]:
    """How many jobs each task got."""
    return Counter(task for (task,) in rows(path, "SELECT task FROM job"))


def rows(path: Path, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        return connection.execute(sql).fetchall()
