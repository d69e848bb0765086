"""Starts, stops and restarts what `services_plan` names; tells what it does, line by line."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from penstock.cli import services_health as health
from penstock.cli import services_proxy as proxy
from penstock.cli.failure import Failure, exit_code, one_line, split
from penstock.cli.services_ledger import (
    Kind,
    Ledger,
    Record,
    ended,
    is_alive,
    launch,
    running,
    send,
    told,
)
from penstock.cli.services_plan import Service, Wanted, environment, order_of_end, plan
from penstock.clock import SystemClock
from penstock.errors import PenstockError
from penstock.settings import Settings

START_SECONDS: Final = 60.0  # until a process must answer
STOP_SECONDS: Final = 60.0  # for what runs to end, before it is killed
LOOK_SECONDS: Final = 0.1
LAST_WORDS: Final = 10  # lines of what died
LONGEST_LOG: Final = 32 << 20  # bytes after which a start sets a log aside

_POLITE: Final[dict[Kind, signal.Signals]] = {"proxy": signal.SIGQUIT}  # the others: SIGTERM


class Lifecycle:
    """The processes of one data folder."""

    def __init__(
        self, settings: Settings, *, say: Callable[[str], None] = click.echo, patience: float
    ) -> None:
        self._settings = settings
        self._say = say
        self._patience = patience
        self._clock = SystemClock()
        self.ledger = Ledger(settings.home)
        self.folder = self.ledger.folder
        self.logs = settings.logs / "services"

    # --- all of them -----------------------------------------------------------------------------

    def start(self, wanted: Wanted) -> list[Record]:
        """Start what does not live yet; returns what was started, ready. Raises Failure."""
        self._make_folders()
        services = plan(self._settings, wanted, folder=self.folder)
        alive = self.ledger.alive()
        if wanted.proxy is not None:
            self._configure(wanted, alive)
        wanted.save(self.folder)
        with self._left_running():
            started = [self._launch(each) for each in services if each.name not in alive]
            for record in started:
                self._wait_ready(record)
                self._say(f"started {told(record)}")
        return started

    def stop(self, kinds: Iterable[Kind] | None = None) -> list[Record]:
        """End what was started here, all of it or some kinds; returns what lived."""
        records = [each for each in self.ledger.records() if kinds is None or each.kind in kinds]
        stopped: list[Record] = []
        for kind in order_of_end([each.kind for each in records]):
            stopped += self._end([each for each in records if each.kind == kind])
        return stopped

    def restart(self, wanted: Wanted, *, kinds: Collection[Kind] = ()) -> list[Record]:
        """Restart one after another, all or some kinds; behind the proxy no request is lost.

        What is not wanted any more is ended. Raises Failure.
        """
        self._make_folders()
        alive = self.ledger.alive()
        if wanted.proxy is not None:
            self._configure(wanted, alive)
        services = plan(self._settings, wanted, folder=self.folder)
        named = {each.name for each in services}
        restarted: list[Record] = []
        for service in services:
            record = alive.get(service.name)
            if kinds and service.kind not in kinds:
                continue
            if service.kind == "proxy" and record is not None and record.port == service.port:
                continue  # it has read its new configuration, if there is one
            drained = self._drain(service, wanted)
            try:
                if record is not None:
                    self._end([record], quiet=True)
                with self._left_running():
                    new = self._launch(service)
                    self._wait_ready(new)
            finally:
                if drained is not None:
                    drained.unlink(missing_ok=True)
            self._say(f"{'restarted' if record else 'started'} {told(new)}")
            restarted.append(new)
        self._end([each for each in self.ledger.records() if each.name not in named])
        wanted.save(self.folder)
        return restarted

    @contextmanager
    def _left_running(self) -> Iterator[None]:
        """To a failure inside, add what runs nevertheless and how to end it."""
        try:
            yield
        except (Failure, PenstockError) as error:
            what, fix = (error.message, error.fix) if isinstance(error, Failure) else split(error)
            if found := running(self._settings.home):
                left = f"{found} run on: penstock services stop ends them"
                fix = f"{fix}; {left}" if fix else left
            code = error.exit_code if isinstance(error, Failure) else exit_code(error)
            raise Failure(what, fix=fix, exit_code=code) from error

    # --- one of them -----------------------------------------------------------------------------

    def _launch(self, service: Service) -> Record:
        log = self.logs / f"{service.name}.log"
        if log.exists() and log.stat().st_size > LONGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
        pid, began = launch(service.command, log=log, environ=environment(service, self._settings))
        record = Record(
            name=service.name,
            kind=service.kind,
            pid=pid,
            began=began,
            started_at=int(self._clock.now() * 1000),
            command=service.command,
            log=str(log),
            port=service.port,
        )
        self.ledger.write(record)
        return record

    def _wait_ready(self, record: Record) -> None:
        end = self._clock.monotonic() + START_SECONDS
        while self._clock.monotonic() < end:
            if not is_alive(record):
                raise Failure(
                    f"{record.name} ended as soon as it was started: {last_line(Path(record.log))}",
                    fix=f"see {record.log}",
                )
            if self._answers(record):
                return
            select.select([], [], [], LOOK_SECONDS)
        raise Failure(
            f"{record.name} (pid {record.pid}) does not answer after {START_SECONDS:g} s",
            fix=f"see {record.log}, then: penstock services status",
        )

    def _answers(self, record: Record) -> bool:
        match record.kind:
            case "api" | "proxy":
                return health.is_ready(record)
            case "flower":
                return health.flower_answers(record.port or 0)
            case "worker" if self._settings.tasks == "celery":
                return bool(health.celery_answers(self._settings, [record.name], seconds=0.5))
            case "worker":
                return f"Penstock worker {record.pid} " in _written_since(record)
            case _:
                return bool(_written_since(record))

    def _end(self, records: list[Record], *, quiet: bool = False) -> list[Record]:
        """Ask all of them, then wait for each; what does not end is killed, and said."""
        lived = [each for each in records if send(each, _POLITE.get(each.kind, signal.SIGTERM))]
        end = self._clock.monotonic() + self._patience
        for record in lived:
            left = max(0.0, end - self._clock.monotonic())
            if not ended(record, within=left):
                send(record, signal.SIGKILL, group=True)
                ended(record, within=5.0)
                self._say(f"killed {told(record)}: it had not ended after {self._patience:g} s")
            elif not quiet:
                self._say(f"stopped {told(record)}")
        for record in records:
            self.ledger.forget(record.name)
        return lived

    # --- the proxy -------------------------------------------------------------------------------

    def _configure(self, wanted: Wanted, alive: dict[str, Record]) -> None:
        """Write nginx' file; one that runs is told, if it changed."""
        path = self.folder / "nginx.conf"
        text = proxy.configuration(
            self._settings,
            folder=self.folder,
            port=wanted.proxy or 0,
            ports=wanted.ports,
            host=self._settings.host,
        )
        for stale in (self.folder / "drained").glob("*"):
            stale.unlink(missing_ok=True)
        if path.exists() and path.read_text("utf-8") == text:
            return
        path.write_text(text, "utf-8")
        running = alive.get("proxy")
        if running is not None and running.port == wanted.proxy:
            send(running, signal.SIGHUP)

    def _drain(self, service: Service, wanted: Wanted) -> Path | None:
        """Keep requests from a server that is to end, where others take them."""
        if service.kind != "api" or wanted.proxy is None:
            return None
        if len(wanted.ports) < 2:
            self._say("one server alone cannot be replaced without a gap: start two (--servers 2)")
            return None
        path = proxy.drained(self.folder, wanted.ports.index(service.port or 0) + 1)
        path.touch()
        return path

    def _make_folders(self) -> None:
        for each in (self.folder / "drained", self.folder / "tmp", self.logs):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)


def last_line(log: Path) -> str:
    """The last thing that a process wrote, for people."""
    lines = _tail(log).decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:500] if lines else "it wrote nothing"


def last_words(record: Record) -> list[str]:
    """The last lines that a process wrote, for people; none where it wrote nothing."""
    try:
        written = _written_since(record)
    except OSError:  # its log was removed
        return []
    return [one_line(line)[:500] for line in written.splitlines() if line.strip()][-LAST_WORDS:]


def _written_since(record: Record) -> str:
    """The end of its log, if it wrote after it was started."""
    path = Path(record.log)
    if path.stat().st_mtime * 1000 < record.started_at:
        return ""
    return _tail(path).decode("utf-8", "replace")


def _tail(path: Path, most: int = 1 << 16) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - most))
            return file.read()
    except OSError:
        return b""
