"""What `penstock services` starts for given settings: which processes, with which commands.

    proxy   nginx, where --proxy asks for it            worker  `penstock worker`, or Celery's
    api     `penstock serve`, one process each          beat    Celery's clock, with Celery alone
    flower  Celery's own dashboard

Commands hold no secrets: what is secret is in the environment, which the processes inherit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from penstock.cli.failure import USAGE, Failure
from penstock.cli.services_ledger import Kind
from penstock.settings import Settings
from penstock.tasks.job import QUEUES

CELERY_APP: Final = "penstock.celery_app"
DRAIN: Final = 1.0  # seconds that a server serves on after it was asked to end
WORKERS_EMBEDDED: Final = "PENSTOCK_TASK_WORKERS"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for; kept in the data folder, so that a restart starts the same."""

    ports: tuple[int, ...] = ()
    workers: int = 0
    concurrency: int | None = None
    queues: tuple[str, ...] = QUEUES
    beat: bool = False
    proxy: int | None = None
    flower: int | None = None
    engine: str = ""  # what ran the jobs then; with another one, workers and clock are others

    def save(self, folder: Path) -> None:
        """Keep it beside the records."""
        (folder / "wanted").write_bytes(msgspec.json.encode(self) + b"\n")

    @classmethod
    def load(cls, folder: Path) -> Wanted | None:
        """What the last start asked for; None when nothing was started, or before this version."""
        try:
            return msgspec.json.decode((folder / "wanted").read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError):
            return None


class Service(msgspec.Struct, frozen=True):
    """One process to be started."""

    name: str
    kind: Kind
    command: tuple[str, ...]
    environ: dict[str, str]  # beside what it inherits
    port: int | None = None


def plan(settings: Settings, wanted: Wanted, *, folder: Path) -> list[Service]:
    """The processes, in the order in which they are started."""
    services = [_api(settings, wanted, number) for number in range(1, len(wanted.ports) + 1)]
    make = _celery_worker if settings.tasks == "celery" else _worker
    services += [make(wanted, number) for number in range(1, wanted.workers + 1)]
    if wanted.beat:
        command = _celery("beat", "--loglevel", "info", "--schedule", str(folder / "beat-schedule"))
        services.append(Service("beat", "beat", command, {}))
    if wanted.flower is not None:
        services.append(flower(wanted.flower))
    if wanted.proxy is not None:
        from penstock.cli import services_proxy

        command = services_proxy.command(folder / "nginx.conf")
        services.append(Service("proxy", "proxy", command, {}, wanted.proxy))
    return services


def check(settings: Settings, wanted: Wanted) -> None:
    """Refuse what these settings cannot mean. Raises UsageError."""
    if settings.tasks == "inline" and (wanted.workers or wanted.beat):
        raise click.UsageError(
            "PENSTOCK_TASKS=inline runs jobs where they are enqueued: no workers"
        )
    if settings.tasks != "celery" and wanted.beat:
        raise click.UsageError(
            "--beat is Celery's; the embedded workers fire schedules themselves, each tick once"
        )
    if settings.tasks != "celery" and wanted.flower is not None:
        raise click.UsageError(
            "Flower shows Celery's workers: set CELERY_BROKER_URL; for embedded ones see "
            "penstock services status and penstock tasks list"
        )
    taken = [*wanted.ports, wanted.proxy, wanted.flower]
    named = [port for port in taken if port is not None]
    if len(set(named)) < len(named):
        raise click.UsageError(f"one port is named twice: {', '.join(map(str, named))}")
    if any(not 0 < port < 65536 for port in named):
        raise click.UsageError("ports go from 1 to 65535")


def refuse_nothing(settings: Settings, wanted: Wanted) -> None:
    """Raise Failure when there is nothing to start: what was meant is not what is set."""
    if wanted.ports or wanted.workers or wanted.beat or wanted.flower is not None:
        return
    if settings.tasks == "celery":
        raise Failure("nothing is to be started", fix="name what is: --workers 1", exit_code=USAGE)
    if settings.redis is None:
        fix = "set CELERY_BROKER_URL, or PENSTOCK_TASKS=celery and REDIS_URL"
    else:
        fix = "set PENSTOCK_TASKS=celery, or CELERY_BROKER_URL"
    raise Failure(
        "nothing is to be started: no server is asked for, and no broker is set for workers",
        fix=f"{fix}; without Celery: --workers 1",
        exit_code=USAGE,
    )


def flower(port: int) -> Service:
    """Flower on this machine alone; FLOWER_BASIC_AUTH=user:password in the environment asks who."""
    command = _celery("flower", f"--port={port}", "--address=127.0.0.1", "--loglevel=warning")
    return Service("flower", "flower", command, {}, port)


def environment(service: Service, settings: Settings) -> dict[str, str]:
    """All that a process gets: what this one has, the data folder in full, and its own."""
    home = {"PENSTOCK_HOME": str(settings.home.absolute())}
    return {**os.environ, **home, **service.environ}


def _api(settings: Settings, wanted: Wanted, number: int) -> Service:
    port = wanted.ports[number - 1]
    host = settings.host if wanted.proxy is None else "127.0.0.1"
    command = (
        *_python("penstock", "serve", "--host", host, "--port", str(port)),
        *("--workers", "1", "--drain", f"{DRAIN:g}"),
    )
    environ: dict[str, str] = {}
    if wanted.proxy is not None and not settings.trusted_proxies:
        environ["PENSTOCK_TRUSTED_PROXIES"] = "127.0.0.1"
    if wanted.workers and settings.tasks == "embedded":
        environ[WORKERS_EMBEDDED] = "0"  # the workers run the jobs
    return Service(f"api-{number}", "api", command, environ, port)


def _worker(wanted: Wanted, number: int) -> Service:
    options = ["--queues", ",".join(wanted.queues), *_concurrency(wanted)]
    return Service(f"worker-{number}", "worker", _python("penstock", "worker", *options), {})


def _celery_worker(wanted: Wanted, number: int) -> Service:
    name = f"worker-{number}"
    options = ["-n", f"{name}@%h", "-Q", ",".join(wanted.queues), "--loglevel", "info"]
    return Service(name, "worker", _celery("worker", *options, *_concurrency(wanted)), {})


def _concurrency(wanted: Wanted) -> list[str]:
    return [] if wanted.concurrency is None else ["--concurrency", str(wanted.concurrency)]


def _celery(*options: str) -> tuple[str, ...]:
    return _python("celery", "-A", CELERY_APP, *options)


def _python(module: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *options)


def order_of_end(kinds: Sequence[Kind]) -> list[Kind]:
    """Who ends before whom: first what brings work in."""
    order: tuple[Kind, ...] = ("proxy", "beat", "api", "worker", "flower")
    return [kind for kind in order if kind in kinds]
