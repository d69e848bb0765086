"""What the stages find out about one text: prescreen, local model and, if there is one, a provider.

The prescreen and the local model read the whole text. A certain violation ends the reading; a
provider is asked for the rest, about an excerpt of a long text. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from penstock import pii
from penstock.cache.keys import fingerprint
from penstock.errors import ProviderError
from penstock.observe.metrics import Metrics
from penstock.pipeline import Trace, Usage
from penstock.providers.provider import CATEGORIES, Finding, Provider, Scores
from penstock.services.moderation.excerpt import ExcerptRule, choose, count_words, join, windows
from penstock.services.moderation.policy import STAGES, Stage
from penstock.services.moderation.rules import NOTHING, Found, Rules, Spans
from penstock.services.moderation.schemas import MAX_FINDINGS, Judgement

FOREIGN = 0.5  # from this probability on a text counts as not English
_UNREAD = Scores({})  # by the local model
INLINE_CHARACTERS = pii.INLINE  # up to here rules take about a millisecond, whatever it says


class ProviderFailed(Exception):
    """Carries what the local stages found past the cache, which must not keep it."""

    def __init__(self, judgement: Judgement, trace: Trace, cause: ProviderError) -> None:
        super().__init__(str(cause))
        self.judgement = judgement
        self.trace = trace
        self.cause = cause


class Question(NamedTuple):
    """What is asked about a text: who reads it, and what of it a provider is sent."""

    stages: tuple[Stage, ...] = STAGES
    rule: ExcerptRule = ExcerptRule()
    always_ask: bool = False  # the provider, also where a rule is certain
    exempt: Spans = ()  # what rules find wholly inside does not count

    @property
    def key(self) -> str:
        """Part of the cache key; "" for what is asked as a rule."""
        if self.stages == STAGES and not self.always_ask and not self.exempt:
            return ""
        return f"{sorted(set(self.stages))} {self.always_ask} {self.exempt}"


class Sent(NamedTuple):
    """What of a text goes to the provider, and what the local model says of the rest."""

    text: str
    share: float = 1.0
    unread: dict[str, float] | None = None  # None: nothing is left out


class Reader:
    """Reads texts; `models` names everything that reads, with versions."""

    def __init__(
        self,
        *,
        rules: Rules,
        local: Provider,
        provider: Provider | None,
        metrics: Metrics,
        identify: Callable[[str], str] | None = None,
    ) -> None:
        self._rules = rules
        self._identify = identify
        self._local = local
        self._provider = provider
        self._metrics = metrics
        self._long_texts = asyncio.Semaphore(1)
        self.models: dict[str, str] = {
            "prescreen": rules.version,
            **local.models,
            **(provider.models if provider else {}),
        }
        self._version = fingerprint(sorted(self.models.items()))

    @property
    def asks_provider(self) -> bool:
        """Whether a reading may wait for someone else."""
        return self._provider is not None

    def key(self, text: str, question: Question) -> str:
        """A fingerprint of the question: what is read, by whom, and what of it is sent out."""
        sent = question.rule.key if self.asks(question) else ""
        return fingerprint(self._version, sent, question.key, text)

    async def read(self, text: str, question: Question, trace: Trace) -> Judgement:
        """Run the stages. Raises ProviderFailed with what the local ones found."""
        screening, local = NOTHING, _UNREAD
        if "prescreen" in question.stages:
            with trace.stage("prescreen"):
                screening = (await self._screen(text)).without(question.exempt)
            if screening.certain and not question.always_ask:
                return _merge(screening, local)
        if "local" in question.stages:
            with trace.stage("local"):
                local = await self._local.moderate(text)
            self._metrics.count("penstock_model_calls_total", model=self._local.name)
        language = await self._language(text, screening, local)
        judgement = _merge(screening, local, language)
        if self._provider is None or not self.asks(question) or not text:
            return judgement
        try:
            with trace.stage("provider"):
                sent = await self._excerpt(text, question.rule)
                remote = await self._provider.moderate(sent.text)
        except ProviderError as error:
            raise ProviderFailed(judgement, trace, error) from error
        self._metrics.count("penstock_model_calls_total", model=self._provider.name)
        return _add_provider(judgement, remote, sent)

    def asks(self, question: Question) -> bool:
        """Whether this question may go to a provider."""
        return self._provider is not None and "provider" in question.stages

    async def _screen(self, text: str) -> Found:
        if len(text) <= INLINE_CHARACTERS:
            return self._rules.read(text)
        # A megabyte made to be slow takes seconds: one at a time, beside the loop.
        async with self._long_texts:
            return await asyncio.to_thread(self._rules.read, text)

    async def _language(self, text: str, found: Found, local: Scores) -> str:
        """Which language a text is in that is not English; "" where nobody was asked."""
        if self._identify is None or max(local.other_language, found.foreign_share) < FOREIGN:
            return ""
        return await asyncio.to_thread(self._identify, text)  # its first call loads a model

    async def _excerpt(self, text: str, rule: ExcerptRule) -> Sent:
        words = count_words(text)
        share = min(rule.share(words), rule.max_words / max(words, 1))
        if share >= 1.0:
            return Sent(text)
        parts = windows(text)
        read: list[Mapping[str, float]] = []
        for part in parts:
            read.append((await self._local.moderate(part)).scores)
            await asyncio.sleep(0)  # a megabyte has thousands of parts
        chosen = choose([max(scores.values(), default=0.0) for scores in read], share)
        unread: dict[str, float] = {}
        for at in set(range(len(parts))).difference(chosen):
            _raise_to(unread, read[at])
        sent = join(parts, chosen)
        return Sent(sent, min(1.0, count_words(sent) / max(words, 1)), unread)


def _merge(found: Found, local: Scores, language: str = "") -> Judgement:
    """The higher of two scores stands; what neither judged stays unknown."""
    scores = dict(local.scores)
    _raise_to(scores, found.scores)
    ordered = _ordered(scores)
    by_rules = (("prescreen", found.version),) if found.version else ()
    return Judgement(
        digest=fingerprint(*ordered),
        scores=ordered,
        findings=_strongest((*found.findings, *local.findings)),
        other_language=max(local.other_language, found.foreign_share),
        source="prescreen" if local is _UNREAD else "local",
        versions=(*by_rules, *local.models.items()),
        language=language,
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
        language=judgement.language,
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


def _raise_to(scores: dict[str, float], others: Mapping[str, float]) -> None:
    for category, score in others.items():
        scores[category] = max(score, scores.get(category, 0.0))
