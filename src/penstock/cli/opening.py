"""Opens what a command works on: the settings, all parts, only the jobs, the cache or the keys.

Log lines are for who looks after a server or a worker. A command says itself what its user needs to
know, so below `error` its log stays silent, unless the log level is debug.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from penstock.cli.failure import USAGE, Failure

if TYPE_CHECKING:
    from penstock.cache import Cache
    from penstock.runtime import Runtime
    from penstock.server.keys import KeyRing
    from penstock.settings import Settings
    from penstock.tasks import TaskQueue

T = TypeVar("T")


def _choose_home(_: click.Context, __: click.Parameter, folder: Path | None) -> None:
    if folder is not None:
        os.environ["PENSTOCK_HOME"] = str(folder)


at_home = click.option(
    "--home",
    type=click.Path(path_type=Path),
    expose_value=False,
    callback=_choose_home,
    help="Data folder.  [default: PENSTOCK_HOME, ./.penstock]",
)
"""The option that says which installation is meant."""


def settings() -> Settings:
    """The settings of the environment and `.env`; what looks like a mistake is said.

    Raises ConfigurationError.
    """
    from penstock.settings import load_settings

    loaded = load_settings()
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return loaded.settings


def home() -> Path:
    """The data folder in full, to be named to people."""
    from penstock.settings import load_settings

    return load_settings().settings.home.absolute()


def with_runtime(work: Callable[[Runtime], Awaitable[T]], *, workers: int | None = 0) -> T:
    """Run `work` on an open runtime and close it.

    It runs no jobs meanwhile, unless `workers` says how many of each queue; None: as the settings.
    """
    from penstock.runtime import open_runtime

    own = settings()

    async def run() -> T:
        async with open_runtime(own, workers=workers) as runtime:
            return await work(runtime)

    with quiet(own):
        return asyncio.run(run())


def where_jobs_are() -> str:
    """The place of the jobs, to be named to people: the data folder in full, or the broker."""
    from penstock.net.address import shown
    from penstock.settings import load_settings

    own = load_settings().settings
    return shown(own.broker or "") if own.tasks == "celery" else str(own.home.absolute())


def with_cache(work: Callable[[Cache], Awaitable[T]]) -> T:
    """Run `work` on the cache: works without the database, loads no model."""
    from penstock.observe.metrics import Metrics
    from penstock.opening import open_layer_cache

    async def run(cache: Cache) -> T:
        return await work(cache)

    own = settings()
    with quiet(own):
        cache, close = open_layer_cache(own, metrics=Metrics())
        try:
            return asyncio.run(run(cache))
        finally:
            close()


def with_jobs(work: Callable[[TaskQueue], Awaitable[T]]) -> T:
    """Run `work` on the jobs: looks at them and steers them, runs none, imports no user's module.

    Works without the database, loads no model. Raises Failure where no file of jobs is: it makes no
    installation in a folder that is none. With Celery they are in the broker, not in the folder.
    """
    from penstock.observe.metrics import Metrics
    from penstock.opening import open_layer_queue

    own = settings()
    has_broker = own.tasks == "celery"
    only_looking = {
        "include": (),
        "task_workers": 0,
        "tasks": "celery" if has_broker else "embedded",
    }
    own = own.model_copy(update=only_looking)
    if not has_broker and not (own.home / "tasks.db").is_file():
        raise Failure(
            f"no job file in {own.home.absolute()}",
            fix="set PENSTOCK_HOME or --home to the data folder of your server, worker or "
            "application; it is made when the first of them starts",
            exit_code=USAGE,
        )

    async def run() -> T:
        async with open_layer_queue(own, metrics=Metrics()) as jobs:
            return await work(jobs)

    with quiet(own):
        return asyncio.run(run())


def with_keys(work: Callable[[KeyRing], Awaitable[T]]) -> T:
    """Run `work` on the API keys: opens the database and the hub, loads no model."""
    own = settings()

    async def run() -> T:
        async with open_keys(own) as ring:
            return await work(ring)

    with quiet(own):
        return asyncio.run(run())


@asynccontextmanager
async def open_keys(settings: Settings) -> AsyncIterator[KeyRing]:
    """The API keys of an installation; its folder and its tables are made if need be."""
    from penstock.clock import SystemClock
    from penstock.db.engine import open_database
    from penstock.hub import open_hub
    from penstock.opening import prepare_home
    from penstock.server.keys import KeyRing

    prepare_home(settings.home)
    async with AsyncExitStack() as stack:
        hub = await open_hub(settings.redis, settings.home)
        stack.push_async_callback(hub.aclose)
        database = open_database(settings.database, folder=settings.home)
        stack.push_async_callback(database.aclose)
        yield KeyRing(database, hub, SystemClock(), admin_key=settings.admin_token)


@contextmanager
def quiet(own: Settings) -> Iterator[None]:
    """Keep what went wrong and was dealt with off the user's terminal."""
    ours = logging.getLogger("penstock")
    before = ours.level
    if own.log_level != "debug":
        ours.setLevel(logging.ERROR)
    try:
        yield
    finally:
        ours.setLevel(before)
