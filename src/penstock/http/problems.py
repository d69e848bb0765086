"""Makes RFC 9457 problem documents of errors; the only place that does.

On OpenAI's paths the document also carries OpenAI's `error` member, on Google's path Google's, so
that their clients understand.
What went wrong inside is never shown: it is logged under the request id, which the caller has.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, Final, NamedTuple

import msgspec

from penstock.errors import PenstockError
from penstock.http.asgi import (
    ASGIApp,
    Headers,
    Message,
    Notes,
    Receive,
    Scope,
    Send,
    fresh_notes,
)
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics

OPENAI_PATHS: Final = (
    *("/v1/moderations", "/v1/models", "/v1/embeddings", "/v1/batches", "/v1/files"),
    *("/v1/chat/completions", "/v1/completions", "/v1/responses"),
)
GOOGLE_BELOW: Final = "/v1alpha1/"
FAILURES: Final = "http_server_failures_total"

RETRY_AFTER: Final = 5  # seconds, when an error with status 503 does not know better
_DETAIL_LENGTH = 500
_ERRORS = 20

_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_OPENAI_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}

# google.rpc.Code, as Google's HTTP mapping has it; of the other statuses 4xx is the caller's.
_GOOGLE_STATUS = {
    401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 405: "UNIMPLEMENTED",
    409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}  # fmt: skip

_log = get_logger(__name__)


class Problem(NamedTuple):
    """A response, ready to be sent by any framework or none."""

    status: int
    headers: Headers
    body: bytes


def render(error: Exception, scope: Scope, *, headers: Headers | None = None) -> Problem:
    """Turn any exception into a problem document; one that is not ours says nothing of itself.

    `headers` are added as they are, in place of ours of the same name (a 405's `Allow`).
    """
    known = error if isinstance(error, PenstockError) else PenstockError()
    status = known.status
    # An error of status 500 is a fault of ours: its text is for the log.
    detail = known.detail if status != 500 else "Something failed inside the server."
    notes = scope.get("penstock") or fresh_notes()
    request_id = notes["request_id"]
    fields = known.fields if status < 500 else {}
    document: dict[str, Any] = {
        **{name: _bounded(value) for name, value in fields.items()},
        "type": f"/docs/errors#{known.slug}",
        "title": known.title,
        "status": status,
        "detail": _clip(detail),
    }
    if request_id is not None:
        document["instance"] = f"urn:penstock:request:{request_id}"
        document["request_id"] = request_id
    if _is_openai(scope.get("path", ""), notes.get("openai_paths", OPENAI_PATHS)):
        document["error"] = _openai(known, document)
    given = headers or []
    if scope.get("path", "").startswith(GOOGLE_BELOW):
        document.pop("details", None)
        document["error"] = _google(known, document["detail"])
        given = [*_google_headers(status), *given]
    body = msgspec.json.encode(document)
    named = {name for name, _ in given}
    own = [header for header in _headers(known, len(body)) if header[0] not in named]
    return Problem(status, [*own, *given], body)


def report(error: Exception, metrics: Metrics | None = None) -> None:
    """Log what the caller is not told, and count it; nothing for errors that the caller made."""
    known = isinstance(error, PenstockError)
    if isinstance(error, PenstockError) and error.status != 500:
        if error.status > 500:
            _log.warning("http.unavailable", slug=error.slug, detail=error.detail)
        return
    _log.exception("http.failure", error=type(error).__name__, exc_info=error)
    if metrics is not None:
        metrics.count(FAILURES, error=type(error).__name__ if known else "unexpected")


class Problems:
    """ASGI middleware: whatever the application raises is answered with a problem document.

    Once a response has begun nothing can be added to it: then the error is raised on, and the
    server cuts the connection so that the caller sees that something is missing. After a complete
    response the error is only logged.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        openai_paths: Sequence[str] = OPENAI_PATHS,
        metrics: Metrics | None = None,
    ) -> None:
        self.app = app
        self._openai_paths = tuple(openai_paths)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        notes = scope.get("penstock") or scope.setdefault("penstock", fresh_notes())
        if self._openai_paths != OPENAI_PATHS:
            notes["openai_paths"] = self._openai_paths  # for handlers inside the application
        watched = send if "status" in notes else _watched(send, notes)  # Timing watches already
        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            report(error, self._metrics)
            if not notes["status"]:
                await _answer(render(error, scope), send)
            elif not notes["complete"]:
                raise


def _watched(send: Send, notes: Notes) -> Send:
    notes["status"] = 0

    def send_watched(message: Message) -> Any:
        if message["type"] == "http.response.start":
            notes["status"] = message["status"]
        else:
            notes["complete"] = not message.get("more_body")
        return send(message)

    return send_watched


async def _answer(problem: Problem, send: Send) -> None:
    start = {"type": "http.response.start", "status": problem.status, "headers": problem.headers}
    await send(start)
    await send({"type": "http.response.body", "body": problem.body})


def _headers(error: PenstockError, length: int) -> Headers:
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % length),
        (b"cache-control", b"no-store"),
    ]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.status in (429, 503):
        wait = getattr(error, "retry_after", None)
        seconds = RETRY_AFTER if wait is None else max(1, ceil(wait))
        headers.append((b"retry-after", b"%d" % seconds))
    return headers


def _is_openai(path: str, paths: Sequence[str]) -> bool:
    return any(path == known or path.startswith(f"{known}/") for known in paths)


def _openai(error: PenstockError, document: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's error object, in the words its API reference uses for each status."""
    status = error.status
    kind = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    pointers = [entry.get("pointer", "") for entry in document.get("errors", ())]
    return {
        "message": document["detail"],
        "type": kind,
        "param": pointers[0].lstrip("/").split("/")[0] or None if pointers else None,
        "code": _OPENAI_CODES.get(status, error.slug.replace("-", "_")),
    }


def _google(error: PenstockError, detail: str) -> dict[str, Any]:
    """Google's error object (google.rpc.Status in JSON); `details` are the error's own."""
    status = error.status
    other = "INTERNAL" if status >= 500 else "INVALID_ARGUMENT"
    told: dict[str, Any] = {
        "code": status,
        "message": detail,
        "status": _GOOGLE_STATUS.get(status, other),
    }
    details = error.fields.get("details")
    return {**told, "details": details} if details else told


def _google_headers(status: int) -> Headers:
    # Google's Java client reads errors of this type alone.
    headers = [(b"content-type", b"application/json; charset=UTF-8")]
    if status == 401:  # httplib2, below Google's Python client, fails at a scheme without more
        headers.append((b"www-authenticate", b'Bearer realm="penstock"'))
    return headers


def _bounded(value: object, depth: int = 3) -> Any:
    """What a caller may get back of what it sent: short, and valid UTF-8."""
    match value:
        case None | bool() | float():
            return value
        case int() if value.bit_length() < 64:
            return value
        case list() | tuple() if depth:
            return [_bounded(item, depth - 1) for item in value[:_ERRORS]]
        case dict() if depth:
            return {_clip(str(k)): _bounded(v, depth - 1) for k, v in list(value.items())[:_ERRORS]}
        case _:
            return _clip(str(value))


def _clip(text: str) -> str:
    if len(text) > _DETAIL_LENGTH:
        text = f"{text[:_DETAIL_LENGTH]}…"
    return text.encode(errors="replace").decode()
