"""From JSON documents to dataclasses, by their annotations.

A server may be newer than its client: unknown fields are left alone (`raw` has them) and unknown
words of an enumeration stay words. A field that has a default may be missing or null. What is
left, a field that must be there and is not or has another type, is an InvalidAnswerError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from datetime import datetime, timezone
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar, cast, get_args, get_origin, get_type_hints

from penstock_client.errors import InvalidAnswerError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What all answers have."""

    request_id: str | None = field(default=None, repr=False, compare=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def at(*path: str, default: Any = MISSING) -> Any:
    """A field of a dataclass that is found further down in the document."""
    if default is MISSING:
        return field(metadata={"at": path})
    return field(metadata={"at": path}, default=default)


def parse(body: bytes, *, shown_url: str) -> dict[str, Any]:
    """The JSON object that an answer is."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidAnswerError(
            f"{shown_url} answered with something that is not a JSON object; "
            "is it the address of a Penstock server?"
        )
    return found


def decode(kind: type[T], document: object, *, where: str = "", request_id: str | None = None) -> T:
    """`document` as `kind`; `where` is its place in the answer, for errors."""
    if not isinstance(document, Mapping):
        raise InvalidAnswerError(f"the answer is not understood: {where or 'it'} is no object")
    values: dict[str, Any] = {}
    for place in _plan(cast("Any", kind)):
        found = _dig(document, place.path)
        if found is None and (place.has_default or _takes_none(place.hint)):
            if not place.has_default:
                values[place.name] = None
            continue
        values[place.name] = _convert(found, place.hint, ".".join((*where.split(), *place.path)))
    if issubclass(kind, Answer):
        values["raw"], values["request_id"] = document, request_id
    return kind(**values)


class _Place(NamedTuple):
    name: str
    path: tuple[str, ...]
    hint: Any
    has_default: bool


@cache
def _plan(kind: Any) -> tuple[_Place, ...]:
    hints = get_type_hints(kind)
    return tuple(
        _Place(of.name, of.metadata.get("at", (of.name,)), hints[of.name], _has(of))
        for of in fields(kind)
        if of.name not in ("raw", "request_id")
    )


def _has(of: Field[Any]) -> bool:
    return of.default is not MISSING or of.default_factory is not MISSING


def _dig(document: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = document
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _takes_none(hint: Any) -> bool:
    return hint is Any or type(None) in get_args(hint)


def _convert(value: Any, hint: Any, where: str) -> Any:
    if type(None) in get_args(hint):  # X | None, of something that is there
        hint = next(member for member in get_args(hint) if member is not type(None))
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin is Literal:
        hint = str
    if origin is tuple and isinstance(value, list):
        inner = get_args(hint)[0]
        return tuple(_convert(item, inner, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        inner = get_args(hint)[1]
        return {name: _convert(item, inner, f"{where}.{name}") for name, item in value.items()}
    if origin is None and isinstance(hint, type) and is_dataclass(hint):
        return decode(hint, value, where=where)
    return _scalar(value, hint, where)


def _scalar(value: Any, hint: Any, where: str) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is datetime and (number or isinstance(value, str)):
        return _instant(value, where)
    if hint is float and number:
        return float(value)
    if hint is int and number and float(value).is_integer():
        return int(value)
    if hint in (str, bool) and isinstance(value, hint):
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise InvalidAnswerError(
        f"the answer is not understood: {where} is {type(value).__name__}, not {wanted}"
    )


def _instant(value: float | str, where: str) -> datetime:
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value.replace("Z", "+00:00"))  # 3.10 knows no Z
        return datetime.fromtimestamp(value, timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise InvalidAnswerError(f"the answer is not understood: {where} is no time") from None
