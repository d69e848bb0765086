"""Opens what a command works on: the settings, all parts, only the cache or only the keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from penstock.cache import Cache
    from penstock.runtime import Runtime
    from penstock.server.keys import KeyRing
    from penstock.settings import Settings
    from penstock.tasks import TaskQueue

T = TypeVar("T")


def settings() -> Settings:
    """The settings of the environment and `.env`; what looks like a mistake is said.

    Raises ConfigurationError.
    """
    import click

    from penstock.settings import load_settings

    loaded = load_settings()
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return loaded.settings


def with_runtime(work: Callable[[Runtime], Awaitable[T]], *, workers: int | None = 0) -> T:
    """Run `work` on an open runtime and close it.

    It runs no jobs meanwhile, unless `workers` says how many of each queue; None: as the settings.
    """
    from penstock.runtime import open_runtime

    async def run() -> T:
        async with open_runtime(settings(), workers=workers) as runtime:
            return await work(runtime)

    return asyncio.run(run())


def with_cache(work: Callable[[Cache], Awaitable[T]]) -> T:
    """Run `work` on the cache: works without the database, loads no model."""
    from penstock.observe.metrics import Metrics
    from penstock.runtime import open_layer_cache

    async def run(cache: Cache) -> T:
        return await work(cache)

    cache, close = open_layer_cache(settings(), metrics=Metrics())
    try:
        return asyncio.run(run(cache))
    finally:
        close()


def with_jobs(work: Callable[[TaskQueue], Awaitable[T]]) -> T:
    """Run `work` on the jobs: looks at them and steers them, runs none, imports no user's module.

    Works without the database, loads no model.
    """
    from penstock.observe.metrics import Metrics
    from penstock.runtime import open_layer_queue

    async def run() -> T:
        own = settings().model_copy(update={"include": (), "task_workers": 0})
        async with open_layer_queue(own, metrics=Metrics()) as jobs:
            return await work(jobs)

    return asyncio.run(run())


def with_keys(work: Callable[[KeyRing], Awaitable[T]]) -> T:
    """Run `work` on the API keys: opens the database and the hub, loads no model."""

    async def run() -> T:
        async with open_keys(settings()) as ring:
            return await work(ring)

    return asyncio.run(run())


@asynccontextmanager
async def open_keys(settings: Settings) -> AsyncIterator[KeyRing]:
    """The API keys of an installation; its folder and its tables are made if need be."""
    from penstock.clock import SystemClock
    from penstock.db.engine import open_database
    from penstock.hub import LocalHub
    from penstock.runtime import prepare_home
    from penstock.server.keys import KeyRing

    prepare_home(settings.home)
    async with AsyncExitStack() as stack:
        hub = LocalHub(settings.home)
        stack.callback(hub.close)
        database = open_database(settings.database, folder=settings.home)
        stack.push_async_callback(database.aclose)
        yield KeyRing(database, hub, SystemClock(), admin_key=settings.admin_token)
