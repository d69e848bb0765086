"""A process that runs jobs and nothing else: `penstock worker`.

It opens the same parts as the server, without the HTTP API. SIGTERM and SIGINT let the running jobs
end, within ten seconds; those that do not, and all that wait, stay queued for the next process.
Where jobs run on Celery, the process becomes Celery's own worker.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import NoReturn

from penstock.default import using_runtime
from penstock.errors import ConfigurationError
from penstock.observe.logging import get_logger
from penstock.runtime import Runtime, open_runtime
from penstock.settings import Settings
from penstock.tasks.job import QUEUES

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_log = get_logger("penstock.worker")


async def run_worker(
    settings: Settings,
    *,
    queues: Sequence[str] = (),
    include: Sequence[str] = (),
    concurrency: int | None = None,
    ready: Callable[[Runtime], None] | None = None,
) -> None:
    """Run jobs until a signal asks for the end.

    `queues` are all five by default; `include` names modules beside those of the settings;
    `concurrency` is how many jobs of each queue run at once. `ready` is told when it has begun.
    Raises ConfigurationError, which says what is wrong, before it takes a job.
    """
    with _asked_to_end() as ended:
        async with working(
            settings, queues=queues, include=include, concurrency=concurrency
        ) as runtime:
            _log.info(
                "worker.started", tasks=len(runtime.jobs.tasks), queues=list(queues or QUEUES)
            )
            if ready is not None:
                ready(runtime)
            await ended.wait()
            _log.info("worker.stopping")


@asynccontextmanager
async def working(
    settings: Settings,
    *,
    queues: Sequence[str] = (),
    include: Sequence[str] = (),
    concurrency: int | None = None,
) -> AsyncIterator[Runtime]:
    """A runtime that runs the jobs of these queues until the block ends."""
    count = _checked(settings, queues, concurrency)
    if include:
        settings = settings.model_copy(update={"include": _included(settings, include)})
    workers = dict.fromkeys(queues or QUEUES, count)
    async with open_runtime(settings, workers=workers, around=using_runtime) as runtime:
        yield runtime


def become_celery(
    settings: Settings,
    *,
    queues: Sequence[str] = (),
    include: Sequence[str] = (),
    concurrency: int | None = None,
    beat: bool = False,
) -> NoReturn:
    """Replace this process by `celery worker` with the options that are meant.

    Raises ConfigurationError before.
    """
    command, changes = celery_command(
        settings, queues=queues, include=include, concurrency=concurrency, beat=beat
    )
    os.execve(command[0], command, {**os.environ, **changes})


def celery_command(
    settings: Settings,
    *,
    queues: Sequence[str] = (),
    include: Sequence[str] = (),
    concurrency: int | None = None,
    beat: bool = False,
) -> tuple[list[str], dict[str, str]]:
    """The command of a Celery worker, and what it adds to the environment."""
    count = _checked(settings, queues, concurrency)
    command = [sys.executable, "-m", "celery", "-A", "penstock.celery_app", "worker"]
    command += ["--queues", ",".join(queues or QUEUES), "--concurrency", str(count)]
    command += ["--loglevel", settings.log_level]
    if beat:
        command.append("--beat")
    return command, {
        "PENSTOCK_HOME": str(settings.home.absolute()),
        "PENSTOCK_INCLUDE": ",".join(_included(settings, include)),
    }


def _checked(settings: Settings, queues: Sequence[str], concurrency: int | None) -> int:
    for queue in queues:
        if queue not in QUEUES:
            raise ConfigurationError(f"no queue is called {queue!r}; known: {', '.join(QUEUES)}")
    count = settings.task_workers if concurrency is None else concurrency
    if count < 1:
        raise ConfigurationError(
            "a worker with 0 workers would run nothing: set TASK_QUEUE_WORKERS or --concurrency"
        )
    return count


def _included(settings: Settings, include: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*settings.include, *include)))


@contextmanager
def _asked_to_end() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set; a second signal is as rude as ever."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        ended.set()
        for each in _SIGNALS:
            loop.remove_signal_handler(each)

    for each in _SIGNALS:
        loop.add_signal_handler(each, end)
    try:
        yield ended
    finally:
        end()
