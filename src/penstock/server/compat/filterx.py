"""FilterX's own paths: text and images are filtered under a caller's flags, alone or by ten.

Scores come from moderation, cached as everyone's; what is allowed is applied to them afterwards, so
one scoring serves every configuration, and the verdict on record is the policy's alone. What rules
find blocks from the policy's `flag` on, what only a model says from its `reject` on.

Three things differ from FilterX on purpose: what is allowed never lets anything else through, a
judge that fails never passes anything, and short texts are read. Its `GET /v1/apikey`, which gives
a key to whoever asks, does not exist here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final, NamedTuple

import msgspec

from penstock.errors import InvalidInput
from penstock.http.asgi import Message, Receive, Scope, Send
from penstock.lists import Listed
from penstock.observe.metrics import Metrics
from penstock.pii import INLINE
from penstock.providers.provider import CATEGORIES
from penstock.runtime import Runtime
from penstock.server.compat.filterx_messages import (
    FilterBatchRequest,
    FilterBatchResponse,
    FilterConfig,
    FilterRequest,
    FilterResponse,
    data_url,
    is_set,
)
from penstock.services.moderation import filtering
from penstock.services.moderation.policy import UNSEEN, Ruling, Stage
from penstock.services.moderation.reading import FOREIGN
from penstock.services.moderation.schemas import Verdict
from penstock.services.moderation.service import LOCAL_TEXTS, PROVIDER_TEXTS
from penstock.services.moderation.together import together
from penstock.web.hot import Call, HotRoute

PATH: Final = "/v1/filter"
SERVICE: Final = "filterx"  # what its statistics are counted as
JUDGED: Final = "judged:filterx"  # parts that a provider had a say in, by what became of them
KINDS: Final = {"text": ("text",), "image": ("image",), "both": ("text", "image")}
VERDICT: Final = b"x-penstock-verdict"


class Finding(NamedTuple):
    """What is said of one part, the text or the image."""

    flags: tuple[str, ...] = ()
    blocked: bool = False
    note: str = ""  # of what no flag says
    masked: str | None = None
    verdict: str = ""  # its id, if it is on record
    is_cached: bool = False
    is_provided: bool = False  # whether a provider had a say


def hot_routes(runtime: Runtime) -> list[HotRoute[Any, Any]]:
    """The four routes of FilterX."""
    filterx = FilterX(runtime)

    async def both(request: FilterRequest, call: Call) -> FilterResponse:
        return _headed(await filterx.answer(request, call), call)

    async def text(request: FilterRequest, call: Call) -> FilterResponse:
        _need(request.text, "/text")
        words = msgspec.structs.replace(request, image=None)
        return _headed(await filterx.answer(words, call), call)

    async def image(request: FilterRequest, call: Call) -> FilterResponse:
        _need(request.image, "/image")
        config = request.config or FilterConfig()
        config = msgspec.structs.replace(config, analyze_images=True)  # there is nothing else
        seen = msgspec.structs.replace(request, text=None, config=config)
        return _headed(await filterx.answer(seen, call), call)

    async def batch(request: FilterBatchRequest, call: Call) -> FilterBatchResponse:
        return FilterBatchResponse(await filterx.answers(request.items, call))

    single = {"request": FilterRequest, "response": FilterResponse}
    several = {"request": FilterBatchRequest, "response": FilterBatchResponse}
    return [
        _TimedRoute(path, handler, **types, role="operator", summary=summary, tag="filterx")
        for path, handler, types, summary in (
            (PATH, both, single, "FilterX: filter a text, an image or both"),
            (f"{PATH}/text", text, single, "FilterX: filter a text"),
            (f"{PATH}/image", image, single, "FilterX: filter an image"),
            (f"{PATH}/batch", batch, several, "FilterX: filter up to ten items"),
        )
    ]


class FilterX:
    """Answers in FilterX's words."""

    def __init__(self, runtime: Runtime) -> None:
        self._service = runtime.moderation
        self._policies = runtime.policies
        self._lists = runtime.lists
        self._looker = runtime.looker
        self._prescreen = runtime.rules.prescreen
        self._metrics = runtime.metrics
        self._statistics = runtime.usage.statistics
        self._normalises = runtime.settings.normalise_texts
        self._turns = asyncio.Semaphore(1)  # of short texts: others are served between two
        self._long_texts = asyncio.Semaphore(1)  # one made to be slow takes seconds

    async def answers(self, items: Sequence[FilterRequest], call: Call) -> list[FilterResponse]:
        """Filter several requests; answers in their order."""
        for index, item in enumerate(items):
            item.check(f"/items/{index}")
        gate = asyncio.Semaphore(PROVIDER_TEXTS if self._service.asks_provider else LOCAL_TEXTS)
        work = [self.answer(item, call, at=f"/items/{at}") for at, item in enumerate(items)]
        return await together(work, gate=gate)

    async def answer(self, request: FilterRequest, call: Call, *, at: str = "") -> FilterResponse:
        """Filter one request; `at` is its pointer in the body."""
        began = perf_counter()
        request.check(at)
        text = request.text if request.text and not request.text.isspace() else None
        if text is None and not request.image:
            detail = "send a text, an image or both"
            raise InvalidInput(detail, errors=[{"pointer": f"{at}/text", "detail": detail}])
        parts: list[Coroutine[Any, Any, Finding]] = []
        if text is not None:
            parts.append(self._text(text, request, call, at=f"{at}/text"))
        if request.image:
            parts.append(self._image(request.image, request, call, at=f"{at}/image"))
        found = await together(parts)
        content = "both" if len(parts) == 2 else "image" if text is None else "text"
        _count(self._metrics, found, content)
        config = request.config or FilterConfig()
        response = _response(found)
        self._remember(found, response, content, call.principal.key_id, perf_counter() - began)
        response.verdicts = tuple(part.verdict for part in found if part.verdict)
        if request.text is not None and is_set(config.return_filtered_message):
            masked = None if text is None else found[0].masked
            response.filtered_message = request.text if masked is None else masked
        return response

    def _remember(
        self,
        found: Sequence[Finding],
        response: FilterResponse,
        content: str,
        user: str,
        seconds: float,
    ) -> None:
        """Count the request for FilterX's statistics."""
        self._statistics.answered(
            SERVICE,
            user=user,
            decision="rejected" if response.blocked else "approved",
            cached=all(part.is_cached for part in found),
            flagged=response.flags,
            seconds=seconds,
        )
        for part, kind in zip(found, KINDS[content], strict=True):
            if part.is_provided:
                self._statistics.count(JUDGED, f"{kind}.{'blocked' if part.blocked else 'allowed'}")

    async def _text(self, text: str, request: FilterRequest, call: Call, *, at: str) -> Finding:
        who, config = call.principal, request.config or FilterConfig()
        stages, always = await self._stages(request, who.key_id)
        verdict = await self._service.moderate(
            text, owner=who.owner, key=who.key_id, stages=stages, always_ask=always, pointer=at
        )
        _note_time(verdict, call)
        spared = config.allowed.spared(filtering.ABUSE_IN_TEXT)
        ruling, minded = self._rule(verdict, spared, key=who.key_id)
        listed = verdict.listed
        if self._normalises:  # what was judged is another text, with other places
            listed = await self._lists.match_long(text, key=who.key_id)
        sift = partial(self._sift, text, request, minded, listed)
        if len(text) + sum(map(len, request.history)) <= INLINE:  # both are read
            async with self._turns:
                flags, masked = sift()
        else:
            async with self._long_texts:
                flags, masked = await asyncio.to_thread(sift)
        return self._concluded(verdict, ruling, minded, flags, key=who.key_id, masked=masked)

    async def _image(self, image: str, request: FilterRequest, call: Call, *, at: str) -> Finding:
        who, config = call.principal, request.config or FilterConfig()
        url = data_url(image, at)
        if not is_set(config.analyze_images):
            return await self._known_image(url, key=who.key_id, at=at)
        verdict = await self._service.moderate(
            "", owner=who.owner, key=who.key_id, images=[url], pointer=at
        )
        _note_time(verdict, call)
        spared = config.allowed.spared(filtering.ABUSE_IN_IMAGES)
        ruling, minded = self._rule(verdict, spared, key=who.key_id)
        flags = {filtering.IMAGE_FLAGS[category] for category in minded.rejected}
        if verdict.listed.decision == "rejected":
            flags.add("inappropriate")
        ordered = filtering.in_order(flags)
        return self._concluded(verdict, ruling, minded, ordered, key=who.key_id)

    async def _known_image(self, url: str, *, key: str, at: str) -> Finding:
        """What lists say of an image that nobody was to analyse; its file is checked as ever."""
        if self._lists.stale:
            await self._lists.refresh()
        sight = (await self._looker.look(url, pointer=at, ask=False)).value
        listed = self._lists.match_image(sight.sha256, sight.pdq, sight.phash, key=key)
        if listed.decision == "rejected":
            return Finding(("inappropriate",), blocked=True)
        return Finding(note="the image was not analyzed, since analyzeImages is not set")

    async def _stages(
        self, request: FilterRequest, key: str
    ) -> tuple[tuple[Stage, ...] | None, bool]:
        """Who reads, and whether a provider is asked also where a rule is certain.

        Never more stages than the policy has: it may keep texts from leaving the machine.
        """
        if request.model != "fast":
            return None, request.model == "pro"
        judge = self._policies.peek(key) or await self._policies.fetch(key)
        own = judge.policy.stages
        return tuple(stage for stage in own if stage != "provider") or ("prescreen", "local"), False

    def _rule(
        self, verdict: Verdict, spared: frozenset[str], *, key: str
    ) -> tuple[Ruling, filtering.Minded]:
        """What the policy makes of all that is not allowed anyway, as a whole and by category."""
        judge, judgement = self._policies.of(key), verdict.judgement
        scores = filtering.blanked(judgement.scores, spared)
        ruling = judge.decide(
            scores,
            foreign=judgement.other_language >= FOREIGN and judgement.source != "provider",
            degraded=verdict.degraded.code if verdict.degraded else None,
            listed=verdict.listed.decision,
        )
        if verdict.listed.decision == "approved":
            return ruling, filtering.NOTHING_MINDED
        return ruling, filtering.mind(scores, judge.policy)

    def _sift(
        self, text: str, request: FilterRequest, minded: filtering.Minded, listed: Listed
    ) -> tuple[tuple[str, ...], str | None]:
        """The flags of a text, and the text masked if that was asked for."""
        config = request.config or FilterConfig()
        sifted = filtering.sift(
            text,
            allowed=config.allowed,
            minded=minded,
            listed=listed,
            prescreen=self._prescreen,
            history=request.history,
        )
        wanted = is_set(config.return_filtered_message)
        return sifted.flags, sifted.mask(text) if wanted else None

    def _concluded(
        self,
        verdict: Verdict,
        ruling: Ruling,
        minded: filtering.Minded,
        flags: tuple[str, ...],
        *,
        key: str,
        masked: str | None = None,
    ) -> Finding:
        """Blocked is what has a flag, what the policy rejects, and what could not be judged."""
        fault, note = verdict.degraded, ""
        if fault is not None and ruling.decision != "approved":
            unopened = self._policies.of(key).policy.on_provider_failure != "open"
            if fault.code in UNSEEN or unopened:
                flags = (*flags, filtering.ERROR)
        if not flags or filtering.ERROR in flags:
            note = _reason(ruling, verdict.judgement.scores, minded)
        blocked = bool(flags) or ruling.decision == "rejected"
        if not blocked and verdict.decision == "review":
            note = note and f"left to a human to review: {note}"
        return Finding(
            flags,
            blocked,
            note,
            masked,
            verdict.id if verdict.recorded else "",
            verdict.from_cache,
            verdict.judgement.source == "provider",
        )


class _TimedRoute(HotRoute[Any, Any]):
    """Says how long it took, in FilterX's header."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                spent = f"{round((perf_counter() - began) * 1000)}ms".encode()
                headers = [*message["headers"], (b"x-processing-time", spent)]
                message = {**message, "headers": headers}
            await send(message)

        await super().__call__(scope, receive, timed)


def _response(found: Sequence[Finding]) -> FilterResponse:
    flags = filtering.in_order(flag for part in found for flag in part.flags)
    blocked = any(part.blocked for part in found)
    said = [part.note for part in found if part.note]
    shown = [flag for flag in flags if flag != filtering.ERROR]
    if filtering.ERROR in flags:
        said.insert(0, "The content could not be judged in full")
    elif said and not blocked:
        said.insert(0, "Passed")
    if shown or not said:
        said.insert(0, filtering.told(shown))
    return FilterResponse(blocked, flags, "; ".join(said))


def _reason(ruling: Ruling, scores: Sequence[float | None], minded: filtering.Minded) -> str:
    """Why a policy does not approve, or what it flags all the same; with the score."""
    known = {name: score or 0.0 for name, score in zip(CATEGORIES, scores, strict=True)}
    if ruling.decision == "approved":
        flagged = max(minded.floors, key=known.__getitem__, default="")
        return flagged and f"{flagged} beyond the flag threshold ({known[flagged]:.2f})"
    if ruling.category and ruling.reason.startswith(ruling.category):
        return f"{ruling.reason} ({known[ruling.category]:.2f})"
    return ruling.reason


def _headed(response: FilterResponse, call: Call) -> FilterResponse:
    """The response with the ids of its verdicts where FilterX's clients do not look."""
    if response.verdicts:
        call.headers.append((VERDICT, ", ".join(response.verdicts).encode()))
    response.verdicts = msgspec.UNSET
    return response


def _count(metrics: Metrics, found: Sequence[Finding], content: str) -> None:
    outcome = "blocked" if any(part.blocked for part in found) else "passed"
    metrics.count("penstock_filterx_requests_total", content=content, outcome=outcome)
    for flag in {flag for part in found for flag in part.flags}:
        metrics.count("penstock_filterx_flags_total", flag=flag)


def _note_time(verdict: Verdict, call: Call) -> None:
    for stage, seconds in verdict.receipt.stages.items():
        call.stages[stage] = call.stages.get(stage, 0.0) + seconds


def _need(value: str | None, pointer: str) -> None:
    if not value:
        detail = "is required here"
        name = pointer.strip("/")
        raise InvalidInput(f"{name} {detail}", errors=[{"pointer": pointer, "detail": detail}])
