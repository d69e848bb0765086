"""`penstock services`: the processes of this installation on this machine, as one.

It starts them in the background and writes down which they are (`services_ledger.py`), so that it
ends what it started and nothing else. It does not watch over them: that is what systemd, compose or
Kubernetes are for (docs/howto/services.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli import opening
from penstock.cli.failure import FAILED, OK, one_line
from penstock.cli.output import as_json, print_json, print_table
from penstock.cli.tasks import QUEUES

if TYPE_CHECKING:
    from penstock.cli.services_jobs import Known
    from penstock.cli.services_ledger import Kind
    from penstock.cli.services_lifecycle import Lifecycle
    from penstock.cli.services_plan import Wanted
    from penstock.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

FLOWER_PORT = 5555
FOLLOW_SECONDS = 0.5


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(part.strip() for part in value.split(",") if part.strip())
    unknown = [name for name in names if name not in QUEUES]
    if unknown:
        raise click.BadParameter(f"no queue is called {unknown[0]!r}; known: {', '.join(QUEUES)}")
    return names


def _ports(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("ports are numbers with commas: 8000,8001") from None


_WANTED = (
    click.option("--servers", type=click.IntRange(0, 64), help="API servers.  [default: 1]"),
    click.option(
        "--ports",
        callback=_ports,
        metavar="PORT,...",
        help="Their ports.  [default: PENSTOCK_PORT and those after it]",
    ),
    click.option(
        "--workers",
        type=click.IntRange(0, 64),
        help="Processes that run jobs.  [default: 1 with Celery, else 0: the servers do]",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 1024),
        help="Jobs of one worker at once.  [default: as the worker's own]",
    ),
    click.option("--queues", callback=_names, help="Queues of the workers.  [default: all five]"),
    click.option(
        "--beat/--no-beat", default=None, help="Celery's clock.  [default: with Celery, yes]"
    ),
    click.option(
        "--proxy", type=click.IntRange(1, 65535), metavar="PORT", help="nginx in front, there."
    ),
    click.option(
        "--flower",
        type=click.IntRange(1, 65535),
        is_flag=False,
        flag_value=FLOWER_PORT,
        metavar="[PORT]",
        help=f"Flower too, on this machine alone.  [port: {FLOWER_PORT}]",
    ),
)

_patient = click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=60.0,
    show_default=True,
    help="Seconds that a process has to end before it is killed.",
)


def _with_wanted(command: F) -> F:
    for option in reversed(_WANTED):
        command = option(command)
    return command


@click.group()
@opening.at_home
def services() -> None:
    """Start servers, workers and a proxy on this machine; see them, restart them, end them.

    Two servers, two workers and what Celery needs, behind nginx on port 8080:

      penstock services start --servers 2 --workers 2 --proxy 8080
    """


@services.command()
@_with_wanted
@opening.at_home
def start(**given: Any) -> None:
    """Start in the background what the settings need and does not run yet; returns when it serves.

    Without options, what was started last and not stopped: one that died is brought back. The first
    start prints the admin key, once.
    """
    from penstock.cli.services_greeting import greeting
    from penstock.cli.services_plan import Wanted, refuse_nothing

    lifecycle, settings = _lifecycle()
    has_options = any(value is not None for value in given.values())
    with lifecycle.ledger.held():
        # What was stopped is over: the next start begins with what the settings say now.
        goes_on = not has_options and lifecycle.ledger.records()
        wanted = _wanted(settings, given, Wanted.load(lifecycle.folder) if goes_on else None)
        with greeting(settings, wanted, lifecycle):
            refuse_nothing(settings, wanted)
            if not lifecycle.start(wanted):
                click.echo("all of it runs already; see: penstock services status")


@services.command()
@_patient
@opening.at_home
def stop(timeout: float) -> None:
    """End what was started here, by its process ids; what runs may end first."""
    lifecycle, _ = _lifecycle(timeout)
    with lifecycle.ledger.held():
        if not lifecycle.stop():
            click.echo("nothing was running")


@services.command()
@click.argument("kinds", nargs=-1, type=click.Choice(("api", "worker", "beat", "flower")))
@_with_wanted
@_patient
@opening.at_home
def restart(kinds: tuple[Kind, ...], timeout: float, **given: Any) -> None:
    """Restart one process after another, as started last or with other options; all, or KINDS.

    Of two or more servers behind --proxy one always serves: no request fails.
    """
    from penstock.cli.services_greeting import greeting
    from penstock.cli.services_plan import Wanted

    lifecycle, settings = _lifecycle(timeout)
    with lifecycle.ledger.held():
        wanted = _wanted(settings, given, Wanted.load(lifecycle.folder))
        with greeting(settings, wanted, lifecycle):
            lifecycle.restart(wanted, kinds=kinds)


@services.command()
@opening.at_home
@as_json
def status(json_: bool) -> None:
    """Show the processes and how they are, and the queues. Exits with 1 when one is not well.

    Of one that died it shows what it wrote last.
    """
    from penstock.cli import services_health as health
    from penstock.cli import services_table
    from penstock.cli.services_lifecycle import last_words

    lifecycle, settings = _lifecycle()
    records = lifecycle.ledger.records()
    jobs = _known(settings)
    told = health.of_all(
        records,
        settings=settings,
        workers={worker.pid: worker for worker in jobs.workers} if jobs else {},
    )
    words = {each.name: last_words(each) for each in records if told[each.name] == health.DEAD}
    well = bool(records) and all(word in health.GOOD for word in told.values())
    if json_:
        print_json(services_table.document(records, told, jobs, words=words, well=well))
    else:
        services_table.show(records, told, jobs, words=words)
    raise click.exceptions.Exit(OK if well else FAILED)


@services.command()
@opening.at_home
def monitor() -> None:
    """Show what happens as it happens, until Ctrl+C: Celery's events, or what jobs become."""
    from penstock.cli import services_jobs

    settings = opening.settings()
    tell = _line
    click.echo("watching; Ctrl+C ends it", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        if settings.tasks == "celery":
            services_jobs.celery_events(settings, tell)
        else:
            asyncio.run(services_jobs.changes(settings, tell=tell))


@services.command()
@click.option("--port", type=click.IntRange(1, 65535), default=FLOWER_PORT, show_default=True)
@opening.at_home
def flower(port: int) -> None:
    """Start Flower, Celery's dashboard, for this machine alone.

    With FLOWER_BASIC_AUTH=user:password in the environment it asks who looks.
    """
    from penstock.cli.services_plan import Wanted

    lifecycle, settings = _lifecycle()
    with lifecycle.ledger.held():
        before = Wanted.load(lifecycle.folder) or Wanted()
        wanted = _wanted(settings, {"flower": port}, before)
        lifecycle.start(wanted)
    click.echo(f"Flower on http://127.0.0.1:{port}")


@services.command()
@click.argument("queues", nargs=-1, type=click.Choice(QUEUES))
@click.option(
    "--timeout", type=click.FloatRange(0.1, 600), default=15.0, show_default=True, help="Seconds."
)
@opening.at_home
@as_json
def test(queues: tuple[str, ...], timeout: float, json_: bool) -> None:
    """Send a job that does nothing through each of QUEUES (all five) and wait for it.

    Exits with 1 when nobody runs one; at once when there is no worker.
    """
    from penstock.cli.services_jobs import round_trip

    trips = asyncio.run(round_trip(opening.settings(), queues or QUEUES, seconds=timeout))
    if json_:
        print_json([trip._asdict() for trip in trips])
    else:
        rows = [
            (
                trip.queue,
                "no answer" if trip.seconds is None else f"{trip.seconds * 1000:.0f} ms",
                trip.where,
            )
            for trip in trips
        ]
        print_table(rows, header=("queue", "round trip", "where"))
    raise click.exceptions.Exit(FAILED if any(trip.seconds is None for trip in trips) else OK)


@services.command()
@click.argument("queue", required=False, type=click.Choice(QUEUES))
@click.option("--lines", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written, until Ctrl+C.")
@opening.at_home
def logs(queue: str | None, lines: int, follow: bool) -> None:
    """Show what the processes wrote last; with QUEUE, what became of its jobs and was said of them.

    The files are in services in the log folder, one per process.
    """
    lifecycle, settings = _lifecycle()
    show = _queue_log if queue else _process_log
    shown: list[str] = []
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            latest = show(settings, lifecycle.logs, queue or "", lines)
            for line in _new(shown, latest):
                _line(line)
            shown = latest
            if not follow:
                return
            select.select([], [], [], FOLLOW_SECONDS)


def _lifecycle(patience: float = 60.0) -> tuple[Lifecycle, Settings]:
    from penstock.cli.services_lifecycle import Lifecycle

    settings = opening.settings()
    return Lifecycle(settings, patience=patience), settings


def _wanted(settings: Settings, given: dict[str, Any], before: Wanted | None) -> Wanted:
    """What the options say, and for the others what was asked for before, or the default."""
    import msgspec

    from penstock.cli.services_plan import Wanted, check

    has_celery = settings.tasks == "celery"
    usual = {"workers": 1 if has_celery else 0, "beat": has_celery, "flower": None}
    base = before or Wanted(ports=(settings.port,))
    if before is None or base.engine not in ("", settings.tasks):
        base = msgspec.structs.replace(base, **usual)
    named = {name: value for name, value in given.items() if value is not None}
    named["engine"] = settings.tasks
    servers = named.pop("servers", None)
    if servers is not None and "ports" not in named:
        first = base.ports[0] if base.ports else settings.port
        named["ports"] = tuple(range(first, first + servers))
    elif servers is not None and servers != len(named["ports"]):
        raise click.UsageError(f"--servers {servers} and {len(named['ports'])} --ports disagree")
    wanted = msgspec.structs.replace(base, **named)
    check(settings, wanted)
    if not wanted.ports and wanted.proxy is not None:
        raise click.UsageError("--proxy needs servers to share requests out over")
    return wanted


def _known(settings: Settings) -> Known | None:
    """Queues and workers; None, said, when they cannot be read."""
    from penstock.cli.services_jobs import known
    from penstock.errors import PenstockError

    try:
        return asyncio.run(known(settings))
    except (PenstockError, OSError) as error:
        click.echo(f"warning: the queues cannot be read: {one_line(str(error))}", err=True)
        return None


def _process_log(_: Settings, folder: Path, __: str, most: int) -> list[str]:
    from penstock.cli.services_jobs import last_lines

    return [
        f"{path.stem}: {line}"
        for path in sorted(folder.glob("*.log"))
        for line in last_lines(path, most)
    ]


def _queue_log(settings: Settings, folder: Path, queue: str, most: int) -> list[str]:
    from penstock.cli.services_jobs import log_of_queue

    paths = sorted(folder.glob("*.log"))
    return asyncio.run(log_of_queue(settings, queue, logs=paths, most=most))


def _new(before: list[str], now: list[str]) -> list[str]:
    known = set(before)
    return [line for line in now if line not in known]


def _line(text: str) -> None:
    click.echo(one_line(text))
