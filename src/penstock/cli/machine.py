"""What `penstock doctor` asks of the machine: Python, folder, disk, clock, port."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from penstock.cli import port as ports
from penstock.cli.failure import Failure
from penstock.cli.finding import Finding
from penstock.cli.output import size
from penstock.cli.serve import base_url
from penstock.clock import SystemClock
from penstock.settings import Settings

OLDEST_PYTHON = (3, 11)
LITTLE_DISK = 1 << 30
NO_DISK = 100 << 20
BUILT = 1_767_225_600  # 2026-01-01: no clock that is right tells an earlier time
DAY = 86400.0


def python() -> Finding:
    """Whether this Python is one that Penstock runs on."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "failed", f"{found} is too old", "install Python 3.11 or later")
    return Finding("python", "ok", found)


def home(settings: Settings) -> Iterator[Finding]:
    """Whether the data folder can be written."""
    folder = settings.home.absolute()
    fix = f"make {folder} writable for this user, or set PENSTOCK_HOME"
    try:
        with tempfile.TemporaryFile(dir=existing(folder)) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Finding("home", "failed", f"{folder} cannot be written: {error.strerror}", fix)
        return
    if not folder.exists():
        yield Finding("home", "ok", f"{folder} does not exist yet; the first start makes it")
        return
    if folder.stat().st_mode & 0o077:
        detail = f"other users may look into {folder}"
        yield Finding("home", "warning", detail, f"chmod 700 {folder}")
        return
    yield Finding("home", "ok", f"{folder} is writable")


def disk_space(settings: Settings) -> Iterator[Finding]:
    """Whether there is room to write."""
    folder = existing(settings.home.absolute())
    free = shutil.disk_usage(folder).free
    detail = f"{size(free)} free on the volume of {folder}"
    fix = "free space, or set PENSTOCK_HOME to another volume"
    if free < NO_DISK:
        yield Finding("disk space", "failed", detail, fix)
    elif free < LITTLE_DISK:
        yield Finding("disk space", "warning", detail, fix)
    else:
        yield Finding("disk space", "ok", detail)


def clock(settings: Settings) -> Iterator[Finding]:
    """Whether the time can be right: expiry of keys and cache entries depends on it."""
    now = SystemClock().now()
    told = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    fix = "set the system clock (for example: timedatectl set-ntp true)"
    if now < BUILT:
        yield Finding("clock", "failed", f"it is {told}, before this version was made", fix)
        return
    files = [path for path in settings.home.glob("*") if path.is_file()]
    newest = max((path.stat().st_mtime for path in files), default=0.0)
    if newest > now + DAY:
        detail = f"it is {told}, but files in the data folder were written after that"
        yield Finding("clock", "failed", detail, fix)
        return
    yield Finding("clock", "ok", told)


def port(settings: Settings) -> Iterator[Finding]:
    """Whether the server's port is free, or Penstock has it."""
    where = f"{settings.host}:{settings.port}"
    try:
        ports.claim(settings.host, settings.port)
    except Failure as failure:
        if ports.speaks_penstock(settings.host, settings.port):
            detail = f"Penstock is serving on {base_url(settings.host, settings.port)}"
            yield Finding("port", "ok", detail)
        else:
            yield Finding("port", "failed", failure.message, failure.fix)
    else:
        yield Finding("port", "ok", f"{where} is free")


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder
