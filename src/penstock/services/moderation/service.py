"""ModerationService: a text or images go in, a verdict comes out.

Scores are cached, decisions are not: the key names the content and everything that reads it, never
thresholds or lists. What was found out is looked up, joined or computed by the pipeline; lists are
matched and the policy decides on every request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from penstock.cache.keys import fingerprint, normal_form
from penstock.clock import Clock
from penstock.errors import FetchFailed, InvalidInput, NotFound, StorageError
from penstock.observe.metrics import Metrics
from penstock.pipeline import Answer, Cost, Pipeline, Receipt, Tokens
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.excerpt import ExcerptRule
from penstock.services.moderation.lists import NOTHING, Listed, Lists
from penstock.services.moderation.looking import Looker, LookFailed, Sight
from penstock.services.moderation.parts import Item, Part, applied, inside, item_of, without
from penstock.services.moderation.policies import Policies
from penstock.services.moderation.policy import Judge, Review, Ruling, Stage
from penstock.services.moderation.reading import FOREIGN, ProviderFailed, Question, Reader
from penstock.services.moderation.referral import Referral, Referrals
from penstock.services.moderation.schemas import (
    Degradation,
    Judgement,
    PolicyRef,
    Verdict,
)
from penstock.services.moderation.store import StoredVerdict, VerdictStore
from penstock.usage import Usage

NAMESPACE = "moderation"
PROVIDER_TEXTS = 32  # texts of one request that wait for a provider at once
LOCAL_TEXTS = 2  # the same without a provider: they share the loop with everyone else
MATCHED_INLINE = 8_000  # characters; in longer texts listed words are looked for in a thread
IMAGES_UNSEEN = Degradation("images-unavailable", "no configured model can look at images")

Emit = Callable[[str, str, str, Mapping[str, object]], None]
"""Tells of (type, subject, owner, data)."""


class Warmth(NamedTuple):
    """What warming did with distinct texts."""

    computed: int
    known: int
    failed: int  # the provider could not answer


class Asking(NamedTuple):
    """On whose behalf, under which policy, and how one item is judged."""

    owner: str
    key: str | None
    user_id: str | None
    judge: Judge
    question: Question


class ModerationService:
    """Judges texts and images. Its parts come by constructor; it knows no web and no settings."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        reader: Reader,
        looker: Looker,
        policies: Policies,
        lists: Lists,
        store: VerdictStore,
        referrals: Referrals,
        usage: Usage,
        metrics: Metrics,
        clock: Clock,
        emit: Emit | None = None,
        excerpt_rule: ExcerptRule = ExcerptRule(),  # noqa: B008 - a frozen value
        store_text: bool = False,
        normalise: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._reader = reader
        self._looker = looker
        self._policies = policies
        self._lists = lists
        self._store = store
        self._referrals = referrals
        self._usage = usage
        self._metrics = metrics
        self._clock = clock
        self._emit = emit
        self._excerpt_rule = excerpt_rule
        self._store_text = store_text
        self._normalise = normalise
        self.models = reader.models

    @property
    def version(self) -> str:
        """Changes with whatever can change a decision but lists."""
        judge = self._policies.of(None)
        return fingerprint(sorted(self.models.items()), judge.version, self._excerpt_rule.key)

    @property
    def asks_provider(self) -> bool:
        """Whether a new text waits for someone else; else it is computed on the loop."""
        return self._reader.asks_provider

    async def moderate(
        self,
        text: str,
        *,
        owner: str,
        key: str | None = None,
        user_id: str | None = None,
        images: Sequence[str] = (),
        image_pointers: Sequence[str] = (),
        excerpt_rule: ExcerptRule | None = None,
        stages: tuple[Stage, ...] | None = None,
        always_ask: bool = False,
        pointer: str = "/input",
    ) -> Verdict:
        """Judge one text and the images beside it, side by side.

        `key` is the API key that asks: its policy and its lists hold. `images` are data URLs or
        addresses. `stages` are the policy's unless given; `always_ask` asks the provider also
        where a rule is certain. A provider's failure is no error here: the policy says what stands
        and the verdict's `degraded` why; an image that nobody can look at is left to a human.
        Raises InvalidInput for what cannot be judged; `pointer` and `image_pointers` say where the
        caller has it.
        """
        if text or not images:
            check_text(text, pointer=pointer)
        if self._normalise:  # what differs in outer blanks or encoding alone is one question
            text = str(normal_form(text))
        judge = self._policies.of(key)
        question = Question(
            stages or judge.policy.stages, excerpt_rule or self._excerpt_rule, always_ask
        )
        asking = Asking(owner, key, user_id, judge, question)
        if self._lists.stale:
            await self._lists.refresh()
        if not images:
            return await self._conclude(item_of(text, [await self._text(text, asking)]), asking)
        pointers = image_pointers or [pointer] * len(images)
        work = [self._image(url, asking, at) for url, at in zip(images, pointers, strict=True)]
        if text:
            work.insert(0, self._text(text, asking))
        return await self._conclude(item_of(text, await _all(work)), asking)

    async def assess(self, text: str, *, reader: Reader | None = None) -> Answer[Judgement]:
        """What rules and the local model find in a text, cached; nothing is decided or recorded.

        A `reader` with another model has its answers for itself.
        """
        check_text(text)
        reader = reader or self._reader
        question = Question(("prescreen", "local"))
        return await self._pipeline.answer(
            f"{NAMESPACE}:{reader.key(text, question)}",
            lambda trace: reader.read(text, question, trace),
            type=Judgement,
        )

    async def moderate_many(
        self,
        texts: Sequence[str],
        *,
        owner: str,
        key: str | None = None,
        user_id: str | None = None,
    ) -> list[Verdict]:
        """Judge several texts; verdicts in their order. Equal texts are computed once."""
        for index, text in enumerate(texts):
            check_text(text, pointer=f"/input/{index}")
        if len(texts) == 1:
            return [await self.moderate(texts[0], owner=owner, key=key, user_id=user_id)]
        gate = self._gate()

        async def one(text: str) -> Verdict:
            async with gate:
                return await self.moderate(text, owner=owner, key=key, user_id=user_id)

        return list(await asyncio.gather(*(one(text) for text in texts)))

    async def warm(self, texts: Sequence[str]) -> Warmth:
        """Judge texts ahead of time, without a verdict on record."""
        for index, text in enumerate(texts):
            check_text(text, pointer=f"/texts/{index}")
        gate = self._gate()
        judge = self._policies.of(None)
        asking = Asking("", None, None, judge, Question(judge.policy.stages, self._excerpt_rule))

        async def one(text: str) -> str:
            async with gate:
                answer, fault = await self._read(text, self._key(text, asking.question), asking)
                if fault:
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

    def _key(self, text: str, question: Question) -> str:
        return f"{NAMESPACE}:{self._reader.key(text, question)}"

    async def _text(self, text: str, asking: Asking) -> Part:
        """What is known of a text, and what the lists say of it now."""
        content_key = self._key(text, asking.question)
        answer, fault = await self._read(text, content_key, asking)
        listed = await self._match(text, asking.key, content_key)
        if listed.exempt and any(
            found.stage == "prescreen" and inside(found, listed.exempt)
            for found in answer.value.findings
        ):
            answer, fault = await self._reread(text, answer, listed, asking)
        return Part(content_key, answer, listed, fault, "text")

    async def _read(
        self, text: str, content_key: str, asking: Asking
    ) -> tuple[Answer[Judgement], Degradation | None]:
        """The judgement of a text: remembered, joined or computed; and what was missing."""
        question = asking.question

        def max_age(judgement: Judgement) -> float:
            foreign = _is_foreign(judgement)
            return asking.judge.lifetime(judgement.scores, foreign=foreign)

        answer: Answer[Judgement] | None = self._pipeline.peek(content_key, max_age=max_age)
        if answer is not None:
            return answer, None
        try:
            answer = await self._pipeline.answer(
                content_key,
                lambda trace: self._reader.read(text, question, trace),
                type=Judgement,
                max_age=max_age,
                tags=_tags(asking),
            )
        except ProviderFailed as failure:
            receipt = _receipt(failure.judgement, failure.trace.stages)
            answer = Answer(failure.judgement, receipt, from_cache=False)
            return answer, self._fault(failure.cause.slug, failure.cause.detail)
        return answer, None

    async def _reread(
        self, text: str, answer: Answer[Judgement], listed: Listed, asking: Asking
    ) -> tuple[Answer[Judgement], Degradation | None]:
        """The judgement without what an allow list exempts from the rules."""
        stages = tuple(stage for stage in asking.question.stages if stage != "prescreen")
        bare = asking._replace(question=asking.question._replace(stages=stages))
        unruled, fault = await self._read(text, self._key(text, bare.question), bare)
        value = without(answer.value, unruled.value, listed.exempt)
        return Answer(value, unruled.receipt, from_cache=unruled.from_cache), fault

    async def _image(self, url: str, asking: Asking, pointer: str) -> Part:
        ask = "provider" in asking.question.stages

        def max_age(sight: Sight) -> float:
            return asking.judge.lifetime(sight.scores)

        fault = None
        try:
            answer = await self._looker.look(
                url, pointer=pointer, ask=ask, max_age=max_age, tags=_tags(asking)
            )
        except FetchFailed as failure:
            return _unreached(url, self._fault("image-unreachable", failure.detail))
        except LookFailed as failure:
            receipt = _receipt(failure.sight, failure.trace.stages)
            answer = Answer(failure.sight, receipt, from_cache=False)
            fault = self._fault(IMAGES_UNSEEN.code, failure.cause.detail)
        sight = answer.value
        listed = self._lists.match_image(sight.sha256, sight.pdq, sight.phash, key=asking.key)
        if not sight.available and fault is None and listed.decision is None:
            fault = IMAGES_UNSEEN
        return Part(
            key=self._looker.key(sight.sha256, ask=ask),
            answer=Answer(_from_sight(sight), answer.receipt, from_cache=answer.from_cache),
            listed=listed,
            fault=fault,
            kind="image",
            sha256=sight.sha256,
            look=sight.pdq[0] if sight.pdq else b"",
        )

    def _fault(self, code: str, detail: str) -> Degradation:
        self._metrics.count("penstock_degraded_total", code=code)
        return Degradation(code, detail)

    async def _match(self, text: str, key: str | None, content_key: str) -> Listed:
        if len(text) <= MATCHED_INLINE:
            return self._lists.match(text, key=key, remember=content_key)
        return await asyncio.to_thread(self._lists.match, text, key=key, remember=content_key)

    async def _conclude(self, item: Item, asking: Asking) -> Verdict:
        """Decide, give the verdict its id and see that it is on record before anyone hears."""
        part, judge = item.whole, asking.judge
        judgement, receipt, listed = (
            part.answer.value,
            part.answer.receipt,
            self._last_word(item, asking.key),
        )
        code = part.fault.code if part.fault else None
        ruling = judge.decide(
            judgement.scores,
            foreign=_is_foreign(judgement),
            degraded=code,
            listed=listed.decision,
            source=_source(listed) if listed.decision else "",
        )
        scored = judgement.digest + (code or "") + listed.digest
        verdict_id = "mod_" + fingerprint(asking.owner, part.key, scored, judge.version)
        recorded = self._store.knows(verdict_id)
        if not recorded:
            stored = self._stored(verdict_id, scored, item, ruling, asking)
            stored = msgspec.structs.replace(stored, listed=listed.decision)
            recorded = await self._record(stored, item, ruling, asking)
        self._metrics.count("penstock_verdicts_total", decision=ruling.decision)
        self._usage.add(
            key_id=asking.key or asking.owner,
            owner=asking.owner,
            service=NAMESPACE,
            receipt=receipt,
        )
        return Verdict(
            id=verdict_id,
            decision=ruling.decision,
            reason=ruling.reason,
            risk=ruling.risk,
            flags=ruling.flags,
            judgement=judgement,
            receipt=receipt,
            policy=PolicyRef(judge.policy.id, judge.version),
            from_cache=part.answer.from_cache,
            recorded=recorded,
            degraded=part.fault,
            applied=applied(item.parts) if part.kind != "text" else None,
            listed=listed.decision,
        )

    def _last_word(self, item: Item, key: str | None) -> Listed:
        """What lists say of an item; of several parts, also what people decided on the whole."""
        if len(item.parts) == 1:
            return item.whole.listed
        decided = self._lists.match_image(item.content_hash, (), (), key=key)
        return decided if decided.hits else item.whole.listed

    def _stored(
        self, verdict_id: str, scored: str, item: Item, ruling: Ruling, asking: Asking
    ) -> StoredVerdict:
        part, text = item.whole, item.text
        judgement = part.answer.value
        return StoredVerdict(
            id=verdict_id,
            owner=asking.owner,
            content_hash=item.content_hash,
            content_key=part.key,
            score_key=scored,
            policy_version=asking.judge.version,
            decision=ruling.decision,
            flagged=any(ruling.flags) or ruling.decision == "rejected",
            reason=ruling.reason,
            risk=ruling.risk,
            record=msgspec.msgpack.encode(judgement),
            excerpt_share=judgement.excerpt_share,
            word_count=len(text.split()),
            content=text if self._store_text else None,
            user_id=asking.user_id,
            created_at=int(self._clock.now() * 1000),
            key_id=asking.key,
            scores=packed(judgement.scores),
            is_foreign=_is_foreign(judgement),
            degraded=part.fault.code if part.fault else None,
        )

    async def _record(
        self, stored: StoredVerdict, item: Item, ruling: Ruling, asking: Asking
    ) -> bool:
        """Write the verdict; False when storage fails: the answer goes on and says so.

        What people have to see is on their desk before the verdict counts as recorded.
        """
        try:
            if stored.decision == "review":
                review = asking.judge.policy.review
                await self._referrals.refer(_referral(stored, item, ruling, review))
            new = await self._store.save(stored)
        except StorageError:
            self._metrics.count("penstock_verdicts_unrecorded_total")
            return False
        if new and self._emit is not None and stored.decision != "approved":
            data = {"decision": stored.decision, "risk": stored.risk, "category": ruling.category}
            self._emit(f"verdict.{stored.decision}", stored.id, stored.owner, data)
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


