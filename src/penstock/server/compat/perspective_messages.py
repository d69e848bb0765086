"""Perspective's messages, as Google's JSON of protocol buffers has them.

Names are in camel case and also read with underscores; null says unset; unknown names are refused;
numbers may come as text. What Perspective did not have is marked as an extension.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

import msgspec

PROBABILITY: Final = "PROBABILITY"
UNSPECIFIED: Final = "SCORE_TYPE_UNSPECIFIED"

Opaque = Annotated[str, msgspec.Meta(max_length=4096)]
Tag = Annotated[str, msgspec.Meta(max_length=64)]
Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Name = Annotated[str, msgspec.Meta(max_length=100)]


class _Message(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """A message of Google's; its JSON also takes the names with underscores, and null for unset."""


class TextEntry(_Message):
    """A text."""

    text: str = ""
    type: Tag = "PLAIN_TEXT"


class ArticleAndParentComment(_Message):
    """What a comment stands under."""

    article: TextEntry | None = None
    parent_comment: TextEntry | None = None


class Context(_Message):
    """What a comment answers to; accepted and not read, as Perspective did not."""

    entries: list[TextEntry] = []
    article_and_parent_comment: ArticleAndParentComment | None = None


class AttributeParameters(_Message):
    """How one attribute is to be scored."""

    score_type: Tag = UNSPECIFIED
    score_threshold: float = 0.0


class CommentRequest(_Message):
    """What both requests have."""

    comment: TextEntry | None = None
    context: Context | None = None
    languages: Annotated[list[Tag], msgspec.Meta(max_length=32)] = []
    client_token: Opaque = ""
    session_id: Opaque = ""
    community_id: Opaque = ""
    do_not_store: bool = False


class AnalyzeCommentRequest(CommentRequest):
    """A comment, and what is asked about it; `model` is an extension."""

    requested_attributes: Annotated[
        dict[Name, AttributeParameters], msgspec.Meta(max_length=64)
    ] = {}
    span_annotations: bool = False
    drop_unsupported_attributes: bool = False
    model: Name = ""


class Score(_Message):
    """A score."""

    value: Probability
    type: Tag = PROBABILITY


class SpanScore(_Message):
    """The score of one part; offsets in UTF-16 code units of the comment."""

    begin: int = 0
    end: int = 0
    score: Score | None = None


class AttributeScores(_Message, omit_defaults=True):
    """All scores of one attribute; `calibrated` is an extension."""

    summary_score: Score | None = None
    span_scores: Annotated[list[SpanScore], msgspec.Meta(max_length=1024)] = []
    calibrated: bool = False


class SuggestCommentScoreRequest(CommentRequest):
    """A comment and the scores that it should have."""

    attribute_scores: Annotated[dict[Name, AttributeScores], msgspec.Meta(max_length=64)] = {}


class AnalyzeCommentResponse(_Message, kw_only=True):
    """The scores of a comment; what follows the token is an extension."""

    attribute_scores: dict[str, AttributeScores]
    languages: list[str]
    detected_languages: list[str]
    client_token: str | msgspec.UnsetType = msgspec.UNSET
    model_version: str
    models: dict[str, str]
    calibrated: bool


class SuggestCommentScoreResponse(_Message):
    """What is said to a suggestion."""

    client_token: str | msgspec.UnsetType = msgspec.UNSET
    detected_languages: list[str] = []
    requested_languages: list[str] = []


M = TypeVar("M")


def read(body: bytes, message: type[M]) -> M:
    """A message of JSON. Raises what msgspec raises."""
    return msgspec.convert(_plain(msgspec.json.decode(body)), message, strict=False)


_ALIASES: Final = {
    "requested_attributes": "requestedAttributes",
    "attribute_scores": "attributeScores",
    "span_annotations": "spanAnnotations",
    "drop_unsupported_attributes": "dropUnsupportedAttributes",
    "client_token": "clientToken",
    "session_id": "sessionId",
    "community_id": "communityId",
    "do_not_store": "doNotStore",
    "score_type": "scoreType",
    "score_threshold": "scoreThreshold",
    "summary_score": "summaryScore",
    "span_scores": "spanScores",
    "article_and_parent_comment": "articleAndParentComment",
    "parent_comment": "parentComment",
}
_DEEPEST: Final = 8


def _plain(value: Any, levels: int = _DEEPEST) -> Any:
    """One name for every field, and nothing where null says unset."""
    if isinstance(value, dict) and levels:
        return {
            _ALIASES.get(name, name): _plain(item, levels - 1)
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, list) and levels:
        return [_plain(item, levels - 1) for item in value]
    return value
