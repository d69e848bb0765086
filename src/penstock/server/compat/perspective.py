"""Perspective's own paths: comments are analysed, scores suggested, clients built by discovery.

Requests, answers and errors have Google's forms, so that its API client works when only the
discovery URL changes. `http/problems.py` puts errors into Google's envelope; what is wrong stands
in `details` under the names that Perspective's clients look for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar
from urllib.parse import parse_qs

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from penstock.errors import InvalidInput, NotFound, RequestError
from penstock.server.compat import perspective_discovery as discovery
from penstock.server.compat import perspective_messages as messages
from penstock.server.compat.perspective_messages import (
    PROBABILITY,
    UNSPECIFIED,
    AnalyzeCommentRequest,
    AnalyzeCommentResponse,
    AttributeParameters,
    AttributeScores,
    CommentRequest,
    Score,
    SpanScore,
    SuggestCommentScoreRequest,
    SuggestCommentScoreResponse,
    TextEntry,
)
from penstock.services.moderation.attributes import ATTRIBUTES, NOT_SERVED
from penstock.services.moderation.passages import Comment
from penstock.services.moderation.perspective import (
    ENGLISH,
    INLINE_CHARACTERS,
    Analysis,
    Perspective,
    Readable,
    Scored,
)
from penstock.web.errors import responses
from penstock.web.hot import Call, HotRoute, invalid, unreadable

ANALYZE: Final = "/v1alpha1/comments:analyze"
SUGGEST: Final = "/v1alpha1/comments:suggestscore"
DISCOVERY: Final = "/$discovery/rest"
MOST_BYTES: Final = 20_480  # of a comment, in UTF-8
MODEL_HEADER: Final = b"x-model-version"
_ERROR: Final = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"


class Refused(RequestError):
    """The comment cannot be analysed."""

    def __init__(self, detail: str, *, kind: str = "INVALID_REQUEST", **more: object):
        super().__init__(detail, details=[{"@type": _ERROR, "errorType": kind, **more}])


def hot_routes(perspective: Perspective) -> list[HotRoute[Any, Any]]:
    """comments:analyze and comments:suggestscore."""

    async def analyze(request: AnalyzeCommentRequest, call: Call) -> AnalyzeCommentResponse:
        wanted = _wanted(request)
        comment = await _comment(request)
        named = _named(request.languages)
        foreign = [language for language in named if not _is_english(language)]
        if foreign and not request.drop_unsupported_attributes:
            raise _unsupported(next(iter(wanted)), requested=foreign)
        read = await _read(perspective, comment, call, model=_model(request, call))
        if not (named or read.languages):
            raise Refused("Unable to detect language.", kind="LANGUAGE_DETECTION_FAILED")
        if not named and ENGLISH not in read.languages:
            foreign = list(read.languages)
            if not request.drop_unsupported_attributes:
                raise _unsupported(next(iter(wanted)), detected=foreign)
        asked = () if foreign else tuple(wanted)
        analysis = await perspective.analyze(read, asked, spans=request.span_annotations)
        call.stages.update(analysis.stages)
        return _response(request, {name: wanted[name] for name in asked}, analysis)

    async def suggest(
        request: SuggestCommentScoreRequest, call: Call
    ) -> SuggestCommentScoreResponse:
        scores = dict(_suggested(request.attribute_scores))
        comment = await _comment(request)
        source = request.comment.text if request.comment else ""
        read = await _read(perspective, comment, call)
        await perspective.suggest(
            source,
            scores,
            owner=call.principal.owner,
            key_id=call.principal.key_id,
            community=request.community_id,
            may_store=not request.do_not_store,
        )
        return SuggestCommentScoreResponse(
            client_token=request.client_token or msgspec.UNSET,
            detected_languages=list(read.languages),
            requested_languages=list(request.languages),
        )

    return [
        _GoogleRoute(
            ANALYZE,
            analyze,
            request=AnalyzeCommentRequest,
            response=AnalyzeCommentResponse,
            role="operator",
            summary="Perspective: score a comment",
            tag="perspective",
        ),
        _GoogleRoute(
            SUGGEST,
            suggest,
            request=SuggestCommentScoreRequest,
            response=SuggestCommentScoreResponse,
            role="operator",
            summary="Perspective: suggest the scores of a comment",
            tag="perspective",
        ),
    ]


def router() -> APIRouter:
    """The discovery document."""
    routes = APIRouter(tags=["perspective"])

    @routes.get(DISCOVERY, responses=responses(NotFound))
    async def get_discovery(request: Request, version: str = discovery.VERSION) -> JSONResponse:
        """Perspective: what Google's API clients build themselves of."""
        if version != discovery.VERSION:
            raise NotFound(f"version {version[:40]!r} is not served; known: {discovery.VERSION}")
        # It names the address that this caller used: nobody may keep it for another.
        headers = {"Cache-Control": "no-store", "Vary": "Host"}
        return JSONResponse(discovery.document(discovery.base_url(request.scope)), headers=headers)

    return routes


Q = TypeVar("Q")
R = TypeVar("R")


class _GoogleRoute(HotRoute[Q, R], Generic[Q, R]):
    """A hot route that reads JSON as Google does, and refuses it with 400."""

    error_type = "application/json"

    def _decode(self, body: bytes) -> Q:
        try:
            return messages.read(body, self.request)
        except msgspec.ValidationError as error:
            raise Refused(invalid(error).detail) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(unreadable(body, error).detail) from None


