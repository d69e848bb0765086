"""Routes that answer without a framework: an exact path, msgspec in, msgspec out.

A hot route costs a dictionary look-up where FastAPI's router walks its list, and its Structs are
its only schema; `describe` puts them into the OpenAPI document beside the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from penstock.errors import (
    InvalidInput,
    MethodNotAllowed,
    RequestError,
    Unauthorized,
    UnsupportedMedia,
)
from penstock.http.asgi import ASGIApp, Receive, Scope, Send
from penstock.http.problems import render
from penstock.web.principal import Principal, Role

Q = TypeVar("Q")
R = TypeVar("R")

_JSON = b"application/json"
_PLACE = re.compile(r"^(?P<what>.*) - at `\$(?P<path>.*)`$")


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, where the seconds of each stage go for Server-Timing, and the rest of the call.

    `headers` are sent with the answer.
    """

    principal: Principal
    stages: dict[str, float]
    scope: Scope
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class HotRoute(Generic[Q, R]):
    """One POST path with its types and its handler."""

    error_type: ClassVar[str] = "application/problem+json"

    def __init__(
        self,
        path: str,
        handler: Callable[[Q, Call], Awaitable[R]],
        *,
        request: type[Q],
        response: type[R],
        role: Role,
        summary: str,
        tag: str,
    ) -> None:
        self.path = path
        self.handler = handler
        self.request = request
        self.response = response
        self.role: Role = role
        self.summary = summary
        self.tag = tag
        self._decoder = msgspec.json.Decoder(request)
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["penstock"]
        state["route"] = self.path
        if scope["method"] != "POST":
            await self._refuse(scope, send)
            return
        principal: Principal | None = state.get("principal")
        if principal is None:
            raise Unauthorized
        principal.need(self.role)
        _check_type(scope)
        body = await _read(receive)
        request = self._decode(body)
        call = Call(principal, state["stages"], scope)
        answer = await self.handler(request, call)
        payload = self._encode(answer)
        length = str(len(payload)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", length),
            *call.headers,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    def _decode(self, body: bytes) -> Q:
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise invalid(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(body, error) from None

    async def _refuse(self, scope: Scope, send: Send) -> None:
        error = MethodNotAllowed(f"{self.path} answers POST only")
        problem = render(error, scope, headers=[(b"allow", b"POST")])  # RFC 9110, 15.5.6
        start = {"type": "http.response.start", "status": problem.status}
        await send({**start, "headers": problem.headers})
        await send({"type": "http.response.body", "body": problem.body})


class HotPaths:
    """Sends a request to its hot route, everything else to the app behind."""

    def __init__(self, app: ASGIApp, routes: Sequence[HotRoute[Any, Any]]) -> None:
        self._app = app
        self._routes = {route.path: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            route = self._routes.get(scope["path"])
            if route is not None:
                await route(scope, receive, send)
                return
        await self._app(scope, receive, send)


def invalid(error: msgspec.ValidationError) -> InvalidInput:
    """A message of msgspec with its place as a JSON pointer."""
    found = _PLACE.match(str(error))
    what, path = (found["what"], found["path"]) if found else (str(error), "")
    pointer = path.replace("[...]", "/*").replace("[", "/").replace("]", "").replace(".", "/")
    return InvalidInput(
        f"{what} at {pointer or 'the top level'}", errors=[{"pointer": pointer, "detail": what}]
    )


def unreadable(body: bytes, error: Exception) -> RequestError:
    """What is wrong with a body that could not be decoded, and where.

    Half a surrogate pair is what JSON can write and no text can hold: msgspec calls it truncated.
    """
    if isinstance(error, UnicodeDecodeError):
        return RequestError(f"the body is not UTF-8: wrong byte at {error.start} of a text")
    try:
        found = _half_pair(json.loads(body))
    except RecursionError:
        return RequestError("the body is nested too deeply")
    except ValueError:  # not JSON for the other decoder either
        found = None
    if found is None:
        return RequestError(f"the body is not JSON: {error}")
    pointer, at = found
    where = f"contains half of a surrogate pair at character {at}"
    return InvalidInput(
        f"the text at {pointer or 'the top level'} {where}",
        errors=[{"pointer": pointer, "detail": where}],
    )


def _half_pair(document: Any) -> tuple[str, int] | None:
    """Pointer and character of the first text with half of a surrogate pair.

    A path is a chain of steps, joined for the one text that is found: a hostile document can be
    deep and wide.
    """
    waiting: list[tuple[Any, Any]] = [(document, None)]
    while waiting:
        value, path = waiting.pop()
        match value:
            case str():
                broken = _surrogate(value)
                if broken is not None:
                    return _pointer(path), broken
            case list():
                waiting.extend((item, (path, str(index))) for index, item in enumerate(value))
            case dict():
                waiting.extend((item, (path, name)) for name, item in value.items())
                waiting.extend((name, path) for name in value)
    return None


def _pointer(path: Any) -> str:
    steps: list[str] = []
    while path is not None:
        path, step = path
        steps.append("/" + step.replace("~", "~0").replace("/", "~1"))  # RFC 6901
    return "".join(reversed(steps))


def _surrogate(text: str) -> int | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def describe(routes: Sequence[HotRoute[Any, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """OpenAPI paths and component schemas of hot routes."""
    types = [kind for route in routes for kind in (route.request, route.response)]
    refs, schemas = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, Any] = {}
    for index, route in enumerate(routes):
        content = [{"application/json": {"schema": ref}} for ref in refs[2 * index : 2 * index + 2]]
        problem = {
            "description": "Problem (RFC 9457)",
            "content": {route.error_type: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        statuses = ("400", "401", "403", "405", "413", "415", "422", "429", "503")
        paths[route.path] = {
            "post": {
                "tags": [route.tag],
                "summary": route.summary,
                "operationId": route.path.strip("/").replace("/", "_"),
                "security": [{"bearer": [route.role]}],
                "requestBody": {"required": True, "content": content[0]},
                "responses": {
                    "200": {"description": "Answer", "content": content[1]},
                    **dict.fromkeys(statuses, problem),
                },
            }
        }
    return paths, schemas


def _check_type(scope: Scope) -> None:
    for name, value in scope["headers"]:
        if name == b"content-type" and (value == _JSON or _media_type(value) == _JSON):
            return
    raise UnsupportedMedia("send JSON with the header Content-Type: application/json")


def _media_type(value: bytes) -> bytes:
    return value.partition(b";")[0].strip().lower()


async def _read(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    chunks = [body]
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError("the client went away before its request was complete")
        chunks.append(message.get("body", b""))
    return b"".join(chunks)
