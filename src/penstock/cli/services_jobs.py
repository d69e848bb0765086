"""What `penstock services` asks of the jobs: a round trip, what happens now, what a queue did."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from penstock.cli import opening
from penstock.cli.failure import Failure
from penstock.cli.output import instant
from penstock.clock import SystemClock
from penstock.net.address import shown
from penstock.settings import Settings

if TYPE_CHECKING:
    from penstock.tasks.job import JobRecord, QueueStatus, WorkerStatus
    from penstock.tasks.queue import TaskQueue

JOB_FILE: Final = "tasks.db"
LOOK_SECONDS: Final = 0.5
MOST: Final = 200  # jobs that are looked at for what changed
MOST_LINES: Final = 20_000  # of one log that are read from its end
_JOB: Final = re.compile(r"job_[0-9a-z]{13}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?")


class Trip(NamedTuple):
    """One round trip through a queue."""

    queue: str
    seconds: float | None  # None: nobody ran it in time
    where: str


class Known(NamedTuple):
    """What the record of jobs says about the installation."""

    queues: list[QueueStatus]
    workers: list[WorkerStatus]


@asynccontextmanager
async def open_jobs(settings: Settings) -> AsyncIterator[TaskQueue]:
    """The jobs, to look at and to add to; none runs here and no user's module is imported."""
    from penstock.observe.metrics import Metrics
    from penstock.opening import open_layer_queue

    own = settings.model_copy(update={"include": (), "task_workers": 0})
    with opening.quiet(own):
        async with open_layer_queue(own, metrics=Metrics()) as jobs:
            yield jobs


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[TaskQueue]:
    """The jobs, to look at alone: not started, so that nothing changes."""
    from penstock.tasks import open_queue

    jobs = open_queue(settings.task_engine, workers=0)
    try:
        yield jobs
    finally:
        await jobs.stop()


async def left_behind(settings: Settings) -> int:
    """Jobs in the folder's file that nobody runs any more, because a broker was set since."""
    from penstock.tasks.job import JobFilter

    path = (settings.home / JOB_FILE).absolute()
    if settings.tasks != "celery" or not path.is_file():
        return 0
    own = settings.model_copy(update={"tasks": "embedded"})
    with opening.quiet(own):
        async with looking(own) as jobs:
            if any(worker.alive for worker in await jobs.store.workers()):
                return 0
            return sum((await jobs.store.count(JobFilter(states=("queued", "running")))).values())


def of_left_behind(settings: Settings, number: int) -> tuple[str, str]:
    """What to say of them, and what to do."""
    path = (settings.home / JOB_FILE).absolute()
    jobs = "1 job waits" if number == 1 else f"{number} jobs wait"
    told = f"{jobs} in {path}, from before a broker was set: Celery's workers do not see them"
    return (
        told,
        "start once without CELERY_BROKER_URL, or run: PENSTOCK_TASKS=embedded penstock worker",
    )


async def known(settings: Settings) -> Known:
    """Queues with their depths, and the processes that run jobs."""
    async with open_jobs(settings) as jobs:
        return Known(await jobs.store.queues(), await jobs.store.workers())


async def round_trip(settings: Settings, queues: Sequence[str], *, seconds: float) -> list[Trip]:
    """Send a job that does nothing through each queue, all at once.

    Raises Failure when no worker is there to run it.
    """
    from penstock.tasks.ping import ping_task

    async with open_jobs(settings) as jobs:
        if settings.tasks != "inline" and not any(
            worker.alive for worker in await jobs.store.workers()
        ):
            raise _nobody(settings)
        task = ping_task()
        jobs.register([task])

        async def trip(queue: Any) -> Trip:
            began = SystemClock.monotonic()
            job = await jobs.enqueue(task, options={"queue": queue})
            try:
                pong = await job.result(seconds)
            except TimeoutError:
                return Trip(queue, None, f"{job.id} was run by nobody within {seconds:g} s")
            took = SystemClock.monotonic() - began
            return Trip(queue, took, f"pid {pong.pid} on {pong.host}")

        return list(await asyncio.gather(*map(trip, queues)))


