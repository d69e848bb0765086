"""The application of `celery -A penstock.celery_app worker|beat|inspect|control` and of Flower.

`app` is made of the settings when it is first asked for: importing this module does nothing. Its
workers open a runtime in every process that runs jobs, after the fork.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from penstock.default import using_runtime
from penstock.errors import ConfigurationError
from penstock.extras import extra
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
        raise ConfigurationError(
            "no broker is set: set CELERY_BROKER_URL, or PENSTOCK_TASKS=celery and REDIS_URL"
        )

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


@cache
def _installed() -> JobApp:
    return make(load_settings().settings)


def __getattr__(name: str) -> Any:
    if name in ("app", "celery", "celery_app"):
        return _installed()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
