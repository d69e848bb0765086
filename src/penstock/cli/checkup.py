"""The checks of `penstock doctor`. They change nothing but a file that is written and removed.

Each stands alone, because what is broken is often what the others need: no runtime is opened.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from penstock.cli import port as ports
from penstock.cli.failure import Failure, split
from penstock.cli.output import size
from penstock.cli.serve import base_url, check_exposure
from penstock.clock import SystemClock
from penstock.errors import PenstockError
from penstock.settings import LoadedSettings, Settings, load_settings

OLDEST_PYTHON = (3, 11)
LITTLE_DISK = 1 << 30
NO_DISK = 100 << 20
BUILT = 1_767_225_600  # 2026-01-01: no clock that is right tells an earlier time
DAY = 86400.0


class Finding(msgspec.Struct, frozen=True):
    """What one check found."""

    name: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    fix: str = ""


Check = Callable[[Settings], Iterator[Finding]]


def examine() -> Iterator[Finding]:
    """Run every check, in the order in which faults explain one another."""
    yield python()
    try:
        loaded = load_settings()
    except PenstockError as error:
        yield Finding("settings", "failed", error.detail, "correct the variable, or unset it")
        return
    yield from settings_warnings(loaded)
    from penstock.cli.checkparts import cache_tiers, database, model, policy, provider

    checks: tuple[Check, ...] = (
        *(home, disk_space, clock, database, cache_tiers, policy, model, provider, port),
    )
    for check in checks:
        yield from _guarded(check, loaded.settings)


def python() -> Finding:
    """Whether this Python is one that Penstock runs on."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "failed", f"{found} is too old", "install Python 3.11 or later")
    return Finding("python", "ok", found)


def settings_warnings(loaded: LoadedSettings) -> Iterator[Finding]:
    """What the settings themselves say against them."""
    fix = "correct the environment or .env"
    faults = [Finding("settings", "warning", warning, fix) for warning in loaded.warnings]
    settings = loaded.settings
    try:
        check_exposure(settings)
    except Failure as failure:
        faults.append(Finding("settings", "failed", failure.message, failure.fix))
    else:
        if settings.auth == "off":
            detail = "authentication is off: every program on this machine is an administrator"
            faults.append(Finding("settings", "warning", detail, "set PENSTOCK_AUTH=on"))
    yield from faults or [Finding("settings", "ok", "no contradiction")]


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


def _guarded(check: Check, settings: Settings) -> Iterator[Finding]:
    """One check; what it raises is what it found."""
    name = check.__name__.replace("_", " ")
    try:
        yield from check(settings)
    except PenstockError as error:
        what, fix = split(error)
        yield Finding(name, "failed", what, fix)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        yield Finding(name, "failed", f"the check failed: {type(error).__name__}: {error}")
