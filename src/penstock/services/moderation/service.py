"""ModerationService: a text goes in, a verdict comes out.

Scores are cached, decisions are not: the key names the text and everything that reads it, never
thresholds. What was found out about a text is looked up, joined or computed by the pipeline; the
policy then decides, on every request.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from penstock.cache.keys import fingerprint
from penstock.clock import Clock
from penstock.errors import InvalidInput, NotFound, ProviderError, StorageError
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.pipeline import Answer, Cost, Pipeline, Receipt, Tokens, Trace, Usage
from penstock.providers.provider import CATEGORIES, Finding, Provider, Scores
from penstock.services.moderation.excerpt import ExcerptRule, choose, count_words, join, windows
from penstock.services.moderation.policy import Judge, Ruling, leave_to_human
from penstock.services.moderation.prescreen import Prescreen, Screening
from penstock.services.moderation.schemas import (
    MAX_FINDINGS,
    Degradation,
    Judgement,
    PolicyRef,
    Verdict,
)
from penstock.services.moderation.store import StoredVerdict, VerdictStore

_log = get_logger(__name__)

NAMESPACE = "moderation"
FOREIGN = 0.5  # from this probability on a text counts as not English
PROVIDER_TEXTS = 32  # texts of one request that wait for a provider at once
LOCAL_TEXTS = 2  # the same without a provider: they share the loop with everyone else
INLINE_CHARACTERS = 8_000  # up to here the prescreen takes about a millisecond
PURGE_EVERY = 3600.0  # seconds
IMAGES_UNSEEN = Degradation("images-unavailable", "no configured model can look at images")


class ProviderFailed(Exception):
    """Carries what the local stages found past the cache, which must not keep it."""

    def __init__(self, judgement: Judgement, trace: Trace, cause: ProviderError) -> None:
        super().__init__(str(cause))
        self.judgement = judgement
        self.trace = trace
        self.cause = cause


class Sent(NamedTuple):
    """What of a text goes to the provider, and what the local model says of the rest."""

    text: str
    share: float = 1.0
    unread: dict[str, float] | None = None  # None: nothing is left out


class Warmth(NamedTuple):
    """What warming did with distinct texts."""

    computed: int
    known: int
    failed: int  # the provider could not answer


class ModerationService:
    """Judges texts. Its parts come by constructor; it knows no web and no settings."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        prescreen: Prescreen,
        local: Provider,
        provider: Provider | None,
        judge: Judge,
        store: VerdictStore,
        metrics: Metrics,
        clock: Clock,
        excerpt_rule: ExcerptRule = ExcerptRule(),  # noqa: B008 - a frozen value
        store_text: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._prescreen = prescreen
        self._local = local
        self._provider = provider
        self._judge = judge
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._excerpt_rule = excerpt_rule
        self._store_text = store_text
        self._long_texts = asyncio.Semaphore(1)
        self.models = self._versions()
        self._readers = fingerprint(sorted(self.models.items()))
        self._policy = PolicyRef(judge.policy.id, judge.version)

    async def moderate(
        self,
        text: str,
        *,
        owner: str,
        user_id: str | None = None,
        images: tuple[str, ...] = (),
        excerpt_rule: ExcerptRule | None = None,
        pointer: str = "/input",
    ) -> Verdict:
        """Judge one text, and the images beside it.

        A provider's failure is no error here: the policy says what stands, and the verdict's
        `degraded` says why. Nothing here can see images yet: they are never passed silently, a
        human looks. Raises InvalidInput for a text that cannot be judged; `pointer` says where the
        caller has it.
        """
        if text or not images:
            check_text(text, pointer=pointer)
        rule = excerpt_rule or self._excerpt_rule
        key = self._key(text, images, rule)
        answer: Answer[Judgement] | None = self._pipeline.peek(key, max_age=self._lifetime)
        degraded = None
        if answer is None:
            tags = (f"user:{user_id}",) if user_id else ()
            try:
                answer = await self._answer(key, text, rule, tags)
            except ProviderFailed as failure:
                answer = Answer(failure.judgement, _receipt(failure), from_cache=False)
                degraded = Degradation(failure.cause.slug, failure.cause.detail)
                self._metrics.count("penstock_degraded_total", code=degraded.code)
        ruling = self._rule(answer.value)
        if degraded:
            ruling = self._judge.rule_failure(ruling)
        if images:
            degraded = degraded or IMAGES_UNSEEN
            ruling = leave_to_human(ruling, IMAGES_UNSEEN.detail)
        return await self._conclude(text, key, answer, ruling, degraded, owner, user_id)

    async def moderate_many(
        self, texts: Sequence[str], *, owner: str, user_id: str | None = None
    ) -> list[Verdict]:
        """Judge several texts; verdicts in their order. Equal texts are computed once."""
        for index, text in enumerate(texts):
            check_text(text, pointer=f"/input/{index}")
        if len(texts) == 1:
            return [await self.moderate(texts[0], owner=owner, user_id=user_id)]
        gate = self._gate()

        async def one(text: str) -> Verdict:
            async with gate:
                return await self.moderate(text, owner=owner, user_id=user_id)

        return list(await asyncio.gather(*(one(text) for text in texts)))

    async def warm(self, texts: Sequence[str]) -> Warmth:
        """Judge texts ahead of time, without a verdict on record."""
        for index, text in enumerate(texts):
            check_text(text, pointer=f"/texts/{index}")
        gate = self._gate()
        rule = self._excerpt_rule

        async def one(text: str) -> str:
            async with gate:
                try:
                    answer = await self._answer(self._key(text, (), rule), text, rule, ())
                except ProviderFailed:
                    return "failed"
                return "known" if answer.from_cache else "computed"

        outcomes = await asyncio.gather(*(one(text) for text in dict.fromkeys(texts)))
        return Warmth(*(outcomes.count(name) for name in ("computed", "known", "failed")))

    async def find(self, verdict_id: str, *, owner: str | None) -> StoredVerdict:
        """A recorded verdict; `owner` None sees everyone's. Raises NotFound."""
        found = await self._store.find(verdict_id, owner=owner)
        if found is None:
            raise NotFound(f"there is no verdict {verdict_id[:80]!r}")
        return found

    async def keep_for(self, seconds: float) -> None:
        """Forget verdicts that are older, every hour; the owner cancels it."""
        while True:
            before = int((self._clock.now() - seconds) * 1000)
            try:
                purged = await self._store.purge(before)
            except StorageError as error:
                _log.warning("moderation.purge_failed", detail=error.detail)
            else:
                self._metrics.count("penstock_verdicts_purged_total", purged)
            await self._clock.sleep(PURGE_EVERY)

    def _gate(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(PROVIDER_TEXTS if self._provider else LOCAL_TEXTS)

    def _key(self, text: str, images: tuple[str, ...], rule: ExcerptRule) -> str:
        sent = rule.key if self._provider else ""
        return f"{NAMESPACE}:{fingerprint(self._readers, sent, text, *images)}"

    async def _answer(
        self, key: str, text: str, rule: ExcerptRule, tags: tuple[str, ...]
    ) -> Answer[Judgement]:
        return await self._pipeline.answer(
            key,
            lambda trace: self._read(text, rule, trace),
            type=Judgement,
            max_age=self._lifetime,
            tags=tags,
        )

    def _lifetime(self, judgement: Judgement) -> float:
        foreign = judgement.other_language >= FOREIGN
        return self._judge.lifetime(judgement.scores, foreign=foreign)

    def _rule(self, judgement: Judgement) -> Ruling:
        foreign = judgement.other_language >= FOREIGN and judgement.source != "provider"
        return self._judge.rule(judgement.scores, foreign=foreign)

    async def _read(self, text: str, rule: ExcerptRule, trace: Trace) -> Judgement:
        """Prescreen, local model and, unless they are certain, the provider."""
        with trace.stage("prescreen"):
            screening = await self._screen(text)
        if screening.certain:
            return _merge(screening, Scores({}), self.models)
        with trace.stage("local"):
            local = await self._local.moderate(text)
        self._metrics.count("penstock_model_calls_total", model=self._local.name)
        judgement = _merge(screening, local, self.models)
        if self._provider is None or not text:
            return judgement
        try:
            with trace.stage("provider"):
                sent = await self._excerpt(text, rule)
                remote = await self._provider.moderate(sent.text)
        except ProviderError as error:
            raise ProviderFailed(judgement, trace, error) from error
        self._metrics.count("penstock_model_calls_total", model=self._provider.name)
        return _add_provider(judgement, remote, sent)

    async def _screen(self, text: str) -> Screening:
        if len(text) <= INLINE_CHARACTERS:
            return self._prescreen.screen(text)
        # A megabyte made to be slow takes seconds: one at a time, beside the loop.
        async with self._long_texts:
            return await asyncio.to_thread(self._prescreen.screen, text)

    async def _excerpt(self, text: str, rule: ExcerptRule) -> Sent:
        words = count_words(text)
        share = min(rule.share(words), rule.max_words / max(words, 1))
        if share >= 1.0:
            return Sent(text)
        parts = windows(text)
        read = [(await self._local.moderate(part)).scores for part in parts]
        chosen = choose([max(scores.values()) for scores in read], share)
        unread: dict[str, float] = {}
        for at in set(range(len(parts))).difference(chosen):
            for category, score in read[at].items():
                unread[category] = max(score, unread.get(category, 0.0))
        sent = join(parts, chosen)
        return Sent(sent, min(1.0, count_words(sent) / max(words, 1)), unread)

    async def _conclude(
        self,
        text: str,
        key: str,
        answer: Answer[Judgement],
        ruling: Ruling,
        degraded: Degradation | None,
        owner: str,
        user_id: str | None,
    ) -> Verdict:
        """Give the verdict its id and see that it is on record before anyone hears of it."""
        judgement = answer.value
        fault = degraded.code if degraded else ""
        scored = judgement.digest + fault
        verdict_id = "mod_" + fingerprint(owner, key, scored, self._judge.version)
        recorded = self._store.knows(verdict_id)
        if not recorded:
            words = len(text.split())
            recorded = await self._record(
                StoredVerdict(
                    id=verdict_id,
                    owner=owner,
                    content_hash=hashlib.sha256(text.encode()).hexdigest(),
                    content_key=key,
                    score_key=scored,
                    policy_version=self._judge.version,
                    decision=ruling.decision,
                    flagged=any(ruling.flags) or ruling.decision == "rejected",
                    probability=round(100 * ruling.risk),
                    record=msgspec.msgpack.encode(judgement),
                    excerpt_percent=round(100 * judgement.excerpt_share),
                    word_count=words,
                    content=text if self._store_text else None,
                    user_id=user_id,
                    created_at=int(self._clock.now() * 1000),
                )
            )
        self._metrics.count("penstock_verdicts_total", decision=ruling.decision)
        return Verdict(
            id=verdict_id,
            decision=ruling.decision,
            reason=ruling.reason,
            risk=ruling.risk,
            flags=ruling.flags,
            judgement=judgement,
            receipt=answer.receipt,
            policy=self._policy,
            from_cache=answer.from_cache,
            recorded=recorded,
            degraded=degraded,
        )

    async def _record(self, verdict: StoredVerdict) -> bool:
        """Write the verdict; False when storage fails: the answer goes on and says so."""
        try:
            await self._store.save(verdict)
        except StorageError:
            self._metrics.count("penstock_verdicts_unrecorded_total")
            return False
        return True

    def _versions(self) -> dict[str, str]:
        provider = dict(self._provider.models) if self._provider else {}
        return {"prescreen": self._prescreen.version, **self._local.models, **provider}


def check_text(text: str, *, pointer: str = "/input") -> None:
    """Refuse what cannot be judged: nothing to read, or characters that no text has."""
    if not text or text.isspace():
        raise InvalidInput("the text is empty", errors=[_wrong(pointer, "is empty")])
    if "\x00" in text:
        where = f"contains U+0000 at character {text.index(chr(0))}"
        raise InvalidInput(f"the text {where}", errors=[_wrong(pointer, where)])
    try:
        text.encode()
    except UnicodeEncodeError as error:
        where = f"contains half of a surrogate pair at character {error.start}"
        raise InvalidInput(f"the text {where}", errors=[_wrong(pointer, where)]) from None


def _wrong(pointer: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "detail": detail}


def _merge(screening: Screening, local: Scores, versions: dict[str, str]) -> Judgement:
    """The higher of two scores stands; what neither judged stays unknown."""
    scores: dict[str, float] = dict(local.scores)
    for finding in screening.findings:
        scores[finding.category] = max(scores.get(finding.category, 0.0), finding.score)
    contributed = {"prescreen": versions["prescreen"], **local.models}
    ordered = _ordered(scores)
    return Judgement(
        digest=fingerprint(*ordered),
        scores=ordered,
        findings=_strongest((*screening.findings, *local.findings)),
        other_language=max(local.other_language, screening.foreign_share),
        source="prescreen" if screening.certain else "local",
        versions=tuple(contributed.items()),
    )


def _add_provider(judgement: Judgement, remote: Scores, sent: Sent) -> Judgement:
    """The provider's word replaces the local model's, not what rules found for certain.

    On what it was not sent it has no word: there the rules and the local model stand.
    """
    scores = dict(zip(CATEGORIES, judgement.scores, strict=True))
    sure = 1.0 if sent.unread is None else 0.0
    unread = sent.unread or {}
    for category, score in remote.scores.items():
        found = (f for f in judgement.findings if f.category == category and f.score >= sure)
        scores[category] = max([score, unread.get(category, 0.0), *(f.score for f in found)])
    ordered = _ordered(scores)
    return Judgement(
        digest=fingerprint(*ordered),
        scores=ordered,
        findings=_strongest((*judgement.findings, *remote.findings)),
        other_language=judgement.other_language,
        source="provider",
        versions=(*judgement.versions, *remote.models.items()),
        usage=Usage(remote.tokens_in, remote.tokens_out, remote.cost_micros, remote.currency),
        rationale=remote.rationale[:200],
        excerpt_share=sent.share,
    )


def _ordered(scores: dict[str, float] | dict[str, float | None]) -> tuple[float | None, ...]:
    """Scores in the order of CATEGORIES; six digits say more than any model knows."""
    known = (scores.get(category) for category in CATEGORIES)
    return tuple(None if score is None else round(score, 6) for score in known)


def _strongest(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    if len(findings) <= MAX_FINDINGS:
        return tuple(findings)
    kept = sorted(findings, key=lambda found: (-found.score, found.start))[:MAX_FINDINGS]
    return tuple(sorted(kept, key=lambda found: found.start))


def _receipt(failure: ProviderFailed) -> Receipt:
    return Receipt(
        source=failure.judgement.source,
        age_seconds=0.0,
        stale=False,
        queue_wait_seconds=0.0,
        stages=failure.trace.stages,
        models=failure.judgement.models,
        tokens=Tokens(),
        cost=Cost(),
    )
