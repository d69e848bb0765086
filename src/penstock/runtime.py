"""Builds every part from the settings and takes them down again, in one exit stack.

The server, the command line and the tests all open a runtime; nothing else knows all the parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock import pii
from penstock.audit import AuditLog
from penstock.batch import Batches
from penstock.bridges import CacheForReview, VerdictsForReview, WebhooksForServices
from penstock.cache import Cache, Store, open_store
from penstock.checks import add_checks
from penstock.clock import Clock, SystemClock
from penstock.db.engine import Database, open_database
from penstock.errors import ConfigurationError
from penstock.hub import Hub, LocalHub
from penstock.images import Limits
from penstock.lists.lists import KEEP_REMOVED, Lists
from penstock.net.dial import Dialler
from penstock.net.guard import Guard
from penstock.notify import Webhooks
from penstock.observe.health import HealthChecks
from penstock.observe.metrics import Metrics
from penstock.pipeline import Pipeline
from penstock.providers.factory import LOCAL, open_provider
from penstock.providers.provider import Provider, seer
from penstock.services.moderation.evidence import Evidence
from penstock.services.moderation.excerpt import ExcerptRule
from penstock.services.moderation.language import identify
from penstock.services.moderation.looking import Looker
from penstock.services.moderation.perspective import Perspective
from penstock.services.moderation.perspective_store import PerspectiveStore
from penstock.services.moderation.policies import Policies
from penstock.services.moderation.policy import load_policy
from penstock.services.moderation.prompts import image_prompt, moderation_prompt
from penstock.services.moderation.reading import Reader
from penstock.services.moderation.rules import Rules
from penstock.services.moderation.service import ModerationService
from penstock.services.moderation.store import VerdictStore
from penstock.services.moderation.tasks import operations
from penstock.services.review.service import ReviewService
from penstock.services.review.store import ReviewStore
from penstock.settings import Settings
from penstock.tasks import Task, TaskQueue, find_tasks, open_queue
from penstock.tasks.bulk import bulk_task
from penstock.upkeep import Retention, Rule, upkeep_tasks
from penstock.usage import Usage
from penstock.words.lexicon import load_lexicon
from penstock.words.prescreen import Prescreen

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Runtime:
    """The open parts of one process."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    hub: Hub
    database: Database
    cache: Cache
    audit: AuditLog
    usage: Usage
    dialler: Dialler
    policies: Policies
    lists: Lists
    verdicts: VerdictStore
    looker: Looker
    rules: Rules
    review: ReviewService
    webhooks: Webhooks
    perspective: Perspective
    moderation: ModerationService
    jobs: TaskQueue
    batches: Batches
    retention: Retention
    checks: HealthChecks


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    *,
    clock: Clock | None = None,
    workers: int | Mapping[str, int] | None = None,
    around: Callable[[Runtime], AbstractContextManager[object]] = nullcontext,
) -> AsyncIterator[Runtime]:
    """Open all parts; closing writes what waits.

    `workers` is how many jobs of each queue run at once here, by default what the settings say; 0
    for who only enqueues and looks. `around` is entered before the first job runs. Raises
    ConfigurationError or StorageError with what to do, before anything is served.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        prepare_home(settings.home)
        metrics = Metrics()
        hub = LocalHub(settings.home)
        stack.callback(hub.close)
        database = open_database(
            settings.database,
            folder=settings.home,
            durability=settings.durability,
            metrics=metrics,
        )
        stack.push_async_callback(database.aclose)
        cache = _open_cache(settings, hub=hub, clock=clock, metrics=metrics)
        stack.push_async_callback(cache.aclose)
        _own(stack, cache.upkeep())
        local, provider = await _open_providers(settings, stack, clock=clock, metrics=metrics)
        audit = AuditLog(database, clock=clock)
        usage = Usage(database, clock=clock, metrics=metrics)
        _own(stack, usage.keep())
        dialler = Dialler(Guard(allow=settings.allow_private))
        jobs = _open_queue(settings, stack, hub=hub, clock=clock, metrics=metrics, workers=workers)
        webhooks = Webhooks(
            database,
            hub=hub,
            queue=jobs,
            dialler=dialler,
            clock=clock,
            metrics=metrics,
            audit=audit,
        )
        jobs.register(webhooks.tasks())
        _own(stack, webhooks.keep())
        emit = WebhooksForServices(webhooks, clock)
        verdicts = VerdictStore(database, hub=hub)
        policies = Policies(
            database,
            hub=hub,
            clock=clock,
            audit=audit,
            base=load_policy(settings.policy),
            on_change=emit.policy,
        )
        lists = Lists(database, hub=hub, clock=clock, audit=audit, metrics=metrics)
        await lists.refresh()
        _own(stack, lists.keep())
        review = ReviewService(
            store=ReviewStore(database),
            decisions=lists,
            forget=CacheForReview(cache),
            verdicts=VerdictsForReview(verdicts),
            audit=audit,
            clock=clock,
            metrics=metrics,
            emit=emit,
        )
        pipeline = Pipeline(cache=cache, metrics=metrics, clock=clock)
        rules = Rules(Prescreen(load_lexicon()))
        _own(stack, asyncio.to_thread(pii.warm))
        reader = Reader(
            rules=rules, local=local, provider=provider, metrics=metrics, identify=identify
        )
        looker = Looker(
            pipeline=pipeline,
            dialler=dialler,
            provider=seer(provider),
            metrics=metrics,
            limits=Limits(bytes=settings.max_image_bytes),
        )
        moderation = ModerationService(
            reader=reader,
            evidence=Evidence(
                pipeline=pipeline, reader=reader, looker=looker, lists=lists, metrics=metrics
            ),
            policies=policies,
            store=verdicts,
            referrals=review,
            usage=usage,
            metrics=metrics,
            clock=clock,
            emit=emit,
            excerpt_rule=ExcerptRule(max_words=settings.provider_excerpt_words),
            store_text=settings.store_text,
            normalise=settings.normalise_texts,
        )
        perspective = Perspective(
            moderation,
            rules=rules,
            store=PerspectiveStore(database),
            hub=hub,
            clock=clock,
            audit=audit,
            usage=usage,
            metrics=metrics,
            folder=settings.home / "models",
            store_text=settings.store_text,
        )
        jobs.register([bulk_task(jobs.engine, jobs.store)])
        batches = Batches(
            database=database,
            queue=jobs,
            operations=operations(moderation, clock=clock, max_inputs=settings.max_inputs),
            clock=clock,
            metrics=metrics,
            concurrency=settings.batch_concurrency,
            max_items=settings.batch_max_items,
            keep=settings.batch_retention_days * 86_400.0,
        )
        jobs.register(batches.tasks())
        kept = _rules(
            settings, jobs=jobs, cache=cache, batches=batches, lists=lists, verdicts=verdicts
        )
        kept += _review_rules(settings, review=review, clock=clock)
        retention = Retention(kept, clock=clock, metrics=metrics)
        checks = HealthChecks(clock)
        jobs.register(
            upkeep_tasks(retention=retention, report=checks.run, metrics=metrics, alert=emit.alert)
        )
        runtime = Runtime(
            settings=settings,
            clock=clock,
            metrics=metrics,
            hub=hub,
            database=database,
            cache=cache,
            audit=audit,
            usage=usage,
            dialler=dialler,
            policies=policies,
            lists=lists,
            verdicts=verdicts,
            looker=looker,
            rules=rules,
            review=review,
            webhooks=webhooks,
            perspective=perspective,
            moderation=moderation,
            jobs=jobs,
            batches=batches,
            retention=retention,
            checks=checks,
        )
        add_checks(checks, runtime)
        stack.enter_context(around(runtime))
        # The last to start and the first to stop: jobs use all the rest.
        stack.push_async_callback(jobs.stop)
        await jobs.start()
        if workers != 0:
            _own(stack, batches.keep_house())
        yield runtime


def _rules(
    settings: Settings,
    *,
    jobs: TaskQueue,
    cache: Cache,
    batches: Batches,
    lists: Lists,
    verdicts: VerdictStore,
) -> list[Rule]:
    """What is kept for how long; 0 days: as long as it says itself."""

    async def ended_jobs(before: int) -> int:
        count = await jobs.prune()
        if settings.job_retention_days:
            count += await jobs.prune(before=before)
        return count

    rules = [
        Rule("jobs", ended_jobs, settings.job_retention_days * _DAY),
        Rule("cache", lambda _: cache.sweep()),
        Rule("batches", batches.purge, settings.batch_retention_days * _DAY),
        Rule("list-entries", lists.purge, KEEP_REMOVED),
    ]
    if settings.retention_days:
        rules.append(Rule("verdicts", verdicts.purge, settings.retention_days * _DAY))
    return rules


def _review_rules(settings: Settings, *, review: ReviewService, clock: Clock) -> list[Rule]:
    async def content(_: int) -> int:
        return await review.purge_content(int(clock.now() * 1000))

    rules = [Rule("case-content", content)]
    if settings.retention_days:
        rules.append(Rule("cases", review.purge, settings.retention_days * _DAY))
    return rules


def _own(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` beside everything else until the stack unwinds."""
    task = asyncio.ensure_future(work)

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)


def open_layer_cache(settings: Settings, *, metrics: Metrics) -> tuple[Cache, Callable[[], None]]:
    """The cache alone, for the library without a server, and what closes it."""
    prepare_home(settings.home)
    hub = LocalHub(settings.home)
    cache = _open_cache(settings, hub=hub, clock=SystemClock(), metrics=metrics)

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
        hub = LocalHub(settings.home)
        stack.callback(hub.close)
        queue = _open_queue(settings, stack, hub=hub, clock=SystemClock(), metrics=metrics)
        queue.register(tasks())
        await queue.start()
        yield queue


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


def _open_cache(settings: Settings, *, hub: Hub, clock: Clock, metrics: Metrics) -> Cache:
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


def _open_queue(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    hub: Hub,
    clock: Clock,
    metrics: Metrics,
    workers: int | Mapping[str, int] | None = None,
) -> TaskQueue:
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
    raise ConfigurationError(f"no cache tier is called {tier!r}; known: memory, disk")


async def _open_providers(
    settings: Settings, stack: AsyncExitStack, *, clock: Clock, metrics: Metrics
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
    )
    stack.push_async_callback(provider.aclose)
    return local, provider
