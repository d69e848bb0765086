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
from penstock.errors import InvalidInput, NotFound, StorageError
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.pipeline import Answer, Cost, Pipeline, Receipt, Tokens
from penstock.services.moderation.excerpt import ExcerptRule
from penstock.services.moderation.policy import Judge, Ruling, leave_to_human
from penstock.services.moderation.reading import ProviderFailed, Reader
from penstock.services.moderation.schemas import (
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
IMAGES_UNSEEN = Degradation("images-unavailable", "no configured model can look at images")


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
        reader: Reader,
        judge: Judge,
        store: VerdictStore,
        metrics: Metrics,
        clock: Clock,
        excerpt_rule: ExcerptRule = ExcerptRule(),  # noqa: B008 - a frozen value
        store_text: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._reader = reader
        self._judge = judge
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._excerpt_rule = excerpt_rule
        self._store_text = store_text
        self.models = reader.models
        self._policy = PolicyRef(judge.policy.id, judge.version)
        self.version = fingerprint(sorted(self.models.items()), judge.version, excerpt_rule.key)

    @property
    def asks_provider(self) -> bool:
        """Whether a new text waits for someone else; else it is computed on the loop."""
        return self._reader.asks_provider

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

    def _gate(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(PROVIDER_TEXTS if self.asks_provider else LOCAL_TEXTS)

    def _key(self, text: str, images: tuple[str, ...], rule: ExcerptRule) -> str:
        return f"{NAMESPACE}:{self._reader.key(text, images, rule)}"

    async def _answer(
        self, key: str, text: str, rule: ExcerptRule, tags: tuple[str, ...]
    ) -> Answer[Judgement]:
        return await self._pipeline.answer(
            key,
            lambda trace: self._reader.read(text, rule, trace),
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
                    reason=ruling.reason,
                    risk=ruling.risk,
                    record=msgspec.msgpack.encode(judgement),
                    excerpt_share=judgement.excerpt_share,
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
