"""What the health report looks at: database, Redis, jobs, cache tiers, disk, model, provider.

Only a missing model makes an installation unhealthy: without the others answers go on, and the
report says what they lack. A server that is silent is one that cannot be reached, as one that
refuses: a check that does not answer in time degrades too.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from penstock.observe.health import Check, CheckResult, HealthChecks
from penstock.observe.metrics import Metrics
from penstock.providers.factory import LOCAL

if TYPE_CHECKING:
    from penstock.runtime import Runtime

LITTLE_DISK: Final = 1 << 30  # bytes
LOCAL_MODEL: Final = "penstock-local"
BREAKER: Final = "penstock_provider_breaker_open_ratio"


def add_checks(checks: HealthChecks, runtime: Runtime) -> None:
    """Add the checks of an open runtime; a cache tier's is called `cache.memory`."""
    settings = runtime.settings

    async def database() -> CheckResult:
        health = await runtime.database.health()
        found = told(health["detail"])
        pool = health.get("pool")
        if found.status != "healthy" or pool is None:
            return found
        about = f"PostgreSQL {health.get('version')}, {health['latency_seconds'] * 1e3:.1f} ms"
        return CheckResult("healthy", f"{about}, {pool['used']} of {pool['most']} connections used")

    async def tasks() -> CheckResult:
        return told(await runtime.jobs.store.health())

    async def disk_space() -> CheckResult:
        return disk(settings.home, free=shutil.disk_usage(settings.home).free)

    async def model() -> CheckResult:
        return local_model(runtime.moderation.models)

    async def provider() -> CheckResult:
        return providers(settings.provider, runtime.metrics)

    async def hub() -> CheckResult:
        return told((await runtime.hub.status()).detail)

    checks.add("database", database)
    if settings.redis is not None:
        checks.add("redis", hub)
    checks.add("tasks", tasks)
    for tier in settings.cache:
        checks.add(f"cache.{tier}", _tier(runtime, tier))
    checks.add("disk_space", disk_space)
    checks.add("model", model, failing="unhealthy")
    checks.add("provider", provider)


def told(detail: str) -> CheckResult:
    """Degraded with what a part says of itself, `what is wrong; what to do`; healthy if nothing."""
    if not detail:
        return CheckResult("healthy")
    what, _, fix = detail.partition("; ")
    return CheckResult("degraded", what, fix)


def disk(folder: Path, *, free: int) -> CheckResult:
    """Whether the volume of `folder` has room, given its free bytes."""
    detail = f"{free >> 20} MB free"
    if free >= LITTLE_DISK:
        return CheckResult("healthy", detail)
    return CheckResult("degraded", detail, f"free space on the volume of {folder}")


def local_model(versions: Mapping[str, str]) -> CheckResult:
    """Whether the local model is among those that judge."""
    version = versions.get(LOCAL_MODEL)
    if version:
        return CheckResult("healthy", version)
    return CheckResult(
        "unhealthy",
        "the local model is not loaded",
        "install penstock again: the model ships with the package",
    )


def providers(urls: Sequence[str], metrics: Metrics) -> CheckResult:
    """Whether the breakers let calls through; calls nobody."""
    hosts = [urlsplit(url).netloc for url in urls if url != LOCAL]
    if not hosts:
        return CheckResult("healthy", "none is set: the local model judges alone")
    down = [host for host in hosts if metrics.total(BREAKER, provider=host) > 0]
    if not down:
        return CheckResult("healthy", ", ".join(hosts))
    return CheckResult(
        "degraded",
        f"calls in a row failed, so {', '.join(down)} rests and is tried again by itself",
        "check PENSTOCK_PROVIDER, PENSTOCK_PROVIDER_KEY and the provider's own status; "
        "until then the policy's on_provider_failure decides",
    )


def _tier(runtime: Runtime, name: str) -> Check:
    async def check() -> CheckResult:
        stats = await runtime.cache.stats()
        if not stats.enabled:
            return CheckResult("healthy", "the cache is turned off")
        tier = stats.tiers.get(name)
        if tier is None or (tier.state == "down" and not tier.detail):
            return CheckResult("degraded", f"the tier {name} does not answer", "see the log")
        return told(tier.detail or "")

    return check
