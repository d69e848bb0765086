"""Builds every part from the settings and takes them down again, in one exit stack.

The server, the command line and the tests all open a runtime; nothing else knows all the parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass
from typing import Any

from penstock import pii
from penstock.audit import AuditLog
from penstock.batch import Batches
from penstock.bridges import CacheForReview, VerdictsForReview, WebhooksForServices
from penstock.cache import Cache
from penstock.checks import add_checks
from penstock.clock import Clock, SystemClock
from penstock.db.engine import Database, open_database
from penstock.hub import Hub, open_hub
from penstock.images import Limits
from penstock.lists.lists import KEEP_REMOVED, Lists
from penstock.net.dial import Dialler
from penstock.net.guard import Guard
from penstock.notify import Mailer, Webhooks, open_server
from penstock.observe.effects import Effects
from penstock.observe.health import HealthChecks
from penstock.observe.metrics import Metrics
from penstock.observe.sharing import Sharing
from penstock.opening import open_cache, open_jobs, open_providers, prepare_home
from penstock.pipeline import Pipeline
from penstock.providers.provider import seer
from penstock.providers.resilience import Subject
from penstock.services.moderation.evidence import Evidence
from penstock.services.moderation.excerpt import ExcerptRule
from penstock.services.moderation.language import identify
from penstock.services.moderation.looking import Looker
from penstock.services.moderation.perspective import Perspective
from penstock.services.moderation.perspective_store import PerspectiveStore
from penstock.services.moderation.policies import Policies
from penstock.services.moderation.policy import load_policy
from penstock.services.moderation.reading import Reader
from penstock.services.moderation.rules import Rules
from penstock.services.moderation.service import ModerationService
from penstock.services.moderation.store import VerdictStore
from penstock.services.moderation.tasks import operations
from penstock.services.review.service import ReviewService
from penstock.services.review.store import ReviewStore
from penstock.settings import Settings
from penstock.tasks import TaskQueue
from penstock.tasks.bulk import bulk_task
from penstock.upkeep import Retention, Rule, upkeep_tasks
from penstock.usage import Budgets, BudgetStore, CounterStore, HubCounters, Usage
from penstock.words.lexicon import load_lexicon
from penstock.words.prescreen import Prescreen

_DAY = 86_400.0
STATISTICS_KEPT = 400 * _DAY  # as far back as `/v1/usage` reads


@dataclass(frozen=True, slots=True)
class Runtime:
    """The open parts of one process."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    sharing: Sharing | None  # None: this process counts for itself
    hub: Hub
    database: Database
    cache: Cache
    audit: AuditLog
    effects: Effects
    usage: Usage
    budgets: Budgets
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
        hub = await open_hub(settings.redis, settings.home, clock=clock, metrics=metrics)
        stack.push_async_callback(hub.aclose)
        database = open_database(
            settings.database,
            folder=settings.home,
            durability=settings.durability,
            pool=(settings.db_pool_size, settings.db_pool_overflow),
            metrics=metrics,
        )
        stack.push_async_callback(database.aclose)
        cache = open_cache(settings, hub=hub, clock=clock, metrics=metrics)
        stack.push_async_callback(cache.aclose)
        _own(stack, cache.upkeep())
        effects = Effects(clock=clock, metrics=metrics)
        counted = CounterStore(database)
        usage = Usage(
            database,
            clock=clock,
            metrics=metrics,
            effects=effects,
            counters=counted if settings.redis is None else HubCounters(hub, earlier=counted),
        )
        sharing = None
        if settings.redis is not None and settings.enable_metrics:
            sharing = Sharing(metrics, hub, clock=clock, effects=effects)
            _own(stack, sharing.keep())
        _own(stack, effects.keep())
        budgets = Budgets(usage, clock=clock, known=BudgetStore(database), metrics=metrics)
        _own(stack, budgets.keep())

        def called(what: Subject, seconds: float, failed: bool) -> None:
            usage.statistics.called(what, seconds, failed=failed)

        local, provider = await open_providers(
            settings, stack, hub=hub, clock=clock, metrics=metrics, told=called
        )
        audit = AuditLog(database, clock=clock)
        dialler = Dialler(Guard(allow=settings.allow_private))
        jobs = open_jobs(settings, stack, hub=hub, clock=clock, metrics=metrics, workers=workers)
        webhooks = Webhooks(
            database,
            hub=hub,
            queue=jobs,
            dialler=dialler,
            clock=clock,
            metrics=metrics,
            audit=audit,
            mail=_mailer(settings, queue=jobs, clock=clock),
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
        stack.push_async_callback(policies.aclose)
        await policies.refresh()
        lists = Lists(database, hub=hub, clock=clock, audit=audit, metrics=metrics)
        stack.push_async_callback(lists.aclose)
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
                pipeline=pipeline,
                reader=reader,
                looker=looker,
                lists=lists,
                metrics=metrics,
                may_spend=budgets.check_key,
                usage=usage,
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
        stack.push_async_callback(perspective.aclose)
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
            may_spend=budgets.check_key,
        )
        jobs.register(batches.tasks())
        kept = _rules(
            settings, jobs=jobs, cache=cache, batches=batches, lists=lists, verdicts=verdicts
        )
        kept.append(Rule("statistics", counted.purge, STATISTICS_KEPT))
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
            sharing=sharing,
            hub=hub,
            database=database,
            cache=cache,
            audit=audit,
            effects=effects,
            usage=usage,
            budgets=budgets,
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


def _mailer(settings: Settings, *, queue: TaskQueue, clock: Clock) -> Mailer:
    """Who tells of events by mail; knows no server where nobody is to be told."""
    url = settings.smtp_url if settings.mail_to else None
    return Mailer(
        None if url is None else open_server(url),
        sender=settings.mail_from or "",
        to=settings.mail_to,
        events=settings.mail_events,
        queue=queue,
        clock=clock,
    )


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
