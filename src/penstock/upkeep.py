"""What an installation does for itself: forgets what is old, and looks at its own health.

One retention policy: a `Rule` says how long something is kept and how it is forgotten, `Retention`
applies all of them. The hourly task and the endpoints that clean on demand call the same `apply`.
The parts are handed in as functions, so that nothing here knows a table or a tier.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from penstock.clock import Clock
from penstock.errors import NotFound, PenstockError, TaskError
from penstock.observe.health import Health
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks.context import ctx
from penstock.tasks.ping import ping_task
from penstock.tasks.task import Task, declare

CLEANUP: Final = "cleanup"
HEALTH_REPORT: Final = "health-report"

_QUEUE: Final = "maintenance"
_WEEK: Final = 7 * 86_400.0

_log = get_logger(__name__)


class Rule(msgspec.Struct, frozen=True):
    """What is kept for how long.

    `forget` is handed an instant (milliseconds since 1970) and removes what is older, or what it
    knows itself to be over; it says how much that was.
    """

    what: str  # "verdicts": a label in metrics and the name to ask for
    forget: Callable[[int], Awaitable[int]]
    keep: float = 0.0  # seconds; 0 for what carries its own end


class Cleaned(msgspec.Struct, frozen=True):
    """What a cleanup removed, and what it could not."""

    removed: dict[str, int]
    failed: dict[str, str]  # why


class Retention:
    """All rules of an installation."""

    def __init__(self, rules: Sequence[Rule], *, clock: Clock, metrics: Metrics) -> None:
        self._rules = {rule.what: rule for rule in rules}
        self._clock = clock
        self._metrics = metrics

    async def apply(self, *only: str) -> Cleaned:
        """Forget what is over: all of it, or what `only` names.

        A rule that fails keeps no other from being applied. Raises NotFound for a name that no
        rule has.
        """
        removed: dict[str, int] = {}
        failed: dict[str, str] = {}
        for rule in self._chosen(only):
            ctx.check()
            ctx.progress(len(removed) + len(failed), len(only or self._rules), rule.what)
            before = int((self._clock.now() - rule.keep) * 1000)
            try:
                removed[rule.what] = count = await rule.forget(before)
            except Exception as error:  # the edge of a rule: the next one is as due
                failed[rule.what] = self._failed(rule, error)
            else:
                self._metrics.count("penstock_cleanup_removed_total", count, what=rule.what)
        _log.info("upkeep.cleaned", removed=removed, failed=sorted(failed))
        return Cleaned(removed, failed)

    def _chosen(self, only: Sequence[str]) -> list[Rule]:
        unknown = [what for what in only if what not in self._rules]
        if unknown:
            raise NotFound(
                f"nothing that is kept is called {unknown[0][:80]!r}; "
                f"known: {', '.join(self._rules)}"
            )
        return [self._rules[what] for what in only or self._rules]

    def _failed(self, rule: Rule, error: Exception) -> str:
        self._metrics.count("penstock_cleanup_failures_total", what=rule.what)
        if isinstance(error, PenstockError):
            _log.warning("upkeep.cleanup_failed", what=rule.what, detail=error.detail)
            return error.detail
        _log.exception("upkeep.cleanup_failed", what=rule.what)
        return f"it failed with {type(error).__name__}"


def upkeep_tasks(
    *,
    retention: Retention,
    report: Callable[[], Awaitable[Health]],
    metrics: Metrics,
    alert: Callable[[Health], None] | None = None,
) -> list[Task[..., Any]]:
    """The tasks of every installation, scheduled or not; `report` asks its health checks.

    `alert` hears of a report that is not healthy, unless the one before said the same.
    """
    told = "healthy"

    @declare(name=CLEANUP, queue=_QUEUE, schedule="0 * * * *", key=CLEANUP, keep=_WEEK)
    async def cleanup() -> dict[str, int]:
        """Forget what is over; how much, by what it was."""
        cleaned = await retention.apply()
        if cleaned.failed:
            told = "; ".join(f"{what}: {why}" for what, why in cleaned.failed.items())
            raise TaskError(f"some could not be cleaned ({told}); the rest is done")
        return cleaned.removed

    @declare(
        name=HEALTH_REPORT,
        queue=_QUEUE,
        schedule="*/15 * * * *",
        key=HEALTH_REPORT,
        retries=0,
        expires="15m",
        keep=_WEEK,
    )
    async def health_report() -> Health:
        """Ask all checks and log what they say; the job keeps the report for a week."""
        health = await report()
        metrics.count("penstock_health_reports_total", status=health.status)
        checks = {name: check.status for name, check in health.checks.items()}
        tell = _log.info if health.status == "healthy" else _log.warning
        tell("upkeep.health_report", status=health.status, checks=checks)
        nonlocal told
        if alert is not None and health.status not in ("healthy", told):
            alert(health)
        told = health.status
        return health

    return [cleanup, health_report, ping_task()]
