"""FilterX's own paths: text and images are filtered under a caller's flags, alone or by ten.

Scores come from moderation, cached as everyone's; what is allowed is applied to them afterwards, so
one scoring serves every configuration. Three things differ from FilterX on purpose: what is allowed
never lets anything else through, a judge that fails never passes anything, and short texts are
read. Its `GET /v1/apikey`, which gives a key to whoever asks, does not exist here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from penstock.errors import InvalidInput
from penstock.http.asgi import Message, Receive, Scope, Send
from penstock.observe.metrics import Metrics
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
from penstock.web.hot import Call, HotRoute

PATH: Final = "/v1/filter"
INLINE_CHARACTERS: Final = 8_000  # longer texts are sifted in a thread

_T = TypeVar("_T")


class Finding(NamedTuple):
    """What is said of one part, the text or the image."""

    flags: tuple[str, ...] = ()
    blocked: bool = False
    note: str = ""  # of what no flag says
    masked: str | None = None


def hot_routes(runtime: Runtime) -> list[HotRoute[Any, Any]]:
    """The four routes of FilterX."""
    filterx = FilterX(runtime)

    async def both(request: FilterRequest, call: Call) -> FilterResponse:
        return await filterx.answer(request, call)

    async def text(request: FilterRequest, call: Call) -> FilterResponse:
        _need(request.text, "/text")
        return await filterx.answer(msgspec.structs.replace(request, image=None), call)

    async def image(request: FilterRequest, call: Call) -> FilterResponse:
        _need(request.image, "/image")
        config = request.config or FilterConfig()
        config = msgspec.structs.replace(config, analyze_images=True)  # there is nothing else
        return await filterx.answer(
            msgspec.structs.replace(request, text=None, config=config), call
        )

    async def batch(request: FilterBatchRequest, call: Call) -> FilterBatchResponse:
        work = [
            filterx.answer(item, call, at=f"/items/{index}")
            for index, item in enumerate(request.items)
        ]
        return FilterBatchResponse(await _all(work))

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
        self._long_texts = asyncio.Semaphore(1)  # one made to be slow takes seconds

    async def answer(self, request: FilterRequest, call: Call, *, at: str = "") -> FilterResponse:
        """Filter one request; `at` is its pointer in the body."""
        text = request.text if request.text and not request.text.isspace() else None
        if text is None and not request.image:
            detail = "send a text, an image or both"
            raise InvalidInput(detail, errors=[{"pointer": f"{at}/text", "detail": detail}])
        parts: list[Coroutine[Any, Any, Finding]] = []
        if text is not None:
            parts.append(self._text(text, request, call, at=f"{at}/text"))
        if request.image:
            parts.append(self._image(request.image, request, call, at=f"{at}/image"))
        found = await _all(parts)
        content = "both" if len(parts) == 2 else "image" if text is None else "text"
        _count(self._metrics, found, content)
        config = request.config or FilterConfig()
        response = _response(found)
        if request.text is not None and is_set(config.return_filtered_message):
            masked = None if text is None else found[0].masked
            response.filtered_message = request.text if masked is None else masked
        return response

    async def _text(self, text: str, request: FilterRequest, call: Call, *, at: str) -> Finding:
        who, config = call.principal, request.config or FilterConfig()
        stages, always = self._stages(request, who.key_id)
        verdict = await self._service.moderate(
            text, owner=who.owner, key=who.key_id, stages=stages, always_ask=always, pointer=at
        )
        _note_time(verdict, call)
        spared = config.allowed.spared(filtering.ABUSE_IN_TEXT)
        ruling, minded = self._rule(verdict, spared, key=who.key_id)
        sift = partial(self._sift, text, request, minded, key=who.key_id)
        if len(text) <= INLINE_CHARACTERS:
            flags, masked = sift()
        else:
            async with self._long_texts:
                flags, masked = await asyncio.to_thread(sift)
        return self._concluded(verdict, ruling, flags, key=who.key_id, masked=masked)

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
        flags = {filtering.IMAGE_FLAGS[category] for category in minded}
        if verdict.listed.decision == "rejected":
            flags.add("inappropriate")
        return self._concluded(verdict, ruling, filtering.in_order(flags), key=who.key_id)

    async def _known_image(self, url: str, *, key: str, at: str) -> Finding:
        """What lists say of an image that nobody was to analyse; its file is checked as ever."""
        if self._lists.stale:
            await self._lists.refresh()
        sight = (await self._looker.look(url, pointer=at, ask=False)).value
        listed = self._lists.match_image(sight.sha256, sight.pdq, sight.phash, key=key)
        if listed.decision == "rejected":
            return Finding(("inappropriate",), blocked=True)
        return Finding(note="the image was not analyzed, since analyzeImages is not set")

    def _stages(self, request: FilterRequest, key: str) -> tuple[tuple[Stage, ...] | None, bool]:
        """Who reads, and whether a provider is asked also where a rule is certain.

        Never more stages than the policy has: it may keep texts from leaving the machine.
        """
        if request.model != "fast":
            return None, request.model == "pro"
        own = self._policies.of(key).policy.stages
        return tuple(stage for stage in own if stage != "provider") or ("prescreen", "local"), False

    def _rule(
        self, verdict: Verdict, spared: frozenset[str], *, key: str
    ) -> tuple[Ruling, frozenset[str]]:
        """What the policy makes of all that is not allowed anyway; the categories it minds."""
        judge, judgement = self._policies.of(key), verdict.judgement
        scores = filtering.blanked(judgement.scores, spared)
        ruling = judge.decide(
            scores,
            foreign=judgement.other_language >= FOREIGN and judgement.source != "provider",
            degraded=verdict.degraded.code if verdict.degraded else None,
            listed=verdict.listed.decision,
        )
        if verdict.listed.decision == "approved":
            return ruling, frozenset()
        scored = judge.rule(scores)
        minded = {name for name, flag in zip(CATEGORIES, scored.flags, strict=True) if flag}
        if scored.decision == "rejected" and scored.category:
            minded.add(scored.category)
        return ruling, frozenset(minded)

    def _sift(
        self, text: str, request: FilterRequest, minded: frozenset[str], *, key: str
    ) -> tuple[tuple[str, ...], str | None]:
        """The flags of a text, and the text masked if that was asked for."""
        config = request.config or FilterConfig()
        sifted = filtering.sift(
            text,
            allowed=config.allowed,
            flagged=minded,
            listed=self._lists.match(text, key=key),
            prescreen=self._prescreen,
            history=request.history,
        )
        wanted = is_set(config.return_filtered_message)
        return sifted.flags, sifted.mask(text) if wanted else None

    def _concluded(
        self,
        verdict: Verdict,
        ruling: Ruling,
        flags: tuple[str, ...],
        *,
        key: str,
        masked: str | None = None,
    ) -> Finding:
        """Blocked is what has a flag, what the policy rejects, and what could not be judged."""
        fault, notes = verdict.degraded, []
        if fault is not None and ruling.decision != "approved":
            unopened = self._policies.of(key).policy.on_provider_failure != "open"
            if fault.code in UNSEEN or unopened:
                flags = (*flags, filtering.ERROR)
        if ruling.decision != "approved" and (not flags or filtering.ERROR in flags):
            notes.append(ruling.reason)
        blocked = bool(flags) or ruling.decision == "rejected"
        if not blocked and notes:
            notes[0] = f"left to a human to review: {notes[0]}"
        return Finding(flags, blocked, "".join(notes), masked)


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
    notes = [part.note for part in found if part.note]
    if blocked and not flags:
        said = notes
    else:
        shown = [flag for flag in flags if flag != filtering.ERROR]
        if filtering.ERROR in flags:
            notes = ["The content could not be judged in full", *notes]
        said = [filtering.told(shown)] if shown or not blocked else []
        said += notes
    return FilterResponse(blocked, flags, "; ".join(said))


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


async def _all(work: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Everything side by side; when one fails the others are not left running."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
