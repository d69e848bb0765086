"""Opens single parts as the settings describe them: data folder, hub, cache, queue, providers.

`runtime.py` puts them together for a server; the library opens the ones that it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.cache import Cache, Store, open_store
from penstock.clock import Clock, SystemClock
from penstock.errors import ConfigurationError
from penstock.hub import Hub, LocalHub, open_hub
from penstock.observe.metrics import Metrics
from penstock.providers.factory import LOCAL, open_provider
from penstock.providers.provider import Provider
from penstock.providers.resilience import Told
from penstock.services.moderation.prompts import image_prompt, moderation_prompt
from penstock.settings import Settings
from penstock.tasks import Task, TaskQueue, find_tasks, open_queue


def open_layer_cache(settings: Settings, *, metrics: Metrics) -> tuple[Cache, Callable[[], None]]:
    """The cache alone, for the library without a server, and what closes it."""
    prepare_home(settings.home)
    hub = _layer_hub(settings, metrics=metrics)
    cache = open_cache(settings, hub=hub, clock=SystemClock(), metrics=metrics)

    def close() -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(cache.aclose())  # the process ends
        else:
            with ThreadPoolExecutor(1) as thread:  # an application stops on a loop of its own
                thread.submit(asyncio.run, cache.aclose()).result()
        hub.close()

    return cache, close


@asynccontextmanager
async def open_layer_queue(
    settings: Settings, *, metrics: Metrics, tasks: Callable[[], Iterable[Task[..., Any]]] = tuple
) -> AsyncIterator[TaskQueue]:
    """The task queue alone, for the library without a server; closing leaves its jobs queued.

    It runs `tasks`, asked for after the modules of the settings were imported.
    """
    prepare_home(settings.home)
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        hub = await open_hub(settings.redis, settings.home, clock=clock, metrics=metrics)
        stack.push_async_callback(hub.aclose)
        queue = open_jobs(settings, stack, hub=hub, clock=clock, metrics=metrics)
        queue.register(tasks())
        await queue.start()
        yield queue


def _layer_hub(settings: Settings, *, metrics: Metrics) -> Hub:
    if settings.redis is None:
        return LocalHub(settings.home)
    from penstock.hub.elsewhere import HubElsewhere

    return HubElsewhere(lambda: open_hub(settings.redis, settings.home, metrics=metrics))


def prepare_home(home: Path) -> None:
    """Make the data folder, readable by its owner only."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the data folder {home} cannot be made: {error.strerror}; "
            "set PENSTOCK_HOME to a folder that this user may write"
        ) from error
    if home.stat().st_mode & 0o002:
        raise ConfigurationError(
            f"everyone on this machine may write the data folder {home}, where the keys are kept; "
            f"run: chmod o-w {home}"
        )


def open_cache(settings: Settings, *, hub: Hub, clock: Clock, metrics: Metrics) -> Cache:
    """The cache with the tiers of the settings."""
    stores: list[Store] = [
        open_store(_store_url(tier, settings), clock=clock) for tier in settings.cache
    ]
    return Cache(
        stores,
        hub=hub,
        clock=clock,
        ttl=settings.cache_ttl,
        max_ttl=settings.cache_max_ttl,
        prefix=settings.cache_prefix,
        metrics=metrics,
        enabled=settings.enable_cache,
    )


def open_jobs(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    hub: Hub,
    clock: Clock,
    metrics: Metrics,
    workers: int | Mapping[str, int] | None = None,
) -> TaskQueue:
    """The task queue, not yet started; it stops with `stack`."""
    included = find_tasks(settings.include)
    queue = open_queue(
        settings.task_engine,
        clock=clock,
        metrics=metrics,
        hub=hub,
        workers=settings.task_workers if workers is None else workers,
        durability=settings.durability,
    )
    stack.push_async_callback(queue.stop)
    queue.register(included)
    return queue


def _store_url(tier: str, settings: Settings) -> str:
    match tier:
        case "memory":
            return f"memory://?max_bytes={settings.cache_memory_bytes}"
        case "disk":
            path = (settings.home / "cache.db").absolute()
            return f"disk://{path}?max_bytes={settings.cache_disk_bytes}"
        case "redis" if settings.redis is not None:
            return settings.redis
    raise ConfigurationError(f"no cache tier is called {tier!r}; known: memory, disk, redis")


async def open_providers(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    hub: Hub,
    clock: Clock,
    metrics: Metrics,
    told: Told,
) -> tuple[Provider, Provider | None]:
    """The local model, which always reads, and the provider behind it, if one is set."""
    local = open_provider(LOCAL, clock=clock, metrics=metrics)
    stack.push_async_callback(local.aclose)
    urls = [url for url in settings.provider if url != LOCAL]
    if not urls:
        return local, None
    key = settings.provider_key
    provider = open_provider(
        urls,
        key=key.get_secret_value() if key else None,
        model=settings.model,
        prompt=moderation_prompt(),
        image_prompt=image_prompt(),
        vision={"auto": None, "on": True, "off": False}[settings.provider_vision],
        clock=clock,
        metrics=metrics,
        deadline=settings.provider_timeout,
        connect_timeout=settings.provider_connect_timeout,
        read_timeout=settings.provider_read_timeout,
        retries=settings.provider_retries,
        concurrency=settings.provider_concurrency,
        price_in=settings.provider_price_in,
        price_out=settings.provider_price_out,
        hub=None if settings.redis is None else hub,
        told=told,
    )
    stack.push_async_callback(provider.aclose)
    return local, provider