def _tags(asking: Asking) -> tuple[str, ...]:
    return (f"user:{asking.user_id}",) if asking.user_id else ()


def packed(scores: Sequence[float | None]) -> bytes:
    """Scores as a record keeps them for dry runs: int32 millionths, -1 where nobody judged."""
    millionths = [-1 if score is None else round(score * 1_000_000) for score in scores]
    return np.array(millionths, "<i4").tobytes()


def _is_foreign(judgement: Judgement) -> bool:
    """Whether a text is in a language that those who judged it cannot read."""
    return judgement.other_language >= FOREIGN and judgement.source != "provider"


def _source(listed: Listed) -> str:
    """The list that a decision rests on, in words."""
    hit = listed.hits[0]
    return f"the {hit.list_kind} list {hit.list_name!r}"


def _referral(stored: StoredVerdict, item: Item, ruling: Ruling, review: Review) -> Referral:
    return Referral(
        verdict_id=stored.id,
        owner=stored.owner,
        key_id=stored.key_id,
        user_id=stored.user_id,
        content_key=stored.content_key,
        content_hash=stored.content_hash,
        text=item.text if review.retention_seconds and item.text else None,
        images=tuple(part.look for part in item.parts if part.look),
        decision=ruling.decision,
        risk=ruling.risk,
        category=ruling.category,
        reason=ruling.reason,
        retention_seconds=review.retention_seconds,
        sla_seconds=review.sla_seconds,
        created_at=stored.created_at,
    )


def _unreached(url: str, fault: Degradation) -> Part:
    """An image that could not be fetched: nothing is known of it."""
    nothing = (None,) * len(CATEGORIES)
    judgement = Judgement(fingerprint(url), nothing, (), 0.0, "local", ())
    answer = Answer(judgement, _receipt(judgement, {}), from_cache=False)
    return Part(f"{NAMESPACE}:{judgement.digest}", answer, NOTHING, fault, "image")


def _from_sight(sight: Sight) -> Judgement:
    return Judgement(
        digest=fingerprint(*sight.scores),
        scores=sight.scores,
        findings=(),
        other_language=0.0,
        source=sight.source,
        versions=tuple(sight.models.items()),
        usage=sight.usage,
        rationale=sight.rationale,
    )


def _receipt(found: Judgement | Sight, stages: dict[str, float]) -> Receipt:
    return Receipt(
        source=found.source,
        age_seconds=0.0,
        stale=False,
        queue_wait_seconds=0.0,
        stages=stages,
        models=found.models,
        tokens=Tokens(),
        cost=Cost(),
    )


async def _all(work: Sequence[Coroutine[Any, Any, Part]]) -> list[Part]:
    """Everything at once; when one fails the others are not left running."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
