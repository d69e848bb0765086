"""Every error of a FastAPI application as a problem document: `install(app)`.

Turns what FastAPI and Starlette raise into our errors, with JSON pointers into the caller's body.
Messages name the place and the rule, never the value: what a caller sent may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from penstock import errors
from penstock.errors import InvalidInput, PenstockError, RequestError
from penstock.http.asgi import Headers
from penstock.http.problems import render, report

_LISTED = 20  # errors told at once
_BY_STATUS: Final[dict[int, type[PenstockError]]] = {
    kind.status: kind
    for kind in (
        *(errors.RequestError, errors.Unauthorized, errors.Forbidden, errors.NotFound),
        *(errors.MethodNotAllowed, errors.Conflict, errors.TooLarge, errors.UnsupportedMedia),
        errors.InvalidInput,
    )
}

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong, where, and what to do (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
        "error": {"type": "object", "description": "OpenAI's error object, on OpenAI's paths"},
    },
}


def install(app: FastAPI) -> None:
    """Answer every error of this application with a problem document (RFC 9457)."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(PenstockError, _ours)
    # Starlette raises what this handler answered on to the server; http.Problems takes it there.
    app.add_exception_handler(Exception, _unexpected)


def responses(*kinds: type[PenstockError]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` table of a route: 401, 403, 422 and 429, and the statuses of `kinds`.

    >>> sorted(responses(errors.NotFound))
    [401, 403, 404, 422, 429]
    """
    usual: tuple[type[PenstockError], ...] = (
        errors.Unauthorized,
        errors.Forbidden,
        errors.InvalidInput,
        errors.RateLimited,
    )
    return {
        kind.status: {
            "description": kind.title,
            "content": {"application/problem+json": {"schema": PROBLEM}},
        }
        for kind in (*usual, *kinds)
    }


async def _ours(request: Request, error: Exception) -> Response:
    report(error)
    return _response(request, error)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _response(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _response(request, _validation(error.errors(), error.body))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    cause = error.__cause__
    if isinstance(cause, PenstockError):
        # FastAPI hides what reading the body raised (TooLarge) behind a 400 of its own.
        return await _ours(request, cause)
    headers = [(k.lower().encode(), v.encode()) for k, v in (error.headers or {}).items()]
    if error.status_code in (204, 304):
        return Response(status_code=error.status_code, headers=error.headers)
    return _response(request, _translated(error, request), headers)


def _translated(error: HTTPException, request: Request) -> PenstockError:
    status, detail, path = error.status_code, str(error.detail), request.url.path
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if status == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
        return errors.NotFound(f"there is nothing at {path}")
    if status == 405:
        known = f"; it answers {headers['allow']}" if "allow" in headers else ""
        return errors.MethodNotAllowed(f"{path} does not answer {request.method}{known}")
    if status == 429:
        return errors.RateLimited(detail, retry_after=1)  # the exception's own header wins
    return _kind(status)(detail)


def _kind(status: int) -> type[PenstockError]:
    """Our class for a status, or one made for the occasion with the status's own words."""
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = f"Status {status}"
    words = {
        "status": status,
        "title": phrase,
        "slug": "-".join(re.findall("[a-z0-9]+", phrase.lower())),
    }
    return type("OtherStatus", (PenstockError,), words)


def _validation(found: Sequence[Mapping[str, Any]], body: object) -> RequestError:
    first = found[0] if found else {}
    if first.get("type") == "json_invalid":
        why = (first.get("ctx") or {}).get("error", "it ends too early")
        detail = f"the body is not valid JSON at character {first['loc'][-1]}: {why}"
        return RequestError(detail, errors=[{"pointer": "", "detail": detail}])
    listed = [_entry(one, body) for one in found[:_LISTED]]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    place = listed[0]["pointer"] or "the body" if listed else "the request"
    told = listed[0]["detail"] if listed else "it does not have the expected form"
    return InvalidInput(f"{place}: {told}{more}", errors=listed)


def _entry(one: Mapping[str, Any], body: object) -> dict[str, str]:
    place, *path = one.get("loc") or ("body",)
    if place == "body":
        steps = _steps(path, body, missing=one.get("type") == "missing")
        return {"pointer": _pointer(steps), "detail": str(one["msg"])}
    return {"pointer": _pointer(path), "in": str(place), "detail": str(one["msg"])}


def _steps(path: Sequence[str | int], body: object, *, missing: bool) -> list[str | int]:
    """The steps of pydantic's `loc` that lead through the body; others name a branch of a union."""
    steps: list[str | int] = []
    at = body
    for step in path:
        inside = isinstance(at, list) and isinstance(step, int) and step < len(at)
        if inside or (isinstance(at, Mapping) and step in at):
            at = at[step]  # type: ignore[index]
            steps.append(step)
    return [*steps, path[-1]] if missing and path else steps


def _pointer(steps: Sequence[str | int]) -> str:
    """RFC 6901."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def _response(request: Request, error: Exception, headers: Headers | None = None) -> Response:
    problem = render(error, request.scope, headers=headers)
    response = Response(problem.body, status_code=problem.status)
    response.raw_headers = problem.headers
    return response
