"""From OpenAI's request to its response, for one call and for an item of a batch alike."""

from __future__ import annotations

from typing import NamedTuple

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

MODEL = "penstock-moderation"  # what responses call the whole of prescreen, models and provider
MAX_PARTS = 32  # text and image parts of one multi-part input

_APPLIED = {category: ["text"] for category in CATEGORIES}
_NOT_APPLIED: dict[str, list[str]] = {category: [] for category in CATEGORIES}


class Question(NamedTuple):
    """What a request asks: one text with images beside it, or several texts."""

    texts: list[str]
    images: tuple[str, ...] = ()
    several: bool = False
    user: str | None = None


def question(request: ModerationRequest, *, max_inputs: int) -> Question:
    """Read the input, whatever form it has. Raises InvalidInput or TooLarge."""
    given = request.input
    if isinstance(given, str):
        return Question([given], user=request.user)
    if given and not isinstance(given[0], str):
        text, images = _parts(given)
        return Question([text], images, user=request.user)
    return Question(_texts(given, max_inputs), several=True, user=request.user)


async def verdicts(service: ModerationService, asked: Question, *, owner: str) -> list[Verdict]:
    """Judge what is asked; verdicts in the order of the texts."""
    if asked.several:
        return await service.moderate_many(asked.texts, owner=owner, user_id=asked.user)
    (text,) = asked.texts
    return [await service.moderate(text, owner=owner, user_id=asked.user, images=asked.images)]


def response(verdicts: list[Verdict], *, model: str) -> ModerationResponse:
    """OpenAI's response. `model` is the name that it carries."""
    return ModerationResponse(
        id="modr-" + verdicts[0].id[4:],
        model=model,
        results=[_result(verdict) for verdict in verdicts],
    )


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
