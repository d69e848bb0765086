"""ModerationService: a text or images go in, a verdict comes out.

Scores are cached, decisions are not: the key names the content and everything that reads it, never
thresholds or lists. What was found out is looked up, joined or computed by the pipeline; lists are
matched and the policy decides on every request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from typing import NamedTuple

import msgspec

from penstock.cache.keys import fingerprint, normal_form
from penstock.clock import Clock
from penstock.errors import InvalidInput, NotFound, StorageError
from penstock.lists.listed import Listed
from penstock.observe.metrics import Metrics
from penstock.pipeline import Answer
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.evidence import NAMESPACE, Asking, Evidence, is_foreign
from penstock.services.moderation.excerpt import ExcerptRule
from penstock.services.moderation.parts import Item, applied
from penstock.services.moderation.policies import Policies
from penstock.services.moderation.policy import Ruling, Stage
from penstock.services.moderation.reading import Question, Reader
from penstock.services.moderation.records import record, referral
from penstock.services.moderation.referral import Referrals
from penstock.services.moderation.schemas import Judgement, PolicyRef, Verdict
from penstock.services.moderation.store import StoredVerdict, VerdictStore
from penstock.services.moderation.together import together
from penstock.usage import Outcome, Usage

PROVIDER_TEXTS = 32  # texts of one request that wait for a provider at once
LOCAL_TEXTS = 2  # the same without a provider: they share the loop with everyone else

Emit = Callable[[str, str, str, Mapping[str, object]], None]
"""Tells of (type, subject, owner, data)."""


class Warmth(NamedTuple):
    """What warming did with distinct texts."""

    computed: int
    known: int
    failed: int  # the provider could not answer


class ModerationService:
    """Judges texts and images. Its parts come by constructor; it knows no web and no settings."""

    def __init__(
        self,
        *,
        reader: Reader,
        evidence: Evidence,
        policies: Policies,
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
        self._reader = reader
        self._evidence = evidence
        self._policies = policies
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
        caller has it. Raises BudgetExhausted where a provider would have to be asked and the key
        has spent what it may.
        """
        if text or not images:
            check_text(text, pointer=pointer)
        if self._normalise:  # what differs in outer blanks or encoding alone is one question
            text = str(normal_form(text))
        judge = self._policies.peek(key) or await self._policies.fetch(key)
        question = Question(
            stages or judge.policy.stages, excerpt_rule or self._excerpt_rule, always_ask
        )
        asking = Asking(owner, key, user_id, judge, question)
        pointers = image_pointers or [pointer] * len(images)
        item = await self._evidence.gather(text, images, asking, pointers=pointers)
        return await self._conclude(item, asking)

    async def assess(self, text: str, *, reader: Reader | None = None) -> Answer[Judgement]:
        """What rules and the local model find in a text, cached; nothing is decided or recorded.

        A `reader` with another model has its answers for itself.
        """
        check_text(text)
        return await self._evidence.assess(text, reader)

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
        work = [self.moderate(text, owner=owner, key=key, user_id=user_id) for text in texts]
        return await together(work, gate=self._gate())

    async def warm(self, texts: Sequence[str], *, owner: str, key: str | None = None) -> Warmth:
        """Judge texts ahead of time, without a verdict on record; under the policy of `key`.

        Each is a call of that key like any other. Raises BudgetExhausted where one of them has to
        be computed and the key has spent what it may; what was computed till then is kept.
        """
        for index, text in enumerate(texts):
            check_text(text, pointer=f"/texts/{index}")
        if self._normalise:
            texts = [str(normal_form(text)) for text in texts]
        judge = await self._policies.fetch(key)
        question = Question(judge.policy.stages, self._excerpt_rule)
        asking = Asking(owner, key, None, judge, question)

        async def one(text: str) -> str:
            _, answer, fault = await self._evidence.read(text, asking)
            self._usage.add(
                key_id=key or owner, owner=owner, service=NAMESPACE, receipt=answer.receipt
            )
            if fault:
                return "failed"
            return "known" if answer.from_cache else "computed"

        outcomes = await together([one(text) for text in dict.fromkeys(texts)], gate=self._gate())
        return Warmth(*(outcomes.count(name) for name in ("computed", "known", "failed")))

    async def find(self, verdict_id: str, *, owner: str | None) -> StoredVerdict:
        """A recorded verdict; `owner` None sees everyone's. Raises NotFound."""
        found = await self._store.find(verdict_id, owner=owner)
        if found is None:
            raise NotFound(f"there is no verdict {verdict_id[:80]!r}")
        return found

    def _gate(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(PROVIDER_TEXTS if self.asks_provider else LOCAL_TEXTS)

    async def _conclude(self, item: Item, asking: Asking) -> Verdict:
        """Decide, give the verdict its id and see that it is on record before anyone hears."""
        part, judge = item.whole, asking.judge
        judgement, receipt, listed = part.answer.value, part.answer.receipt, part.listed
        code = part.fault.code if part.fault else None
        ruling = judge.decide(
            judgement.scores,
            foreign=is_foreign(judgement),
            degraded=code,
            listed=listed.decision,
            source=_source(listed) if listed.decision else "",
        )
        score_key = judgement.digest + (code or "") + listed.digest
        verdict_id = _verdict_id(asking.owner, part.key, score_key, judge.version)
        # What is left to people is looked after on every request: its case may have ended.
        recorded = ruling.decision != "review" and self._store.knows(verdict_id)
        if not recorded:
            recorded = await self._record(item, ruling, asking, id=verdict_id, score_key=score_key)
        self._metrics.count("penstock_verdicts_total", decision=ruling.decision)
        self._usage.add(
            key_id=asking.key or asking.owner,
            owner=asking.owner,
            service=NAMESPACE,
            receipt=receipt,
            outcome=Outcome(ruling.decision, _flagged(ruling.flags), asking.user_id),
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
            listed=listed,
        )

    async def _record(
        self, item: Item, ruling: Ruling, asking: Asking, *, id: str, score_key: str
    ) -> bool:
        """Write the verdict; False when storage fails: the answer goes on and says so.

        What people have to see is on their desk before the verdict counts as recorded.
        """
        now = int(self._clock.now() * 1000)
        row = record(item, ruling, asking, id=id, score_key=score_key, created_at=now)
        if self._store_text:
            row = msgspec.structs.replace(row, content=item.text)
        try:
            if row.decision == "review":
                review = asking.judge.policy.review
                await self._referrals.refer(referral(row, item, ruling, review))
            new = await self._store.save(row)
        except StorageError:
            self._metrics.count("penstock_verdicts_unrecorded_total")
            return False
        if new and self._emit is not None and row.decision != "approved":
            data = {"decision": row.decision, "risk": row.risk, "category": ruling.category}
            self._emit(f"verdict.{row.decision}", row.id, row.owner, data)
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


@lru_cache(maxsize=4096)
def _verdict_id(*parts: str) -> str:
    """The id of a verdict: it says everything that the verdict depends on."""
    return "mod_" + fingerprint(*parts)


def _wrong(pointer: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "detail": detail}


def _source(listed: Listed) -> str:
    """The list that a decision rests on, in words."""
    hit = listed.hits[0]
    return f"the {hit.list_kind} list {hit.list_name!r}"


def _flagged(flags: Sequence[bool]) -> Sequence[str]:
    """The names of the categories that were flagged; mostly none."""
    return tuple(compress(CATEGORIES, flags)) if True in flags else ()
