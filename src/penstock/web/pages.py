"""Pages of a list: `{items, next}`, where `next` is a cursor to be sent back as it came.

A cursor says after which entry to go on, so that entries which come or go meanwhile neither repeat
nor hide others, as an offset would.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Generic, TypeVar

import msgspec
from pydantic import BaseModel, Field

from penstock.errors import InvalidInput

Item = TypeVar("Item")
Position = TypeVar("Position")

_LONGEST = 1024


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next: str | None = Field(None, description="The cursor of the next page; null on the last one")


def encode_cursor(position: object) -> str:
    """Make a cursor of the last entry's sort key: numbers, strings, tuples of them."""
    return urlsafe_b64encode(msgspec.msgpack.encode(position)).rstrip(b"=").decode("ascii")


def decode_cursor(cursor: str, *, type: type[Position]) -> Position:
    """Read a cursor: `decode_cursor(text, type=tuple[int, str])`; InvalidInput when it is none."""
    try:
        if len(cursor) > _LONGEST:
            raise ValueError("too long")
        data = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        found = msgspec.msgpack.decode(data, type=type)
        if not _is_storable(found):
            raise ValueError("too large a number")
        return found
    except (
        ValueError,
        RecursionError,
    ) as error:  # binascii, ASCII and msgspec errors are ValueErrors
        told = "it is not a cursor that a page of this list gave"
        raise InvalidInput(
            "the cursor cannot be read", errors=[{"pointer": "/cursor", "detail": told}]
        ) from error


def _is_storable(position: object) -> bool:
    """Whether a database can compare it: msgpack has numbers up to 64 bits without a sign."""
    if isinstance(position, tuple | list):
        return all(map(_is_storable, position))
    return not isinstance(position, int) or -(1 << 63) <= position < 1 << 63
