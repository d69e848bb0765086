"""Which processes `penstock services` started, so that it ends these and no others.

A process is known by its number and the moment it began: numbers are used again, by strangers. One
JSON file per process in `services/` of the data folder; what is signalled is looked at first,
through a handle that stays with the process (pidfd) where the system has one.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

import click
import msgspec

from penstock.cli.failure import Failure

Kind = Literal["proxy", "api", "beat", "worker", "flower"]

FOLDER: Final = "services"  # in the data folder
_LOCK_SECONDS: Final = 1.0
_GONE: Final = ("Z", "X")  # states of a process that has ended and is not yet forgotten


class Record(msgspec.Struct, frozen=True):
    """One process that was started here."""

    name: str  # "api-1"
    kind: Kind
    pid: int
    began: str  # what tells this process from a later one of the same number
    started_at: int  # milliseconds since 1970
    command: tuple[str, ...]
    log: str
    port: int | None = None


class Ledger:
    """The records of one data folder."""

    def __init__(self, home: Path) -> None:
        self.folder = home.absolute() / FOLDER

    def records(self) -> list[Record]:
        """What was started and not stopped, alive or not, by name."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            with suppress(OSError, msgspec.MsgspecError):
                found.append(msgspec.json.decode(path.read_bytes(), type=Record))
        return found

    def alive(self) -> dict[str, Record]:
        """The records of processes that live, by name."""
        return {each.name: each for each in self.records() if is_alive(each)}

    def write(self, record: Record) -> None:
        """Keep a record; whole or not at all."""
        path = self._path(record.name)
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        new.replace(path)

    def forget(self, name: str) -> None:
        """Drop a record."""
        self._path(name).unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other calls from starting and stopping meanwhile. Raises Failure."""
        from filelock import FileLock, Timeout

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / "lock", timeout=_LOCK_SECONDS):
                yield
        except Timeout as error:
            raise Failure(
                "another penstock services is at work on this data folder",
                fix="wait until it has ended, then repeat",
            ) from error

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def told(record: Record) -> str:
    """A process in words: what to look for in `ps`."""
    port = f", port {record.port}" if record.port else ""
    return f"{record.name} (pid {record.pid}{port})"


def running(home: Path) -> str:
    """The processes of a data folder that live, in words; empty when none does.

    Of what somebody started without `penstock services` nothing is on record.
    """
    return ", ".join(told(each) for each in Ledger(home).alive().values())


def warn_if_running(home: Path, what: str) -> None:
    """Say on standard error which processes live, and `what` that means for who works beside them.

    Nothing is said when none does.
    """
    if found := running(home):
        click.echo(f"warning: at work now: {found}; {what}", err=True)


def launch(command: Sequence[str], *, log: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    """Start a process that outlives this one; its number and when it began."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=dict(environ),
            start_new_session=True,  # signals of this terminal are not for it
        )
    began = identity(process.pid)
    process.returncode = 0  # it is not waited for here: Popen need not warn about it
    return process.pid, began or ""


def identity(pid: int) -> str | None:
    """When the process began, as the system tells it; None when none of this number lives."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.parent.parent.joinpath("self").exists():  # no /proc: macOS
        return _identity_by_ps(pid)
    try:
        # The second field, the program's name, may hold blanks and brackets.
        fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None
    return None if fields[0] in _GONE else f"{boot}/{fields[19]}"


def is_alive(record: Record) -> bool:
    """Whether the very process of the record lives."""
    return bool(record.began) and identity(record.pid) == record.began


def send(record: Record, number: signal.Signals, *, group: bool = False) -> bool:
    """Signal the very process of the record, or it and its children; whether it lived."""
    if not hasattr(os, "pidfd_open"):
        return _send_by_number(record, number, group=group)
    try:
        handle = os.pidfd_open(record.pid)
    except OSError:
        return False
    try:
        # The handle was taken first: if it is ours now, it is ours when the signal arrives.
        if not is_alive(record):
            return False
        if group:
            os.killpg(record.pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def ended(record: Record, *, within: float) -> bool:
    """Whether the process of the record is gone within so many seconds."""
    if hasattr(os, "pidfd_open"):
        try:
            handle = os.pidfd_open(record.pid)
        except OSError:
            return True
        try:
            if is_alive(record):
                select.select([handle], [], [], within)  # readable when it has ended
        finally:
            os.close(handle)
        return not is_alive(record)
    for _ in range(int(within * 10)):
        if not is_alive(record):
            return True
        select.select([], [], [], 0.1)
    return not is_alive(record)


def _send_by_number(record: Record, number: signal.Signals, *, group: bool) -> bool:
    if not is_alive(record):
        return False
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(record.pid, number)
        return True
    return False


def _identity_by_ps(pid: int) -> str | None:
    asked = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    return None if not found or found[0][0] in _GONE else " ".join(found[1:])
