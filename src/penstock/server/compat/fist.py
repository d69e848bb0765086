"""FIST's own paths: single moderation, results, health, metrics and cache.

A = approved, M = manual review, R = rejected; probabilities are percent. What FIST calls content
piercing is an excerpt for the paid model here: deterministic, and the prescreen and the local
model always read the whole text.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query

from penstock.clock import Clock
from penstock.errors import InvalidInput, NotFound, StorageUnavailable
from penstock.observe.health import HealthChecks
from penstock.runtime import Runtime
from penstock.server import metrics
from penstock.server.routes.cache import Cleared, clear
from penstock.server.routes.system import HealthReport, Usage, health_report
from penstock.services.moderation.excerpt import FIST_LIMITS, FIST_PERCENTAGES, ExcerptRule
from penstock.services.moderation.schemas import Verdict
from penstock.services.moderation.service import ModerationService
from penstock.services.moderation.store import StoredVerdict
from penstock.web.errors import responses
from penstock.web.hot import Call, HotRoute
from penstock.web.roles import MaybeViewer, Operator, Viewer

Whose = Annotated[metrics.Scope, Query(description="`process`: this one since it began.")]
Every = Annotated[bool, Query(description="Every counter, gauge and histogram too.")]
Numbers = dict[str, Any]

PATH = "/api/moderate"
LOW, HIGH = 20, 80  # FIST's limits: approved up to LOW, rejected beyond HIGH

Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Words = Annotated[int, msgspec.Meta(ge=1)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]


class FistOptions(msgspec.Struct, kw_only=True):
    """What FIST lets a caller choose: excerpt shares by word count, and probability limits."""

    percentages: Annotated[list[Share], msgspec.Meta(min_length=1, max_length=16)] | None = None
    thresholds: Annotated[list[Words], msgspec.Meta(max_length=15)] | None = None
    probability_thresholds: dict[str, Percent] | None = None


class FistRequest(FistOptions, kw_only=True):
    """FIST's request."""

    content: str


class AIResult(msgspec.Struct, frozen=True):
    """The scores in one number."""

    inappropriate_probability: int  # percent
    reason: str


class FistResult(msgspec.Struct, frozen=True):
    """FIST's result."""

    moderation_id: str
    content_hash: str  # SHA-256 of the text, hexadecimal
    ai_result: AIResult
    final_decision: str  # A, M or R
    reason: str
    created_at: str
    word_count: int
    percentage_used: float  # share of the words that the paid model was sent, 0..1
    from_cache: bool


class FistResponse(msgspec.Struct, frozen=True):
    """FIST's response."""

    moderation_id: str
    status: str
    result: FistResult


def hot_routes(
    service: ModerationService, *, clock: Clock, max_words: int
) -> list[HotRoute[Any, Any]]:
    """POST /api/moderate."""

    async def moderate(request: FistRequest, call: Call) -> FistResponse:
        low, high = limits_of(request.probability_thresholds)
        verdict = await service.moderate(
            request.content,
            owner=call.principal.owner,
            key=call.principal.key_id,
            excerpt_rule=excerpt_of(request, max_words),
            pointer="/content",
        )
        call.stages.update(verdict.receipt.stages)
        made = clock.now() - verdict.receipt.age_seconds
        result = _result(verdict, request.content, low=low, high=high, made=made)
        return FistResponse(verdict.id, "completed", result)

    return [
        HotRoute(
            PATH,
            moderate,
            request=FistRequest,
            response=FistResponse,
            role="operator",
            summary="FIST: moderate one text",
            tag="fist",
        )
    ]


def router(runtime: Runtime, checks: HealthChecks, usage: Usage) -> APIRouter:
    """FIST's other routes."""
    routes = APIRouter(prefix="/api", tags=["fist"])

    @routes.get("/results/{moderation_id}", responses=responses(NotFound, StorageUnavailable))
    async def get_result(moderation_id: str, who: Viewer) -> dict[str, Any]:
        """A recorded result; only its owner and administrators see it."""
        owner = None if who.role == "admin" else who.owner
        return _stored(await runtime.moderation.find(moderation_id, owner=owner))

    @routes.get("/health")
    async def get_health(who: MaybeViewer) -> HealthReport:
        """The status word; with a key, every check, memory and processor."""
        return await health_report(checks, usage if who else None)

    @routes.get("/metrics", responses=responses(StorageUnavailable))
    async def get_metrics(_: Viewer, scope: Whose = "process", series: Every = False) -> Numbers:
        """Requests, errors, durations, cache, batches, jobs and system, as far as they are counted.

        `scope=all` has those of all servers and workers that share a Redis, since midnight UTC.
        """
        return await metrics.document(runtime, usage(), scope=scope, series=series)

    @routes.get("/cache/stats")
    async def get_cache_stats(_: Viewer) -> dict[str, Any]:
        """State of the cache."""
        stats = await runtime.cache.stats()
        return {
            "enabled": stats.enabled,
            "connected": all(tier.state == "up" for tier in stats.tiers.values()),
            "keys": stats.entries,
            "memory_bytes": stats.size_bytes,
            "hits": stats.hits,
            "misses": stats.misses,
            "hit_rate": stats.hit_rate,
            "tiers": msgspec.to_builtins(stats.tiers),
        }

    @routes.delete("/cache/clear")
    async def clear_cache(_: Operator) -> Cleared:
        """Forget every cached result."""
        return await clear(runtime.cache, runtime.clock)

    return routes


