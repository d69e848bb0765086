"""What there is to decide on: what is known of a text and its images, and what lists say of them.

    text ──► remembered | joined | read by the stages ──┐
    image ─► remembered | joined | looked at ───────────┼─► lists, as they are now ─► one item
    (side by side)                                      ┘

What an allow list exempts from the rules is read again without it. Nothing is decided here.
The key's budget (`may_spend`) is asked behind the memory tier; who has none left still gets what
other tiers remember.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from penstock.cache.keys import fingerprint
from penstock.errors import FetchFailed
from penstock.lists.lists import NOTHING, Listed, Lists
from penstock.observe.metrics import Metrics
from penstock.pipeline import Answer, Cost, Own, Permit, Pipeline, Receipt, Tokens
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.looking import Looker, LookFailed, Sight
from penstock.services.moderation.parts import Item, Part, item_of
from penstock.services.moderation.policy import Judge
from penstock.services.moderation.reading import FOREIGN, ProviderFailed, Question, Reader
from penstock.services.moderation.rules import inside
from penstock.services.moderation.schemas import Degradation, Judgement
from penstock.services.moderation.together import together
from penstock.usage import Usage

NAMESPACE = "moderation"
NOT_JUDGED = ("not-judged", "none of the policy's stages can read texts here")
IMAGES_UNSEEN = Degradation("images-unavailable", "no configured model can look at images")

MaySpend = Callable[[str | None], Awaitable[None]]
"""Raises BudgetExhausted when the key with this id has spent what it may; StorageError."""


class Asking(NamedTuple):
    """On whose behalf, under which policy, and how one item is judged."""

    owner: str
    key: str | None
    user_id: str | None
    judge: Judge
    question: Question


class Evidence:
    """Gathers what is known of items."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        reader: Reader,
        looker: Looker,
        lists: Lists,
        metrics: Metrics,
        usage: Usage,
        may_spend: MaySpend | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._reader = reader
        self._looker = looker
        self._lists = lists
        self._metrics = metrics
        self._may_spend = may_spend
        self._usage = usage

    async def gather(
        self, text: str, images: Sequence[str], asking: Asking, *, pointers: Sequence[str]
    ) -> Item:
        """Everything about one item. Raises what an image is refused for, with its pointer."""
        if not images:
            return item_of(text, [await self._text(text, asking)])
        places = self._looker.places()  # so that one request does not take everyone's
        work = [
            self._image(url, asking, pointer, places)
            for url, pointer in zip(images, pointers, strict=True)
        ]
        if text:
            work.insert(0, self._text(text, asking))
        item = item_of(text, await together(work, lost=partial(self._charge, asking)))
        if any(not part.sha256 for part in item.parts if part.kind == "image"):
            return item
        # What people decided about the whole of it comes before what lists say of its parts.
        await self._refresh()
        decided = self._lists.match_image(item.content_hash, (), (), key=asking.key)
        if not decided.hits:
            return item
        return item._replace(whole=item.whole._replace(listed=decided))

    def _charge(self, asking: Asking, part: Part) -> None:
        """Count what was paid for a part of an item that has no verdict."""
        self._usage.add(
            key_id=asking.key or asking.owner,
            owner=asking.owner,
            service=NAMESPACE,
            receipt=part.answer.receipt,
        )

    async def assess(self, text: str, reader: Reader | None = None) -> Answer[Judgement]:
        """What rules and a local model find in a text, cached."""
        reader = reader or self._reader
        question = Question(("prescreen", "local"))
        return await self._pipeline.answer(
            f"{NAMESPACE}:{reader.key(text, question)}",
            lambda trace: reader.read(text, question, trace),
            type=Judgement,
        )

    async def read(
        self, text: str, asking: Asking
    ) -> tuple[str, Answer[Judgement], Degradation | None]:
        """Key and judgement of a text (remembered, joined, computed), and what was missing.

        Raises BudgetExhausted where it would have to be computed and the key has nothing left.
        """
        question = asking.question
        key = f"{NAMESPACE}:{self._reader.key(text, question)}"

        def max_age(judgement: Judgement) -> float:
            return asking.judge.lifetime(judgement.scores, foreign=is_foreign(judgement))

        answer: Answer[Judgement] | None = self._pipeline.peek(key, max_age=max_age)
        if answer is not None:
            return key, answer, None
        own = Own(lambda trace: self._reader.read(text, question, trace))
        try:
            answer = await self._pipeline.answer(
                key,
                own,
                type=Judgement,
                max_age=max_age,
                tags=_tags(asking),
                permit=self._permit(asking) if self._reader.asks(question) else None,
            )
        except ProviderFailed as failure:
            receipt = _failed(failure, failure.judgement, paid=own.ran)
            answer = Answer(failure.judgement, receipt, from_cache=False)
            return key, answer, self._fault(failure.cause.slug, failure.cause.detail)
        return key, answer, None

    async def _text(self, text: str, asking: Asking) -> Part:
        key, answer, fault = await self.read(text, asking)
        listed = await self._match(text, asking.key, key)
        if listed.exempt and any(
            found.stage == "prescreen" and inside(found, listed.exempt)
            for found in answer.value.findings
        ):
            question = asking.question._replace(exempt=listed.exempt)
            key, answer, fault = await self.read(text, asking._replace(question=question))
        if not answer.value.versions:
            fault = self._fault(*NOT_JUDGED)
        return Part(key, answer, listed, fault, "text")

    async def _image(
        self, url: str, asking: Asking, pointer: str, places: asyncio.Semaphore
    ) -> Part:
        ask = "provider" in asking.question.stages

        def max_age(sight: Sight) -> float:
            return asking.judge.lifetime(sight.scores)

        fault = None
        try:
            answer = await self._looker.look(
                url,
                pointer=pointer,
                ask=ask,
                max_age=max_age,
                tags=_tags(asking),
                places=places,
                permit=self._permit(asking) if ask else None,
            )
        except FetchFailed as failure:
            return _unreached(url, self._fault("image-unreachable", failure.detail))
        except LookFailed as failure:
            receipt = _failed(failure, failure.sight, paid=not failure.is_joined)
            answer = Answer(failure.sight, receipt, from_cache=False)
            fault = self._fault(IMAGES_UNSEEN.code, failure.cause.detail)
        sight = answer.value
        await self._refresh()
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

    def _permit(self, asking: Asking) -> Permit | None:
        return None if self._may_spend is None else partial(self._may_spend, asking.key)

    async def _refresh(self) -> None:
        """Learn what changed: a word that came while a provider was asked counts already."""
        if self._lists.stale:
            await self._lists.refresh()

    def _fault(self, code: str, detail: str) -> Degradation:
        self._metrics.count("penstock_degraded_total", code=code)
        return Degradation(code, detail)

    async def _match(self, text: str, key: str | None, content_key: str) -> Listed:
        """What lists say now; what takes long is looked for in a thread."""
        if self._lists.stale:
            await self._lists.refresh()
        return await self._lists.match_long(text, key=key, remember=content_key)


def is_foreign(judgement: Judgement) -> bool:
    """Whether a text is in a language that those who judged it cannot read."""
    return judgement.other_language >= FOREIGN and judgement.source != "provider"


def _tags(asking: Asking) -> tuple[str, ...]:
    return (f"user:{asking.user_id}",) if asking.user_id else ()


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


def _failed(
    failure: ProviderFailed | LookFailed, found: Judgement | Sight, *, paid: bool
) -> Receipt:
    """The receipt of what was found without the provider; its useless answer may have a price."""
    receipt, cause = _receipt(found, failure.trace.stages), failure.cause
    if not paid:
        return receipt  # who asked pays, not those who waited
    return msgspec.structs.replace(
        receipt,
        tokens=Tokens(cause.tokens_in, cause.tokens_out),
        cost=Cost(cause.cost_micros, 0, cause.currency),
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
