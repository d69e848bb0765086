"""What `penstock doctor` asks of the servers that the URLs name: Redis, PostgreSQL, SMTP, Celery's.

Each is asked what a client would ask: whether it answers, how fast, which version, and whether it
is set up so that nothing is lost. Passwords are in no line: `shown` leaves them out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal

from penstock.cli.finding import Finding
from penstock.cli.output import size
from penstock.errors import PenstockError
from penstock.settings import Settings

if TYPE_CHECKING:
    from penstock.tasks.job import QueueStatus

PATIENCE: Final = 3.0  # seconds for one answer: a slow server is to be told, not given up on
SLOW: Final = 0.02  # seconds for one round trip, above which a cache hit is dear
ASKED: Final = 5  # round trips, of which the middle one is told
FULL: Final = 0.9  # of maxmemory
UNCHECKED: Final = "its certificate is not checked: whoever is on the way can answer in its place"

Keeps = Literal["jobs", "counts", "nothing"]
"""What of a Redis must not get lost: Celery's queues, the counters of all servers, or nothing."""

_EVICTING: Final = ("allkeys-lru", "allkeys-lfu", "allkeys-random")


def redis(settings: Settings) -> Iterator[Finding]:
    """Whether the Redis that servers share can be used."""
    if settings.redis is not None:
        yield from _redis("redis", settings.redis, variable="REDIS_URL", keeps="counts")


def broker(settings: Settings) -> Iterator[Finding]:
    """Whether Celery's broker can be used, and loses no job."""
    if settings.tasks == "celery" and settings.broker:
        variable = "CELERY_BROKER_URL"
        yield from _redis("broker", settings.broker, variable=variable, keeps="jobs")


def results(settings: Settings) -> Iterator[Finding]:
    """Whether Celery's result back end can be used."""
    if settings.tasks == "celery" and settings.result_backend:
        variable = "CELERY_RESULT_BACKEND"
        yield from _redis("results", settings.result_backend, variable=variable)


def workers(settings: Settings) -> Iterator[Finding]:
    """Whether Celery's workers answer its ping, and are those of this installation."""
    if settings.tasks != "celery":
        yield from _strange_workers(settings)
        return
    from penstock.cli.services_health import ping

    try:
        names = ping(settings, seconds=1.0)
    except PenstockError:  # why is what the broker's own line says
        yield Finding("workers", "failed", "they cannot be asked: the broker cannot be used")
        return
    if names:
        yield Finding("workers", "ok", f"{len(names)} answer: {', '.join(names)}")
    else:
        fix = "start some: celery -A penstock.celery_app worker, or penstock services start"
        yield Finding("workers", "warning", "no worker answers: jobs wait", fix)
    yield from _unknown_tasks(settings)


def _strange_workers(settings: Settings) -> Iterator[Finding]:
    """Whether Celery's workers wait on the Redis of an installation that gives them nothing."""
    if settings.tasks != "embedded" or settings.broker is None:
        return
    from penstock.cli.services_jobs import looking
    from penstock.net.redis import shown

    async def look() -> int:
        async with looking(settings.model_copy(update={"tasks": "celery"})) as jobs:
            return sum(worker.alive for worker in await jobs.store.workers())

    try:
        alive = asyncio.run(look())
    except PenstockError:  # what is wrong with it is told of itself
        return
    if alive:
        waits = "1 of Celery's waits" if alive == 1 else f"{alive} of Celery's wait"
        told = f"{waits} on {shown(settings.broker)}; jobs of this installation run in its folder"
        yield Finding("workers", "warning", told, "set PENSTOCK_TASKS=celery for the servers, too")


def _unknown_tasks(settings: Settings) -> Iterator[Finding]:
    """Whether jobs wait for a worker that has their task."""
    from penstock.cli.queues import unknown_tasks
    from penstock.cli.services_jobs import looking

    async def look() -> list[QueueStatus]:
        async with looking(settings) as jobs:
            return await jobs.store.queues()

    for queue in asyncio.run(look()):
        for told in unknown_tasks(queue):
            what, _, fix = told.partition("; ")
            yield Finding("workers", "warning", what, fix)


def postgresql(settings: Settings) -> Iterator[Finding]:
    """Whether the PostgreSQL server answers, how fast, and holds the tables of this version."""
    from penstock.db.location import is_postgres

    if is_postgres(settings.database):
        yield asyncio.run(_postgresql(settings.database))


def mail(settings: Settings) -> Iterator[Finding]:
    """Whether the mail server answers and takes user and password; nothing is sent."""
    if settings.smtp_url is None:
        return
    from penstock.notify.event import check_patterns
    from penstock.notify.mail import open_server

    try:
        check_patterns(settings.mail_events)
        told = asyncio.run(open_server(settings.smtp_url).check())
    except PenstockError as error:
        what, _, fix = error.detail.partition("; ")
        yield Finding("mail", "failed", what, fix)
        return
    if settings.mail_to:
        events = ", ".join(settings.mail_events) or "nothing"
        yield Finding("mail", "ok", f"{told}; tells {len(settings.mail_to)} of {events}")
    else:
        fix = "set PENSTOCK_MAIL_TO and PENSTOCK_MAIL_FROM"
        yield Finding("mail", "warning", f"{told}; nobody is told of anything", fix)


