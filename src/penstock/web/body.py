"""JSON bodies of FastAPI routes whose schema is a msgspec Struct.

For routes that take many items, where pydantic would copy what is only passed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request

from penstock.errors import PenstockError, RequestError, UnsupportedMedia
from penstock.web.hot import invalid, unreadable

T = TypeVar("T")

LARGE: Final = 64 << 10  # bytes; what is larger is read in a thread
EXPLAINED: Final = 1 << 20  # bytes; what is larger is not searched for what is wrong with it


async def read_body(request: Request, read: Callable[[bytes], T]) -> T:
    """What `read` makes of the body. Raises InvalidInput, RequestError, UnsupportedMedia.

    A large one is read in a thread; what decodes it in one piece holds the loop all the same, so
    `read` looks at how much there is before it does.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMedia("send JSON with the header Content-Type: application/json")
    body = await request.body()
    if len(body) > LARGE:
        return await asyncio.to_thread(_read, body, read)
    return _read(body, read)


def _read(body: bytes, read: Callable[[bytes], T]) -> T:
    try:
        return read(body)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(body, error) from None


def _unreadable(body: bytes, error: Exception) -> PenstockError:
    if len(body) > EXPLAINED and isinstance(error, msgspec.DecodeError):
        return RequestError(f"the body is not JSON, or holds half of a surrogate pair: {error}")
    return unreadable(body, error)


def takes(kind: type[Any]) -> dict[str, Any]:
    """The `openapi_extra=` of a route whose body is this Struct."""
    return {"requestBody": {"required": True, "content": _content(kind)}}


def gives(kind: type[Any], description: str = "Answer") -> dict[str, Any]:
    """An entry of `responses=` for an answer that is this Struct."""
    return {"description": description, "content": _content(kind)}


def _content(kind: type[Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema_of(kind)}}


def schema_of(kind: type[Any]) -> dict[str, Any]:
    """The JSON schema of a type with everything in place: it refers to nothing."""
    (schema,), parts = msgspec.json.schema_components(
        [kind], schema_hook=lambda _: {}, ref_template="{name}"
    )
    found: dict[str, Any] = _filled(schema, parts)
    return found


def _filled(schema: Any, parts: dict[str, Any]) -> Any:
    match schema:
        case {"$ref": name}:
            return _filled(parts[name], parts)
        case dict():
            return {key: _filled(value, parts) for key, value in schema.items()}
        case list():
            return [_filled(value, parts) for value in schema]
        case _:
            return schema
