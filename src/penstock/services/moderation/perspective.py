"""Comments scored as Perspective did: by attribute, by sentence, under a named model version.

    version ── shelf ── reader ── moderation.assess ──► judgement ── attributes ── curves ──► scores

Rules and the local model read, never a provider: a provider's model changes without a word, and
scores that are compared with a threshold for years must not. What one version answers stays cached
apart from what another does. A curve that `penstock perspective calibrate` saved is applied to
every score of its attribute and model version.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from penstock.audit import AuditLog
from penstock.clock import Clock
from penstock.db.look import Look
from penstock.errors import NotFound, StorageError, StorageUnavailable
from penstock.hub import Hub
from penstock.models.shelf import MOST_LOADED, Shelf, Shelved
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.pipeline import Answer, Trace
from penstock.providers.factory import open_local
from penstock.providers.provider import Provider
from penstock.services.moderation.attributes import FORMULAS, NEEDED, attributes_of, by_category
from penstock.services.moderation.calibration import Curve
from penstock.services.moderation.holdings import LOOK_SECONDS
from penstock.services.moderation.language import UNKNOWN, identify
from penstock.services.moderation.passages import Comment, Passage
from penstock.services.moderation.perspective_store import (
    PerspectiveStore,
    StoredCurve,
    Suggestion,
)
from penstock.services.moderation.reading import FOREIGN, Question, Reader
from penstock.services.moderation.rules import Rules
from penstock.services.moderation.schemas import Judgement
from penstock.usage import Usage

TOPIC: Final = "perspective"  # its generation moves with every curve and every pin
INLINE_CHARACTERS: Final = 4_000  # longer comments are taken apart in a thread
AT_ONCE: Final = 4  # sentences between turns of the loop: a millisecond
ENGLISH: Final = "en"

_log = get_logger("penstock.perspective")


class Assessor(Protocol):
    """What is asked of `ModerationService`."""

    async def assess(self, text: str, *, reader: Reader | None = None) -> Answer[Judgement]:
        """Return what was found out about a text, cached."""


class Scored(NamedTuple):
    """Scores of one passage by attribute, on the scale of the curves that there are."""

    passage: Passage
    values: Mapping[str, float]


class Analysis(NamedTuple):
    """What is said about one comment."""

    whole: Scored
    sentences: tuple[Scored, ...]  # () unless asked for
    languages: tuple[str, ...]  # that the text seems to be in; () where nobody can tell
    model_version: str
    models: Mapping[str, str]  # all that contributed, with versions
    calibrated: frozenset[str]  # attributes on the scale of somebody's own scores
    stages: Mapping[str, float]  # seconds


class Readable(NamedTuple):
    """One comment that was read: what comes before its scores are asked for."""

    comment: Comment
    judgement: Judgement
    stages: Mapping[str, float]
    languages: tuple[str, ...]
    voice: _Voice


class _Voice(NamedTuple):
    """One model version, ready to answer."""

    version: str
    provider: Provider
    reader: Reader


class Perspective:
    """Scores comments under the pinned or a named model version; keeps curves and suggestions."""

    def __init__(
        self,
        assessor: Assessor,
        *,
        rules: Rules,
        store: PerspectiveStore,
        hub: Hub,
        clock: Clock,
        audit: AuditLog,
        usage: Usage,
        metrics: Metrics,
        folder: Path,
        store_text: bool = False,
    ) -> None:
        self._assessor = assessor
        self._rules = rules
        self._store = store
        self._hub = hub
        self._clock = clock
        self._audit = audit
        self._usage = usage
        self._metrics = metrics
        self._store_text = store_text
        self._shelf = Shelf(folder)
        self._voices: dict[str, _Voice] = {}
        self._looking = Look(self._look)
        self._generation: int | None = None  # of the hub at the last look; None: there was none
        self._look_at = 0.0  # monotonic; before, only the generation is asked
        self._failure = ""  # why curves could not be read, if they could not
        self._pinned: str | None = None
        self._curves: dict[tuple[str, str], Curve] | None = None  # None: nothing was read yet

    async def read(
        self, comment: Comment, *, owner: str, key: str | None = None, model: str | None = None
    ) -> Readable:
        """Read a comment with a model version, by default the pinned one.

        It counts as one call of `key`, the API key that asks. Raises InvalidInput for an unknown
        version or a text that cannot be judged.
        """
        voice = await self._voice(model)
        answer = await self._assessor.assess(comment.text, reader=voice.reader)
        self._usage.add(key_id=key or owner, owner=owner, service=TOPIC, receipt=answer.receipt)
        languages = await _languages(comment.text, answer.value)
        return Readable(comment, answer.value, answer.receipt.stages, languages, voice)

    async def analyze(
        self, read: Readable, attributes: Sequence[str], *, spans: bool = False
    ) -> Analysis:
        """The scores of a comment that was read; `spans` scores each sentence by itself.

        Rules see the whole comment, so a sentence is judged by the model alone.
        """
        voice = read.voice
        curves = self._curves_of(voice.version, attributes)
        categories = await _complete(by_category(read.judgement.scores), read, voice.provider)
        sentences: list[Scored] = []
        for at, part in enumerate(await _sentences(read.comment) if spans else ()):
            if at % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            scores = (await voice.provider.moderate(part.text)).scores
            sentences.append(Scored(part, _mapped(scores, attributes, curves)))
        return Analysis(
            whole=Scored(read.comment.whole, _mapped(categories, attributes, curves)),
            sentences=tuple(sentences),
            languages=read.languages,
            model_version=voice.version,
            models={**voice.reader.models, **read.judgement.models, "attributes": FORMULAS},
            calibrated=frozenset(curves),
            stages=read.stages,
        )

    async def aclose(self) -> None:
        """Stop reading curves; before the database closes."""
        await self._looking.aclose()

    async def measure(self, text: str, *, model: str | None = None) -> dict[str, float] | None:
        """Our own scores by attribute, past cache and curves: what a curve is fitted on.

        None where the text is not English: its scores would mean nothing.
        """
        voice = await self._voice(model)
        judgement = await voice.reader.read(
            text, Question(("prescreen", "local")), Trace(self._clock)
        )
        if judgement.other_language >= FOREIGN:
            return None
        comment = Comment(text)
        read = Readable(comment, judgement, {}, (), voice)
        return attributes_of(await _complete(by_category(judgement.scores), read, voice.provider))

    async def suggest(
        self,
        text: str,
        scores: Mapping[str, float],
        *,
        owner: str,
        key_id: str,
        community: str = "",
        may_store: bool = True,
    ) -> None:
        """Keep what somebody thinks the scores of a comment should be.

        Of the text its hash, and the text itself only where the installation stores texts and
        `may_store`.
        """
        voice = await self._voice(None)
        suggestion = Suggestion(
            owner=owner,
            key_id=key_id,
            content_hash=hashlib.sha256(text.encode()).hexdigest(),
            content=text if self._store_text and may_store else None,
            scores=dict(scores),
            model_version=voice.version,
            community=community,
            created_at=self._now(),
        )
        await self._store.suggest(suggestion)
        self._metrics.count("penstock_suggestions_total")

    async def suggestions(
        self, *, before: int | None = None, limit: int = 100
    ) -> list[tuple[int, Suggestion]]:
        """Suggestions with their numbers, newest first."""
        return await self._store.suggestions(before=before, limit=limit)

    async def versions(self) -> list[Shelved]:
        """The model versions that can answer, the package's own first."""
        return await asyncio.to_thread(self._shelf.versions)

    async def version(self, model: str | None = None) -> str:
        """The version that answers to `model`; None is the pinned one. Raises InvalidInput."""
        return (await self._voice(model)).version

    async def use(self, version: str, *, actor: str) -> None:
        """Pin another version, for every process. Raises InvalidInput for an unknown one."""
        before = await asyncio.to_thread(self._shelf.pinned)
        await asyncio.to_thread(self._shelf.pin, version)
        await self._audit.record(actor, "perspective.model_pinned", version, {"before": before})
        self._hub.bump(TOPIC)

    async def curves(self) -> list[StoredCurve]:
        """The curves that are applied."""
        return await self._store.curves()

    async def save(self, curves: Mapping[str, Curve], *, version: str, actor: str) -> None:
        """Apply curves by attribute to what this model version answers from now on."""
        now = self._now()
        stored = [StoredCurve(name, version, curve, now) for name, curve in curves.items()]
        detail = {name: curve.fit.mean_error for name, curve in curves.items()}
        entry = self._audit.entry(actor, "perspective.calibrated", version, detail)
        await self._store.save(stored, entry)
        self._hub.bump(TOPIC)

    async def forget(
        self, *, attribute: str | None = None, version: str | None = None, actor: str
    ) -> list[StoredCurve]:
        """Delete the curves of an attribute, of a model version, or all. Raises NotFound."""
        meant = [
            each
            for each in await self.curves()
            if attribute in (None, each.attribute) and version in (None, each.model_version)
        ]
        if not meant:
            raise NotFound("there is no such curve")
        names = [f"{each.attribute} {each.model_version}" for each in meant]
        entry = self._audit.entry(actor, "perspective.uncalibrated", version or "", {"of": names})
        await self._store.forget(meant, entry)
        self._hub.bump(TOPIC)
        return meant

    async def _voice(self, model: str | None) -> _Voice:
        if self._stale:
            await self._refresh()
        version = model or self._pinned
        if version is None:
            version = self._pinned = await asyncio.to_thread(self._shelf.pinned)
        return self._voices.get(version) or await self._prepared(version)

    @property
    def _stale(self) -> bool:
        """Whether something may have changed since the last look."""
        return (
            self._hub.generation(TOPIC) != self._generation
            or self._clock.monotonic() >= self._look_at
        )

    async def _refresh(self) -> None:
        """Learn what changed; those who ask at once share one look.

        Raises StorageError where nothing was ever read; later on what is known goes on counting.
        """
        await self._looking.share()
        if self._curves is None:
            raise StorageUnavailable(self._failure or "the database does not answer")

    async def _look(self) -> None:
        generation = self._hub.generation(TOPIC)  # before reading: what changes is read again
        try:
            stored = await self._store.curves()
            self._curves = {(each.attribute, each.model_version): each.curve for each in stored}
            self._pinned, self._failure = None, ""
        except StorageError as error:
            if not self._failure:
                _log.error("perspective.curves_unreadable", detail=error.detail)
            self._failure = error.detail
            raise
        finally:
            self._generation = generation
            self._look_at = self._clock.monotonic() + LOOK_SECONDS

    async def _prepared(self, version: str) -> _Voice:
        found = await asyncio.to_thread(self._shelf.load, version)
        provider = open_local(found, clock=self._clock)
        reader = Reader(
            rules=self._rules,
            local=provider,
            provider=None,
            metrics=self._metrics,
            identify=identify,
        )
        if len(self._voices) >= MOST_LOADED:
            self._voices.pop(next(iter(self._voices)))
        voice = self._voices[version] = _Voice(version, provider, reader)
        return voice

    def _curves_of(self, version: str, attributes: Sequence[str]) -> dict[str, Curve]:
        known = self._curves or {}
        wanted = ((name, known.get((name, version))) for name in attributes)
        return {name: curve for name, curve in wanted if curve is not None}

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