def excerpt_of(request: FistOptions, max_words: int) -> ExcerptRule:
    """Which share of a text may go to a paid model. Raises InvalidInput."""
    percentages = tuple(request.percentages or FIST_PERCENTAGES)
    limits = tuple(FIST_LIMITS if request.thresholds is None else request.thresholds)
    if list(limits) != sorted(set(limits)) or len(percentages) != len(limits) + 1:
        raise InvalidInput(
            "thresholds rise, and there is one percentage more than there are thresholds",
            errors=[{"pointer": "/thresholds", "detail": "does not fit percentages"}],
        )
    return ExcerptRule(max_words=max_words, percentages=percentages, limits=limits)


def limits_of(given: dict[str, int] | None) -> tuple[int, int]:
    """FIST's clients send `low`/`high`, with or without `_threshold`."""
    named = {name.removesuffix("_threshold"): value for name, value in (given or {}).items()}
    unknown = set(named) - {"low", "high"}
    low, high = named.get("low", LOW), named.get("high", HIGH)
    if unknown or low > high:
        detail = f"{sorted(unknown)[0]!r} is not known" if unknown else "low is above high"
        raise InvalidInput(
            f"probability_thresholds: {detail}; send low and high in percent, low <= high",
            errors=[{"pointer": "/probability_thresholds", "detail": detail}],
        )
    return low, high


def decide(
    risk: float, decision: str, *, degraded: bool, low: int = LOW, high: int = HIGH
) -> tuple[int, str]:
    """Percent and letter under a caller's limits; what no score asked for stays under review."""
    probability = percent(risk)
    if probability > high or (degraded and decision == "rejected"):
        return probability, "R"
    # Review that no score asked for: a provider failed, or the text is not English.
    unscored = probability <= LOW or degraded
    must_review = decision != "approved" and unscored
    return probability, "M" if must_review or probability > low else "A"


def _result(verdict: Verdict, text: str, *, low: int, high: int, made: float) -> FistResult:
    degraded = verdict.degraded is not None
    probability, letter = decide(
        verdict.risk, verdict.decision, degraded=degraded, low=low, high=high
    )
    return FistResult(
        moderation_id=verdict.id,
        content_hash=hashlib.sha256(text.encode()).hexdigest(),
        ai_result=AIResult(probability, verdict.judgement.rationale or verdict.reason),
        final_decision=letter,
        reason=verdict.reason,
        created_at=instant(made),
        word_count=len(text.split()),
        percentage_used=round(verdict.judgement.excerpt_share, 4),
        from_cache=verdict.from_cache,
    )


def percent(risk: float) -> int:
    """Percent that agree with the decision: 20 is still approved, 81 is rejected."""
    if risk < LOW / 100:
        return int(risk * 100)
    if risk >= HIGH / 100:
        return max(HIGH + 1, round(risk * 100))
    return min(HIGH, max(LOW + 1, round(risk * 100)))


def _stored(verdict: StoredVerdict) -> dict[str, Any]:
    letters = {"approved": "A", "review": "M", "rejected": "R"}
    result = {
        "moderation_id": verdict.id,
        "content_hash": verdict.content_hash,
        "ai_result": {
            "inappropriate_probability": percent(verdict.risk),
            "reason": verdict.reason,
        },
        "final_decision": letters[verdict.decision],
        "reason": verdict.reason,
        "created_at": instant(verdict.created_at / 1000),
        "word_count": verdict.word_count,
        "percentage_used": round(verdict.excerpt_share, 4),
    }
    return {"moderation_id": verdict.id, "status": "completed", "result": result}


def instant(seconds: float) -> str:
    """Seconds since 1970 as FIST writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
