"""JSON bodies of FastAPI routes whose schema is a msgspec Struct.

For routes that take many items, where pydantic would copy what is only passed on.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from fastapi import Request

from penstock.errors import UnsupportedMedia
from penstock.web.hot import invalid, unreadable

T = TypeVar("T")


async def read_body(request: Request, decoder: msgspec.json.Decoder[T]) -> tuple[T, bytes]:
    """The decoded body and its bytes. Raises InvalidInput, RequestError, UnsupportedMedia."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMedia("send JSON with the header Content-Type: application/json")
    body = await request.body()
    try:
        return decoder.decode(body), body
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(body, error) from None


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
