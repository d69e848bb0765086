"""The discovery document of the Perspective drop-in: what Google's API clients build themselves of.

It is written here, from what this server answers, with the extensions that it has. Addresses in it
are those that the asker used: `Host` is anyone's word, so it is taken only in a plain form.
"""

from __future__ import annotations

import re
from typing import Any, Final

from penstock.http.asgi import Scope
from penstock.services.moderation.attributes import ATTRIBUTES

NAME: Final = "commentanalyzer"
VERSION: Final = "v1alpha1"
REVISION: Final = "20261122"

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)
_ROOT = re.compile(r"(?:/[A-Za-z0-9._~-]{1,64}){0,8}")


def base_url(scope: Scope) -> str:
    """The address of this server as the caller knows it, with a slash at the end.

    The scheme is what the server says: it listens to X-Forwarded-Proto from trusted proxies only
    (PENSTOCK_TRUSTED_PROXIES). A `Host` in any other form gives way to the address listened on.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
    if not _HOST.fullmatch(host):
        name, port = scope.get("server") or ("localhost", None)
        host = f"[{name}]" if ":" in name else name
        host = host if port is None else f"{host}:{port}"
    scheme = "https" if scope.get("scheme") == "https" else "http"
    root = str(scope.get("root_path", "")).rstrip("/")
    return f"{scheme}://{host}{root if _ROOT.fullmatch(root) else ''}/"


def document(base: str) -> dict[str, Any]:
    """The document for a server at `base`."""
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": f"{NAME}:{VERSION}",
        "name": NAME,
        "version": VERSION,
        "revision": REVISION,
        "title": "Penstock's comment analyzer",
        "canonicalName": "Comment Analyzer",
        "description": "Scores of comments in the form of Google's Perspective API, which is "
        "switched off after 31 December 2026. The scores are Penstock's own, not Google's.",
        "documentationLink": f"{base}docs",
        "protocol": "rest",
        "rootUrl": base,
        "baseUrl": base,
        "servicePath": "",
        "basePath": "",
        "batchPath": "batch",
        "ownerDomain": "localhost",
        "ownerName": "Penstock",
        "parameters": _PARAMETERS,
        "schemas": _SCHEMAS,
        "resources": {
            "comments": {
                "methods": {
                    "analyze": _method("analyze", "AnalyzeComment", _ANALYZE),
                    "suggestscore": _method("suggestscore", "SuggestCommentScore", _SUGGEST),
                }
            }
        },
    }


_ANALYZE: Final = "Scores a comment on the requested attributes."
_SUGGEST: Final = "Takes the scores that you think a comment should have."


def _method(name: str, message: str, description: str) -> dict[str, Any]:
    method: dict[str, Any] = {
        "id": f"{NAME}.comments.{name}",
        "path": f"{VERSION}/comments:{name}",
        "flatPath": f"{VERSION}/comments:{name}",
        "httpMethod": "POST",
        "description": description,
        "parameters": {},
        "parameterOrder": [],
        "request": {"$ref": f"{message}Request"},
        "response": {"$ref": f"{message}Response"},
    }
    if name == "analyze":
        method["parameters"] = {"model": _query(_MODEL)}
    return method


def _query(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "location": "query", "description": description, **more}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _flag(description: str) -> dict[str, Any]:
    return {"type": "boolean", "description": description}


def _list(item: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"type": "array", "items": item, "description": description}


def _map(schema: str, description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": {"$ref": schema},
        "description": description,
    }


def _ref(schema: str, description: str = "") -> dict[str, Any]:
    return {"$ref": schema, "description": description} if description else {"$ref": schema}


def _number(format: str, description: str) -> dict[str, Any]:
    kind = "integer" if format == "int32" else "number"
    return {"type": kind, "format": format, "description": description}


def _object(name: str, description: str, /, **properties: Any) -> dict[str, Any]:
    return {"id": name, "type": "object", "description": description, "properties": properties}


_MODEL: Final = "The model version that is to answer; without it the pinned one does."
_TOKEN: Final = "Comes back in the response as it is."
_TYPES: Final = ["TEXT_TYPE_UNSPECIFIED", "PLAIN_TEXT", "HTML"]
_SCORES: Final = ["SCORE_TYPE_UNSPECIFIED", "PROBABILITY"]

_PARAMETERS: Final[dict[str, Any]] = {
    "key": _query("API key."),
    "alt": _query("Form of the answer.", default="json", enum=["json"], enumDescriptions=["JSON"]),
    "fields": _query("Accepted, and not followed: answers come whole."),
    "prettyPrint": {
        "type": "boolean",
        "location": "query",
        "default": "true",
        "description": "Accepted, and not followed.",
    },
    "quotaUser": _query("Accepted, and not followed: limits belong to keys."),
}

_COMMON: Final[dict[str, Any]] = {
    "comment": _ref("TextEntry", "The comment; at most 20,480 bytes of UTF-8."),
    "context": _ref("Context", "Accepted, and not read, as Perspective did not."),
    "languages": _list(
        {"type": "string"},
        "Languages of the comment, ISO 639-1 or BCP 47; detected where none is given. "
        "English alone is served.",
    ),
    "clientToken": _text(_TOKEN),
    "sessionId": _text("Accepted, and not kept."),
    "communityId": _text("Kept with suggested scores, otherwise not."),
    "doNotStore": _flag(
        "A comment's text is stored with a suggested score only, only where the installation "
        "stores texts, and not if this is true."
    ),
}

_SCHEMAS: Final[dict[str, Any]] = {
    "TextEntry": _object(
        "TextEntry",
        "A text.",
        text=_text("The text."),
        type={
            **_text("What it is; of HTML the visible text is read."),
            "enum": _TYPES,
            "enumDescriptions": ["Plain text.", "Plain text.", "HTML."],
        },
    ),
    "Context": _object(
        "Context",
        "What a comment answers to.",
        entries=_list(_ref("TextEntry")),
        articleAndParentComment=_ref("ArticleAndParentComment"),
    ),
    "ArticleAndParentComment": _object(
        "ArticleAndParentComment",
        "An article and the comment that was answered.",
        article=_ref("TextEntry"),
        parentComment=_ref("TextEntry"),
    ),
    "AttributeParameters": _object(
        "AttributeParameters",
        "How one attribute is to be scored.",
        scoreType={
            **_text("PROBABILITY is the only one."),
            "enum": _SCORES,
            "enumDescriptions": ["PROBABILITY.", "A number from 0 to 1."],
        },
        scoreThreshold=_number("float", "Scores below it are left out."),
    ),
    "Score": _object(
        "Score",
        "A score.",
        value=_number("float", "From 0 to 1."),
        type={
            **_text("PROBABILITY."),
            "enum": _SCORES,
            "enumDescriptions": ["PROBABILITY.", "A number from 0 to 1."],
        },
    ),
    "SpanScore": _object(
        "SpanScore",
        "The score of one sentence.",
        begin=_number("int32", "Where it begins, in UTF-16 code units of the comment."),
        end=_number("int32", "Where it ends, exclusive."),
        score=_ref("Score"),
    ),
    "AttributeScores": _object(
        "AttributeScores",
        "All scores of one attribute.",
        summaryScore=_ref("Score", "Of the whole comment."),
        spanScores=_list(_ref("SpanScore"), "Of its sentences, or of the whole as one."),
        calibrated=_flag("Extension: the scores went through a curve of your own."),
    ),
    "AnalyzeCommentRequest": _object(
        "AnalyzeCommentRequest",
        "A comment and what is asked about it.",
        **_COMMON,
        requestedAttributes=_map("AttributeParameters", f"Any of: {', '.join(ATTRIBUTES)}."),
        spanAnnotations=_flag("Whether each sentence is scored by itself."),
        dropUnsupportedAttributes=_flag(
            "Leave out what cannot be scored in this language, instead of refusing."
        ),
        model=_text(f"Extension: {_MODEL}"),
    ),
    "AnalyzeCommentResponse": _object(
        "AnalyzeCommentResponse",
        "The scores of a comment.",
        attributeScores=_map("AttributeScores", "By attribute."),
        languages=_list({"type": "string"}, "The languages that it was read as."),
        detectedLanguages=_list({"type": "string"}, "The languages that it seems to be in."),
        clientToken=_text(_TOKEN),
        modelVersion=_text("Extension: the model version that answered."),
        models={
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Extension: all that contributed to the scores, with versions.",
        },
        calibrated=_flag("Extension: every score of this answer went through a curve."),
    ),
    "SuggestCommentScoreRequest": _object(
        "SuggestCommentScoreRequest",
        "A comment and the scores that it should have.",
        **_COMMON,
        attributeScores=_map("AttributeScores", "By attribute."),
    ),
    "SuggestCommentScoreResponse": _object(
        "SuggestCommentScoreResponse",
        "What is said to a suggestion.",
        clientToken=_text(_TOKEN),
        detectedLanguages=_list({"type": "string"}, "The languages that it seems to be in."),
        requestedLanguages=_list({"type": "string"}, "The languages that were named."),
    ),
}