async def _complete(
    known: dict[str, float], read: Readable, provider: Provider
) -> Mapping[str, float]:
    """Scores of every category that an attribute needs.

    Where a rule was certain the model was not asked; here it is, for what the rule said nothing of.
    """
    if known.keys() >= NEEDED:
        return known
    judged = (await provider.moderate(read.comment.text)).scores
    return {name: max(judged.get(name, 0.0), known.get(name, 0.0)) for name in judged | known}


async def _languages(text: str, judgement: Judgement) -> tuple[str, ...]:
    """English unless the model doubts it; then what the letters and words say, or nothing."""
    if judgement.other_language < FOREIGN:
        return (ENGLISH,)
    code = judgement.language or await asyncio.to_thread(identify, text)
    return () if code == UNKNOWN else (code,)


async def _sentences(comment: Comment) -> list[Passage]:
    if len(comment.text) <= INLINE_CHARACTERS:
        return comment.sentences()
    return await asyncio.to_thread(comment.sentences)


def _mapped(
    scores: Mapping[str, float], attributes: Sequence[str], curves: Mapping[str, Curve]
) -> dict[str, float]:
    found = attributes_of(scores)
    mapped = {
        name: curves[name].apply(found[name]) if name in curves else found[name]
        for name in attributes
    }
    return {name: round(value, 7) for name, value in mapped.items()}
