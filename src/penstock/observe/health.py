"""How the installation is: checks that are asked at once, and what the machine has left.

A check never makes the report fail: one that raises or does not answer in time is degraded itself,
or what it was added as. Thresholds, scores and alerts are not here.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from penstock.clock import Clock, SystemClock
from penstock.errors import PenstockError
from penstock.observe.logging import get_logger

Status = Literal["healthy", "degraded", "unhealthy"]

CHECK_TIMEOUT: Final = 2.0  # seconds
SILENT: Final = "see whether it is overloaded or cut off"
_ORDER: Final[tuple[Status, ...]] = ("healthy", "degraded", "unhealthy")

_log = get_logger(__name__)


class CheckResult(msgspec.Struct, frozen=True):
    """What one check found, and what to do about it."""

    status: Status
    detail: str = ""
    fix: str = ""


class Health(msgspec.Struct, frozen=True):
    """The report: as bad as its worst check."""

    status: Status
    checks: dict[str, CheckResult]


Check = Callable[[], Awaitable[CheckResult]]


class HealthChecks:
    """The checks of one runtime, by name."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._checks: dict[str, tuple[Check, Status]] = {}
        self._monotonic = (clock or SystemClock()).monotonic
        self._last: tuple[float, Health] | None = None

    def add(self, name: str, check: Check, *, failing: Status = "degraded") -> None:
        """Ask `check` from now on; one of the same name is replaced.

        `failing` is what it means that it raises or does not answer: "unhealthy" for a part without
        which no answers go on, however it went away.
        """
        self._checks[name] = check, failing

    async def run(self, *, within: float = CHECK_TIMEOUT) -> Health:
        """Ask all checks at once, each for at most `within` seconds."""
        async with asyncio.TaskGroup() as group:
            asked = {
                name: group.create_task(_asked(name, check, failing, within))
                for name, (check, failing) in self._checks.items()
            }
        checks = {name: task.result() for name, task in asked.items()}
        worst = max((_ORDER.index(result.status) for result in checks.values()), default=0)
        health = Health(_ORDER[worst], checks)
        self._last = (self._monotonic(), health)
        return health

    async def recent(self, *, seconds: float = 1.0) -> Health:
        """What was found up to `seconds` ago, else a new run: for callers whom nobody knows."""
        if self._last is not None and self._monotonic() - self._last[0] < seconds:
            return self._last[1]
        return await self.run()


async def _asked(name: str, check: Check, failing: Status, within: float) -> CheckResult:
    try:
        async with asyncio.timeout(within):
            return await check()
    except TimeoutError:
        return CheckResult(failing, f"did not answer within {within:g} s", SILENT)
    except PenstockError as error:
        return CheckResult(failing, error.detail)
    except Exception as error:
        _log.exception("health.check_failed", check=name)
        return CheckResult(failing, f"the check failed: {type(error).__name__}")


class SystemUsage(msgspec.Struct, frozen=True):
    """What the machine and this process use; None where the system does not tell."""

    cpu_ratio: float  # of all cores, since the reader was last asked
    cpu_count: int
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    disk_used_bytes: int
    disk_total_bytes: int
    process_memory_bytes: int
    source: str  # which reader told


class Reader(Protocol):
    """Where the figures come from."""

    name: str

    def cpu_ratio(self) -> float:
        """Share of all cores' time that was busy since the last call, 0..1."""

    def memory(self) -> tuple[int | None, int | None]:
        """Bytes used and bytes there are."""

    def process_memory(self) -> int:
        """Resident bytes of this process."""


def open_reader() -> Reader:
    """Return the reader for this machine: psutil where it is installed, else the system's files."""
    return PsutilReader() if find_spec("psutil") else SystemReader()


def system_usage(reader: Reader, *, folder: Path) -> SystemUsage:
    """Read the machine's figures; the disk is the one that `folder` is on."""
    used, total = reader.memory()
    disk = shutil.disk_usage(folder)
    return SystemUsage(
        cpu_ratio=round(min(1.0, max(0.0, reader.cpu_ratio())), 3),
        cpu_count=os.cpu_count() or 1,
        memory_used_bytes=used,
        memory_total_bytes=total,
        disk_used_bytes=disk.used,
        disk_total_bytes=disk.total,
        process_memory_bytes=reader.process_memory(),
        source=reader.name,
    )


class PsutilReader:
    """Exact on every system; needs the extra `system`."""

    name = "psutil"

    def __init__(self) -> None:
        self._psutil = import_module("psutil")
        self._process = self._psutil.Process()
        self._psutil.cpu_percent(interval=None)  # the first call has nothing to compare with

    def cpu_ratio(self) -> float:
        return float(self._psutil.cpu_percent(interval=None)) / 100.0

    def memory(self) -> tuple[int | None, int | None]:
        found = self._psutil.virtual_memory()
        return found.total - found.available, found.total

    def process_memory(self) -> int:
        return int(self._process.memory_info().rss)


class SystemReader:
    """Linux' /proc; elsewhere the load average and the peak memory that POSIX knows."""

    name = "system"

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._busy, self._all = self._ticks()

    def cpu_ratio(self) -> float:
        busy, total = self._ticks()
        spent, passed = busy - self._busy, total - self._all
        self._busy, self._all = busy, total
        if passed > 0:
            return spent / passed
        return os.getloadavg()[0] / (os.cpu_count() or 1)

    def memory(self) -> tuple[int | None, int | None]:
        lines = (line.split() for line in self._lines("meminfo"))
        found = {words[0]: int(words[1]) << 10 for words in lines if len(words) > 1}
        total, free = found.get("MemTotal:"), found.get("MemAvailable:")
        return (None if total is None or free is None else total - free), total

    def process_memory(self) -> int:
        for line in self._lines("self/statm"):
            return int(line.split()[1]) * resource.getpagesize()
        unit = 1 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def _ticks(self) -> tuple[int, int]:
        """Busy and all ticks since the start (proc(5): user nice system idle iowait ...)."""
        for line in self._lines("stat"):
            ticks = [int(word) for word in line.split()[1:9]]
            return sum(ticks) - sum(ticks[3:5]), sum(ticks)
        return 0, 0

    def _lines(self, name: str) -> list[str]:
        try:
            return (self._proc / name).read_text().splitlines()
        except OSError:
            return []