def _nobody(settings: Settings) -> Failure:
    if settings.tasks == "celery":
        return Failure(
            f"no worker takes jobs from {shown(settings.broker or '')}",
            fix="penstock services start, or celery -A penstock.celery_app worker",
        )
    fix = "penstock services start --workers 1, or penstock worker"
    if settings.redis is not None:
        fix += f"; on {shown(settings.redis)} they run with PENSTOCK_TASKS=celery"
    return Failure(f"no process runs jobs of {(settings.home / JOB_FILE).absolute()}", fix=fix)


async def changes(settings: Settings, *, tell: Callable[[str], None]) -> None:
    """Tell of each change of a job, until cancelled; looks twice a second."""
    from penstock.tasks.job import JobFilter

    seen: dict[str, str] | None = None
    async with open_jobs(settings) as jobs:
        while True:
            newest = await jobs.store.page(JobFilter(), limit=MOST)
            running = await jobs.store.page(JobFilter(states=("running",)), limit=MOST)
            found = {job.id: job for job in [*running, *newest]}
            for job in sorted(found.values(), key=_changed_at):
                # What had ended before the first look is history.
                if seen is None and job.is_final:
                    continue
                if seen is None or seen.get(job.id) != job.state:
                    tell(line_of(job))
            seen = {job.id: job.state for job in found.values()}
            await asyncio.sleep(LOOK_SECONDS)


def line_of(job: JobRecord) -> str:
    """What a job is, in one line that begins with when it became so."""
    told = f"{instant(_changed_at(job))} {job.queue} {job.id} {job.task} {job.state}"
    if job.started_at and job.finished_at:
        told += f" after {(job.finished_at - job.started_at) / 1000:.3f} s"
    if job.error is not None and job.state in ("failed", "queued"):
        told += f": {job.error.type}: {job.error.message}"
    return told


def celery_events(settings: Settings, tell: Callable[[str], None]) -> None:
    """Tell of Celery's own events until interrupted: workers, and tasks as they go on."""
    from penstock.celery_app import make
    from penstock.cli.services_health import check_broker

    check_broker(settings)  # kombu would try again and again, without a word
    app = make(settings.model_copy(update={"include": ()}))

    def heard(event: dict[str, Any]) -> None:
        when = datetime.fromtimestamp(event.get("timestamp", 0), UTC)
        fields = ("uuid", "name", "queue", "runtime", "exception", "retries")
        told = " ".join(f"{name}={event[name]}" for name in fields if event.get(name) is not None)
        stamp = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        tell(f"{stamp} {event.get('type')} {event.get('hostname', '')} {told}".rstrip())

    app.control.enable_events()
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": heard})
        receiver.capture(limit=None, timeout=None, wakeup=True)


async def log_of_queue(
    settings: Settings, queue: str, *, logs: Sequence[Path], most: int
) -> list[str]:
    """The latest of a queue: what its jobs became, and every log line about it or one of them."""
    from penstock.tasks.job import JobFilter

    async with open_jobs(settings) as jobs:
        records = await jobs.store.page(JobFilter(queue=queue), limit=min(most, MOST))
        ids = {job.id for job in records}
        entries = [(instant(_changed_at(job)) or "", line_of(job)) for job in records]
        for path in logs:
            entries += _lines_about(path, queue, ids)
    entries.sort(key=lambda entry: entry[0])
    return [text for _, text in entries[-most:]]


def _lines_about(path: Path, queue: str, ids: set[str]) -> Iterator[tuple[str, str]]:
    for line in last_lines(path, MOST_LINES):
        named = not ids.isdisjoint(_JOB.findall(line))
        if named or _queue_of(line) == queue:
            found = _TIME.search(line)
            stamp = found[0].replace(" ", "T").replace(",", ".") if found else ""
            yield stamp, f"{path.stem}: {line}"


def _queue_of(line: str) -> str | None:
    if '"queue"' not in line:
        return None
    try:
        return str(msgspec.json.decode(line)["queue"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return None


def last_lines(path: Path, most: int) -> list[str]:
    """The end of a log: at most so many lines of its last 8 MB."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - (8 << 20)))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[-most:]


def _changed_at(job: JobRecord) -> int:
    return job.finished_at or job.started_at or job.created_at
