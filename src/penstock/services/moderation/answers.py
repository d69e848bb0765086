"""From OpenAI's request to its response, for one call and for an item of a batch alike."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypeVar, cast

import msgspec

from penstock.errors import InvalidInput, TooLarge
from penstock.lists import Listed
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.reading import FOREIGN
from penstock.services.moderation.schemas import (
    MAX_HITS,
    Detail,
    ImagePart,
    Judgement,
    ListedDetail,
    ModerationRequest,
    ModerationResponse,
    ModerationResult,
    Span,
    TextPart,
    Verdict,
)
from penstock.services.moderation.service import ModerationService

T = TypeVar("T")

MODEL = "penstock-moderation"  # what responses call the whole of prescreen, models and provider
MAX_BYTES = 1 << 20  # of all texts of one request
MAX_PARTS = 32  # text and image parts of one multi-part input


class Question(NamedTuple):
    """What a request asks: one text with images beside it, or several texts."""

    texts: list[str]
    images: tuple[str, ...] = ()
    image_pointers: tuple[str, ...] = ()  # where the request has them
    several: bool = False
    user: str | None = None


def question(request: ModerationRequest, *, max_inputs: int) -> Question:
    """Read the input, whatever form it has. Raises InvalidInput or TooLarge."""
    given = request.input
    if isinstance(given, str):
        asked = Question([given], user=request.user)
    elif given and not isinstance(given[0], str):
        text, images = _parts(given)
        asked = Question([text], tuple(images.values()), tuple(images), user=request.user)
    else:
        asked = Question(_texts(given, max_inputs), several=True, user=request.user)
    _check_size(asked.texts)
    return asked


async def verdicts(
    service: ModerationService, asked: Question, *, owner: str, key: str | None
) -> list[Verdict]:
    """Judge what is asked by an API key; verdicts in the order of the texts."""
    if asked.several:
        return await service.moderate_many(asked.texts, owner=owner, key=key, user_id=asked.user)
    (text,) = asked.texts
    verdict = await service.moderate(
        text,
        owner=owner,
        key=key,
        user_id=asked.user,
        images=asked.images,
        image_pointers=asked.image_pointers,
    )
    return [verdict]


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


def _check_size(texts: list[str]) -> None:
    """Refuse too much text: bodies may be large, but because of images."""
    if 4 * sum(map(len, texts)) <= MAX_BYTES:
        return
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if size > MAX_BYTES:
        raise TooLarge(
            f"the request holds {size} bytes of text; at most {MAX_BYTES} bytes are taken",
            limit=MAX_BYTES,
        )


def _parts(given: list[str | TextPart | ImagePart]) -> tuple[str, dict[str, str]]:
    """All texts of a multi-part input as one, and its images by their place in the request.

    OpenAI gives one result for them.
    """
    if len(given) > MAX_PARTS:
        raise TooLarge(f"{len(given)} parts in one input; at most {MAX_PARTS} are taken")
    texts: list[str] = []
    images: dict[str, str] = {}
    for index, part in enumerate(given):
        match part:
            case TextPart(text):
                texts.append(text)
            case ImagePart(image):
                pointer = f"/input/{index}/image_url/url"
                images[pointer] = _image(image.url, pointer)
            case _:
                raise InvalidInput(
                    "a list holds texts or parts, not both",
                    errors=[_wrong(f"/input/{index}", "is a text in a list of parts")],
                )
    return "\n".join(texts), images


def _image(url: str, pointer: str) -> str:
    if not url.startswith(("data:image/", "https://", "http://")):
        raise InvalidInput(
            "an image is an https:// address or a data:image/... URL",
            errors=[_wrong(pointer, "is neither")],
        )
    return url


def _wrong(pointer: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "detail": detail}


def _result(verdict: Verdict) -> ModerationResult:
    judgement = verdict.judgement
    tables = _tables(judgement.scores, verdict.flags)
    applied = tables.applied
    if verdict.applied is not None:
        applied = dict(zip(CATEGORIES, verdict.applied, strict=True))
    spans = tuple(
        Span(f.start, f.end, f.category, f.score, f.stage, f.rule) for f in judgement.findings
    )
    return ModerationResult(
        flagged=any(verdict.flags) or verdict.decision == "rejected",
        categories=tables.flags,
        category_scores=tables.scores,
        category_applied_input_types=applied,
        penstock=Detail(
            id=verdict.id,
            decision=verdict.decision,
            reason=verdict.reason,
            risk=verdict.risk,
            spans=spans,
            language=_language(judgement),
            policy=verdict.policy,
            receipt=verdict.receipt,
            recorded=verdict.recorded,
            degraded=verdict.degraded,
            rationale=judgement.rationale,
            listed=_listed(verdict.listed),
        ),
    )


class _Tables(NamedTuple):
    """What stands by category in a result. JSON already: to write it is half of a hot answer."""

    flags: dict[str, bool]
    scores: dict[str, float]
    applied: dict[str, list[str]]


@lru_cache(maxsize=2048)
def _tables(scores: tuple[float | None, ...], flags: tuple[bool, ...]) -> _Tables:
    """The tables of a text; some 3 kB each."""
    return _Tables(
        _written(dict(zip(CATEGORIES, flags, strict=True))),
        _written(dict(zip(CATEGORIES, [score or 0.0 for score in scores], strict=True))),
        _written(
            {c: [] if s is None else ["text"] for c, s in zip(CATEGORIES, scores, strict=True)}
        ),
    )


def _written(table: dict[str, T]) -> dict[str, T]:
    """A table as JSON, which an encoder takes as it is wherever a table may stand."""
    return cast("dict[str, T]", msgspec.Raw(msgspec.json.encode(table)))


def _listed(listed: Listed) -> ListedDetail | None:
    return ListedDetail(listed.decision, listed.hits[:MAX_HITS]) if listed.hits else None


def _language(judgement: Judgement) -> str:
    if judgement.other_language < FOREIGN:
        return "en"
    return judgement.language or "other"