def _wanted(request: AnalyzeCommentRequest) -> dict[str, AttributeParameters]:
    """The attributes that can be scored. Raises Refused for one that cannot."""
    if not request.requested_attributes:
        raise Refused("Missing requested_attributes.", kind="NO_REQUESTED_ATTRIBUTES")
    wanted: dict[str, AttributeParameters] = {}
    for name, parameters in request.requested_attributes.items():
        if name not in ATTRIBUTES:
            if name in NOT_SERVED and request.drop_unsupported_attributes:
                continue
            known = "is not served here" if name in NOT_SERVED else "is no attribute"
            raise Refused(
                f"Unknown requested attribute: {name}. It {known}; served: {', '.join(ATTRIBUTES)}."
            )
        if parameters.score_type not in (PROBABILITY, UNSPECIFIED):
            raise Refused(
                f"Requested score type {parameters.score_type} is not supported by attribute {name}"
            )
        wanted[name] = parameters
    return wanted


async def _comment(request: CommentRequest) -> Comment:
    """What there is to read. Raises Refused."""
    entry = request.comment or TextEntry()
    if entry.type not in ("PLAIN_TEXT", "HTML", "TEXT_TYPEUNSPECIFIED"):
        raise Refused(f"Unknown text type: {entry.type}. Send PLAIN_TEXT or HTML.")
    if len(entry.text) > MOST_BYTES or len(entry.text.encode()) > MOST_BYTES:
        raise Refused(
            f"Comment text too long: at most {MOST_BYTES} bytes.", kind="COMMENT_TOO_LONG"
        )
    is_html = entry.type == "HTML"
    if is_html and len(entry.text) > INLINE_CHARACTERS:
        comment = await asyncio.to_thread(Comment, entry.text, is_html=True)
    else:
        comment = Comment(entry.text, is_html=is_html)
    if not comment.text.strip():
        raise Refused("Comment must be non-empty.", kind="COMMENT_EMPTY")
    if "\x00" in comment.text:
        raise Refused(f"Comment has U+0000 at character {comment.text.index(chr(0))}.")
    return comment


async def _read(
    perspective: Perspective, comment: Comment, call: Call, *, model: str | None = None
) -> Readable:
    """Read a comment; what cannot be read or who cannot read it is refused as Google would."""
    who = call.principal
    try:
        return await perspective.read(comment, owner=who.owner, key=who.key_id, model=model)
    except InvalidInput as error:
        raise Refused(error.detail) from None


def _named(languages: Sequence[str]) -> list[str]:
    return [language for language in languages if language]


def _is_english(language: str) -> bool:
    """ISO 639-1 or BCP 47: `en`, `en-GB`."""
    return language.lower().replace("_", "-").partition("-")[0] == ENGLISH


def _unsupported(
    attribute: str, *, requested: Sequence[str] = (), detected: Sequence[str] = ()
) -> Refused:
    """What Perspective said of a language that an attribute has no model for."""
    what: dict[str, object] = {"attribute": attribute}
    if requested:
        what["requestedLanguages"] = list(requested)
    if detected:
        what["detectedLanguages"] = list(detected)
    languages = ", ".join(requested or detected)
    return Refused(
        f"Attribute {attribute} does not support request languages: {languages}",
        kind="LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
        languageNotSupportedByAttributeError=what,
    )


def _model(request: AnalyzeCommentRequest, call: Call) -> str | None:
    """The model version that was named: in the body, in the query or in a header."""
    if request.model:
        return request.model
    headers: Mapping[bytes, bytes] = call.scope["penstock"]["headers"]
    given = parse_qs(call.scope.get("query_string", b"").decode("latin-1")).get("model", [""])[0]
    return given or headers.get(MODEL_HEADER, b"").decode("latin-1") or None


def _response(
    request: AnalyzeCommentRequest, wanted: Mapping[str, AttributeParameters], analysis: Analysis
) -> AnalyzeCommentResponse:
    parts = analysis.sentences or (analysis.whole,)
    scores: dict[str, AttributeScores] = {}
    for name, parameters in wanted.items():
        least = parameters.score_threshold
        found = AttributeScores(
            summary_score=_score(analysis.whole.values[name], least),
            span_scores=list(_spans(parts, name, least)),
            calibrated=name in analysis.calibrated,
        )
        if found.summary_score or found.span_scores:
            scores[name] = found
    return AnalyzeCommentResponse(
        attribute_scores=scores,
        languages=_named(request.languages) or list(analysis.languages),
        detected_languages=list(analysis.languages),
        client_token=request.client_token or msgspec.UNSET,
        model_version=analysis.model_version,
        models=dict(analysis.models),
        calibrated=bool(wanted) and analysis.calibrated.issuperset(wanted),
    )


def _spans(parts: Sequence[Scored], name: str, least: float) -> Iterator[SpanScore]:
    for part in parts:
        score = _score(part.values[name], least)
        if score is not None:
            yield SpanScore(begin=part.passage.begin, end=part.passage.end, score=score)


def _score(value: float, least: float) -> Score | None:
    return Score(value=value) if value >= least else None


def _suggested(scores: Mapping[str, AttributeScores]) -> Iterator[tuple[str, float]]:
    """The scores of the whole comment; of parts alone the highest. Raises Refused."""
    if not scores:
        raise Refused("Missing attribute_scores.", kind="NO_REQUESTED_ATTRIBUTES")
    for name, given in scores.items():
        if name not in ATTRIBUTES and name not in NOT_SERVED:
            raise Refused(f"Unknown attribute: {name}.")
        values = [span.score.value for span in given.span_scores if span.score]
        if given.summary_score is not None:
            values = [given.summary_score.value]
        if not values:
            raise Refused(f"attribute_scores of {name} hold no score.")
        yield name, max(values)