def has_tables(url: str) -> bool:
    """Whether a PostgreSQL database can be read and is up to date; says nothing of why not."""
    from penstock.db import migrate
    from penstock.db.postgres_tables import stored

    try:
        return asyncio.run(stored(url)) == migrate.HEAD
    except (PenstockError, OSError):
        return False


def _redis(name: str, url: str, *, variable: str, keeps: Keeps = "nothing") -> Iterator[Finding]:
    from penstock.net.redis import FAULTS, connect, explain, is_too_old, shown, too_old, version_of
    from penstock.net.redis_tls import split

    async def ask() -> tuple[Mapping[str, Any], float]:
        client = connect(url, timeout=PATIENCE, connect_timeout=PATIENCE, name="penstock-doctor")
        try:
            return await client.info(), await _round_trip(client)
        finally:
            await client.aclose()

    try:
        info, seconds = asyncio.run(ask())
    except FAULTS as error:
        what, _, fix = explain(error, url).partition("; ")
        yield Finding(name, "failed", what, fix.replace("REDIS_URL", variable))
        return
    version = version_of(str(info["redis_version"]))
    if is_too_old(version):
        what, _, fix = too_old(version, url).partition("; ")
        yield Finding(name, "failed", what, fix)
        return
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    memory = f"{size(used)} of {size(most)}" if most else f"{size(used)}, no bound"
    told = f"{shown(url)}: Redis {info['redis_version']}, {seconds * 1000:.1f} ms, {memory}"
    doubts = list(_doubts(info, seconds, used, most, keeps=keeps))
    if (terms := split(url)[1]) is not None and not terms.is_checked:
        doubts.append((UNCHECKED, f"{variable}: ?ssl_ca_certs=/path/ca.pem and nothing else"))
    for what, fix in doubts:
        yield Finding(name, "warning", f"{told}; {what}", fix)
    if not doubts:
        yield Finding(name, "ok", told)


def _doubts(
    info: Mapping[str, Any], seconds: float, used: int, most: int, *, keeps: Keeps
) -> Iterator[tuple[str, str]]:
    """What is set up so that it will hurt one day, and what to do about it."""
    policy = str(info.get("maxmemory_policy", ""))
    if seconds > SLOW:
        yield "far away or overloaded", "put it near the servers, or see its slow log"
    if info.get("role") in ("slave", "replica"):
        yield "a replica takes no writes", "name the primary"
    if most and used > FULL * most:
        yield "almost full", "raise maxmemory"
    if keeps == "nothing":
        return
    if policy in _EVICTING:
        what = "jobs" if keeps == "jobs" else "statistics and limits"
        yield (
            f"maxmemory-policy {policy} throws {what} away when it is full",
            "CONFIG SET maxmemory-policy volatile-lru (or noeviction)",
        )
    has_rdb = "rdb_last_save_time" in info and int(info.get("rdb_saves", 0)) > 0
    if not int(info.get("aof_enabled", 0)) and not has_rdb:
        what = "what is queued is lost" if keeps == "jobs" else "statistics begin anew"
        yield f"{what} when it restarts", "CONFIG SET appendonly yes"


async def _round_trip(client: Any) -> float:
    """The middle one of a few, the connection made before."""
    took = []
    for _ in range(ASKED):
        began = perf_counter()
        await client.ping()
        took.append(perf_counter() - began)
    return sorted(took)[len(took) // 2]


async def _postgresql(url: str) -> Finding:
    from penstock.db.location import dsn, shown
    from penstock.db.migrate import HEAD
    from penstock.extras import extra

    with extra("postgres"):
        from penstock.db import postgres_tls
        from penstock.db.connecting import connect
        from penstock.db.postgres_tables import stored

    revision = await stored(url)  # raises what is wrong with the server, in words
    where = shown(url)
    connection = await connect(dsn(url))
    try:
        version = await connection.fetchval("SHOW server_version")
        most = int(await connection.fetchval("SHOW max_connections"))
        used = int(await connection.fetchval("SELECT count(*) FROM pg_stat_activity"))
        began = perf_counter()
        await connection.fetchval("SELECT 1")
        seconds = perf_counter() - began
        spoken = postgres_tls.version(connection) or "no TLS"
    finally:
        await connection.close(timeout=PATIENCE)
    told = f"{where}: PostgreSQL {version.partition(' ')[0]}, {spoken}, {seconds * 1000:.1f} ms"
    told += f", {used} of {most} connections"
    if revision not in (None, HEAD):
        detail = f"{told}; has revision {revision}, this version writes {HEAD}"
        return Finding("postgresql", "warning", detail, "start the server once: it migrates")
    if used > FULL * most:
        fix = "raise max_connections, or lower PENSTOCK_DB_POOL_SIZE and PENSTOCK_DB_POOL_OVERFLOW"
        return Finding("postgresql", "warning", f"{told}; almost none is left", fix)
    if postgres_tls.is_unchecked(dsn(url)):
        fix = "DATABASE_URL: sslmode=verify-full&sslrootcert=/path/ca.pem"
        detail = f"{told}; {UNCHECKED}"
        return Finding("postgresql", "warning", detail, fix)
    if revision is None:
        return Finding("postgresql", "ok", f"{told}; the first start makes its tables")
    return Finding("postgresql", "ok", told)
