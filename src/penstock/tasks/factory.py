"""Opens an engine by its URL; a backend is imported here and nowhere else.

embedded:///var/lib/app/tasks.db    one file, any number of processes on this machine
inline://                           tests and serverless: `enqueue` returns when the job has ended
celery+redis://host:6379/1          Celery's workers on any number of machines; see `celery/address`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NoReturn
from urllib.parse import unquote, urlsplit

from penstock.clock import Clock, SystemClock
from penstock.errors import ConfigurationError
from penstock.extras import extra
from penstock.hub import Hub
from penstock.observe.metrics import Metrics
from penstock.tasks.engine import Engine, JobStore
from penstock.tasks.job import QUEUES
from penstock.tasks.queue import TaskQueue

WORKERS = 4  # jobs of each queue that run at once in a process


def open_engine(
    url: str,
    *,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    hub: Hub | None = None,
    workers: int | Mapping[str, int] = WORKERS,
    durability: Literal["normal", "full"] = "normal",
    **options: Any,
) -> tuple[Engine, JobStore]:
    """What runs jobs, and what reads about them.

    `workers` is how many jobs of each queue run at once in this process, or that for each queue by
    name (the others: none); with 0 it only enqueues and looks. Inline there is nobody else to run
    jobs: 0 has no meaning there, and it is as many as usual. Rates of tasks are counted in `hub`.
    Raises ConfigurationError for an address that is none.
    """
    given = {
        "clock": clock or SystemClock(),
        "metrics": metrics or Metrics(),
        "hub": hub,
        "workers": _counts(workers),
        **options,
    }
    match urlsplit(url).scheme:
        case "embedded":
            return _embedded(_path(url), durability=durability, **given)
        case "inline":
            return _inline(**given)
        case "celery+redis" | "celery+rediss":
            # It needs Redis alone: Celery itself is imported by its workers.
            from penstock.tasks.celery.engine import open_celery

            return open_celery(url, **given)
    _refuse(url)


def open_queue(url: str, **options: Any) -> TaskQueue:
    """A queue on an engine of its own; `options` are those of `open_engine`."""
    return TaskQueue(*open_engine(url, **options))


def _embedded(path: Path, **options: Any) -> tuple[Engine, JobStore]:
    from penstock.tasks.embedded.engine import open_embedded

    return open_embedded(path, **options)


def _path(url: str) -> Path:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc or not path.is_absolute() or path.is_dir():
        raise ConfigurationError(f"{url} is no file; write embedded:///absolute/tasks.db")
    return path


def _inline(*, clock: Clock, workers: Mapping[str, int], **options: Any) -> tuple[Engine, JobStore]:
    from penstock.tasks.inline import InlineEngine

    folder = TemporaryDirectory(prefix="penstock-inline-")
    counts = {queue: count or WORKERS for queue, count in workers.items()}
    path = Path(folder.name, "tasks.db")
    engine, store = _embedded(path, clock=clock, workers=counts, **options)
    return InlineEngine(engine, store, clock=clock, discard=folder.cleanup), store


def _counts(workers: int | Mapping[str, int]) -> dict[str, int]:
    counts = dict.fromkeys(QUEUES, workers) if isinstance(workers, int) else dict(workers)
    for queue, count in counts.items():
        if queue not in QUEUES:
            raise ConfigurationError(f"no queue is called {queue!r}; known: {', '.join(QUEUES)}")
        if count < 0:
            raise ConfigurationError(f"{count} workers for {queue}; it is 0 or more")
    return {queue: counts.get(queue, 0) for queue in QUEUES}


def _refuse(url: str) -> NoReturn:
    """Say why nothing is opened at an address of no scheme that is known."""
    if urlsplit(url).scheme.startswith("celery+"):
        with extra("redis"):
            from penstock.net.redis import check_scheme

        check_scheme(url)
    raise ConfigurationError(
        f"no task engine is called {_shown(url)!r}; known: embedded, inline, celery+redis"
    )


def _shown(url: str) -> str:
    """The address without what may be a password in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
