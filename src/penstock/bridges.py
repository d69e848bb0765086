"""What one part needs of another, made of the other.

Services do not import one another; each says in a Protocol what it needs. Here it gets it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.cache import Cache
from penstock.clock import Clock
from penstock.notify import Webhooks, new_event
from penstock.observe.health import Health
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.policies import Change
from penstock.services.moderation.schemas import Judgement
from penstock.services.moderation.store import StoredVerdict, VerdictStore
from penstock.services.review.schemas import Span, VerdictFacts


class VerdictsForReview:
    """Moderation's records as review wants to see them."""

    def __init__(self, store: VerdictStore) -> None:
        self._store = store

    async def find(self, verdict_id: str, *, owner: str | None = None) -> VerdictFacts | None:
        """One verdict; with `owner`, only if it is that owner's."""
        found = await self._store.find(verdict_id, owner=owner)
        return None if found is None else _facts(found)


class CacheForReview:
    """Lets an overturned verdict leave nothing in the cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def forget(self, content_key: str) -> None:
        """Drop the records that a verdict rests on from every tier and process."""
        await self._cache.delete(*content_key.split("+"))


class WebhooksForServices:
    """Tells webhooks what a service emits."""

    def __init__(self, webhooks: Webhooks, clock: Clock) -> None:
        self._webhooks = webhooks
        self._clock = clock

    def alert(self, health: Health) -> None:
        """Tell everyone's webhooks that the installation is not well."""
        checks = {name: check.status for name, check in health.checks.items()}
        self("alert.raised", "health", None, {"status": health.status, "checks": checks})

    def policy(self, change: Change) -> None:
        """Tell everyone's webhooks which revision of a policy holds from now on."""
        if change.action in ("activated", "rolled_back"):
            data = {
                "revision": change.revision,
                "previous": change.previous,
                "version": change.version,
                "actor": change.actor,
            }
            self("policy.activated", change.policy_id, None, data)

    def __call__(
        self, type: str, subject: str, owner: str | None, data: Mapping[str, object]
    ) -> None:
        """Tell of something that happened to `subject`."""
        if self._webhooks.wants(type):
            event = new_event(type, subject=subject, owner=owner, data=data, clock=self._clock)
            self._webhooks.emit(event)


def _facts(verdict: StoredVerdict) -> VerdictFacts:
    judgement = msgspec.msgpack.decode(verdict.record, type=Judgement)
    pairs = zip(CATEGORIES, judgement.scores, strict=False)  # an older record has fewer
    scores = {category: score for category, score in pairs if score is not None}
    return VerdictFacts(
        id=verdict.id,
        owner=verdict.owner,
        key_id=verdict.key_id,
        user_id=verdict.user_id,
        content_key=verdict.content_key,
        content_hash=verdict.content_hash,
        decision=verdict.decision,
        risk=verdict.risk,
        category=max(scores, key=scores.__getitem__, default=None),
        reason=verdict.reason,
        scores=scores,
        spans=tuple(
            Span(start=f.start, end=f.end, category=f.category, score=f.score, rule=f.rule)
            for f in judgement.findings
        ),
    )
