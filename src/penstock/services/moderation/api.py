"""POST /v1/moderations in OpenAI's shape. Parses, calls the service, answers."""

from __future__ import annotations

from typing import Any

from penstock.errors import InvalidInput, TooLarge
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.schemas import (
    Detail,
    ImagePart,
    ModerationRequest,
    ModerationResponse,
    ModerationResult,
    Span,
    TextPart,
    Verdict,
)
from penstock.services.moderation.service import FOREIGN, ModerationService
from penstock.web.hot import Call, HotRoute

PATH = "/v1/moderations"
MAX_PARTS = 32  # text and image parts of one multi-part input

_APPLIED = {category: ["text"] for category in CATEGORIES}
_NOT_APPLIED: dict[str, list[str]] = {category: [] for category in CATEGORIES}


def routes(service: ModerationService, *, model: str, max_inputs: int) -> list[HotRoute[Any, Any]]:
    """The hot routes of moderation. `model` is the name that responses carry."""

    async def moderate(request: ModerationRequest, call: Call) -> ModerationResponse:
        owner, given = call.principal.owner, request.input
        if isinstance(given, str):
            verdicts = [await service.moderate(given, owner=owner, user_id=request.user)]
        elif given and not isinstance(given[0], str):
            text, images = _parts(given)
            verdicts = [
                await service.moderate(text, owner=owner, user_id=request.user, images=images)
            ]
        else:
            verdicts = await service.moderate_many(
                _texts(given, max_inputs), owner=owner, user_id=request.user
            )
        for verdict in verdicts:
            for stage, seconds in verdict.receipt.stages.items():
                call.stages[stage] = call.stages.get(stage, 0.0) + seconds
        return ModerationResponse(
            id="modr-" + verdicts[0].id[4:],
            model=model,
            results=[_result(verdict) for verdict in verdicts],
        )

    return [
        HotRoute(
            PATH,
            moderate,
            request=ModerationRequest,
            response=ModerationResponse,
            role="operator",
            summary="Classify texts as OpenAI does, with a decision and its receipt",
            tag="moderation",
        )
    ]


def _texts(given: list[str | TextPart | ImagePart], most: int) -> list[str]:
    if not given:
        raise InvalidInput("the list is empty", errors=[_wrong("/input", "is empty")])
    if len(given) > most:
        raise TooLarge(f"{len(given)} texts in one request; at most {most} are taken")
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        at = next(i for i, text in enumerate(given) if not isinstance(text, str))
        raise InvalidInput(
            "a list holds texts or parts, not both",
            errors=[_wrong(f"/input/{at}", "is a part in a list of texts")],
        )
    return texts


def _parts(given: list[str | TextPart | ImagePart]) -> tuple[str, tuple[str, ...]]:
    """All texts of a multi-part input as one, and its images: OpenAI gives one result for them."""
    if len(given) > MAX_PARTS:
        raise TooLarge(f"{len(given)} parts in one input; at most {MAX_PARTS} are taken")
    texts, images = [], []
    for index, part in enumerate(given):
        match part:
            case TextPart(text):
                texts.append(text)
            case ImagePart(image):
                images.append(_image(image.url, index))
            case _:
                raise InvalidInput(
                    "a list holds texts or parts, not both",
                    errors=[_wrong(f"/input/{index}", "is a text in a list of parts")],
                )
    return "\n".join(texts), tuple(images)


def _image(url: str, index: int) -> str:
    if not url.startswith(("data:image/", "https://", "http://")):
        raise InvalidInput(
            "an image is an https:// address or a data:image/... URL",
            errors=[_wrong(f"/input/{index}/image_url/url", "is neither")],
        )
    return url


def _wrong(pointer: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "detail": detail}


def _result(verdict: Verdict) -> ModerationResult:
    judgement = verdict.judgement
    scores = judgement.scores
    applied = {
        category: (_NOT_APPLIED if score is None else _APPLIED)[category]
        for category, score in zip(CATEGORIES, scores, strict=True)
    }
    spans = tuple(
        Span(f.start, f.end, f.category, f.score, f.stage, f.rule) for f in judgement.findings
    )
    return ModerationResult(
        flagged=any(verdict.flags) or verdict.decision == "rejected",
        categories=dict(zip(CATEGORIES, verdict.flags, strict=True)),
        category_scores=dict(zip(CATEGORIES, [score or 0.0 for score in scores], strict=True)),
        category_applied_input_types=applied,
        penstock=Detail(
            id=verdict.id,
            decision=verdict.decision,
            reason=verdict.reason,
            risk=verdict.risk,
            spans=spans,
            language="other" if judgement.other_language >= FOREIGN else "en",
            policy=verdict.policy,
            receipt=verdict.receipt,
            recorded=verdict.recorded,
            degraded=verdict.degraded,
            rationale=judgement.rationale,
        ),
    )
