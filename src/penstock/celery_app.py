"""The application of `celery -A penstock.celery_app worker|beat|inspect|control` and of Flower.

`app` is made of the settings when it is first asked for: importing this module does nothing. Its
workers open a runtime in every process that runs jobs, after the fork.

Celery prints a traceback of whatever cannot be imported, so that under its command line (and
Flower's) what is wrong with the settings is said here, in one line, and ends the process.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from penstock.default import using_runtime
from penstock.errors import ConfigurationError, PenstockError
from penstock.extras import extra
from penstock.net.address import shown
from penstock.runtime import open_runtime
from penstock.settings import Settings, load_settings
from penstock.tasks import TaskQueue, find_tasks

if TYPE_CHECKING:
    from penstock.tasks.celery.app import JobApp


def make(settings: Settings) -> JobApp:
    """The application of an installation. Raises ConfigurationError when it has no broker."""
    with extra("celery"):
        from penstock.tasks.celery.address import parse
        from penstock.tasks.celery.app import make_app
        from penstock.tasks.celery.worker.place import LoopPlace

    if settings.tasks != "celery":
        raise ConfigurationError(_not_celery(settings))

    @asynccontextmanager
    async def opens() -> AsyncIterator[TaskQueue]:
        async with open_runtime(settings, workers=0, around=using_runtime) as runtime:
            yield runtime.jobs

    place = LoopPlace(opens, node=lambda: app.node)
    app = make_app(
        parse(settings.task_engine),
        place=place,
        tasks=find_tasks(settings.include),
        worker_concurrency=settings.task_workers,
    )
    return app


def _not_celery(settings: Settings) -> str:
    if settings.redis is None:
        return "no broker is set: set CELERY_BROKER_URL, or PENSTOCK_TASKS=celery and REDIS_URL"
    return (
        f"{shown(settings.redis)} is set, and not that jobs run on it: set PENSTOCK_TASKS=celery "
        "(or CELERY_BROKER_URL), for workers, beat and servers alike"
    )


def pixel() -> JobApp:
    """The application at Pixel's path, where a Redis is a broker, too: it knows no other variable.

    That servers have to be told the same (else they run their jobs themselves) is said.
    """
    with _said():
        loaded = load_settings()
        settings = loaded.settings
        is_open = settings.tasks == "embedded" and loaded.origins["tasks"].source == "default"
        if is_open and (broker := settings.broker) is not None:
            settings = settings.model_copy(update={"tasks": "celery"})
            sys.stderr.write(
                f"jobs are taken from {shown(broker)}; "
                "set PENSTOCK_TASKS=celery for the servers too, or they run theirs themselves\n"
            )
        return make(settings)


@cache
def _installed() -> JobApp:
    with _said():
        return make(load_settings().settings)


@contextmanager
def _said() -> Iterator[None]:
    """End a command line of Celery's with one line; let Python code have the error."""
    try:
        yield
    except PenstockError as error:
        click = sys.modules.get("click")
        if click is None or click.get_current_context(silent=True) is None:
            raise
        sys.stderr.write(f"error: {error.detail}\n")
        raise SystemExit(2) from error


def __getattr__(name: str) -> Any:
    if name in ("app", "celery", "celery_app"):
        return _installed()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
