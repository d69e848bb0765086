"""Names for what is remembered: exact fingerprints and readable keys.

A fingerprint is the first 128 bits of SHA-256 over canonical MessagePack: the same in every process
and every version of Python, different for everything that differs, `1`, `1.0`, `True`, `"1"` and
`b"1"` included. Never a quick non-cryptographic hash: colliding texts could be crafted, and a bad
one would get the verdict of a harmless one.

A key reads `namespace:rest`; the cache puts its prefix before it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import unicodedata
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from penstock.codec import is_plain
from penstock.errors import UnencodableValue

_LIST, _TUPLE, _DICT, _SET, _FROZENSET, _OBJECT, _TEXT, _INTEGER = range(1, 9)
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})

_encode = msgspec.msgpack.Encoder().encode


def fingerprint(*parts: object) -> str:
    """32 hexadecimal digits that stand for these parts, in this order.

    Parts are anything built of None, bool, int, float, str, bytes, containers, Structs,
    dataclasses, pydantic models, enums, dates, UUIDs, Decimals, paths and arrays, or an object that
    has a `__cache_key__()`. Raises UnencodableValue for anything else.
    """
    return hashlib.sha256(canonical(parts)).hexdigest()[:32]


def canonical(parts: tuple[object, ...]) -> bytes:
    """Bytes that two tuples share only when they are equal and of equal types."""
    if set(map(type, parts)) <= _SCALARS:
        try:
            return _encode(parts)
        except (OverflowError, UnicodeEncodeError):
            pass  # an integer over 64 bits or a lone surrogate takes the longer way
    return _encode([_canonical(part) for part in parts])


LONGEST_WORD = 512  # characters; what is longer is left as it is
_PIECES = re.compile(r"\s+|\S+")  # nothing composes with a blank before or behind it


def normal_form(value: object) -> object:
    """A text as it is read: Unicode NFC, one kind of line end, no outer blanks.

    Nothing beyond that: whatever else is alike may mean something else.
    """
    if type(value) is not str:
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n").strip()
    if text.isascii():
        return text
    return "".join(map(_composed, _PIECES.findall(text)))


def _composed(piece: str) -> str:
    # Composing takes time with the square of a run of accents; no word has that many letters.
    return piece if len(piece) > LONGEST_WORD else unicodedata.normalize("NFC", piece)


def quote(part: str) -> str:
    """A text without `:`, so that it can stand for one part of a key."""
    return part.replace("%", "%25").replace(":", "%3A")


def as_text(key: str) -> str:
    """A key that every tier can store: one that is no Unicode text becomes its fingerprint."""
    if _is_unicode(key):
        return key
    namespace = key.partition(":")[0].encode("ascii", "replace").decode()
    return f"{namespace}:{fingerprint(key)}"


class CacheKeyBuilder:
    """Builds readable keys: the same parts give the same key everywhere.

    >>> CacheKeyBuilder("conversation").part(123).field("page", 2).build()
    'conversation:123:page=2'
    >>> CacheKeyBuilder("answer").digest("a long question", {"top": 3}).build()
    'answer:09a603393f80cb43045a085696b0d64f'
    """

    def __init__(self, namespace: str, *parts: str | int) -> None:
        self._parts = (quote(namespace), *(quote(str(part)) for part in parts))

    def part(self, part: str | int) -> CacheKeyBuilder:
        """Add a readable part."""
        return self._with(quote(str(part)))

    def field(self, name: str, value: str | int) -> CacheKeyBuilder:
        """Add a readable `name=value`."""
        return self._with(f"{quote(name)}={quote(str(value))}")

    def digest(self, *parts: object) -> CacheKeyBuilder:
        """Add a fingerprint of long, private or structured parts."""
        return self._with(fingerprint(*parts))

    def build(self) -> str:
        """The key."""
        return ":".join(self._parts)

    def __str__(self) -> str:
        return self.build()

    def _with(self, part: str) -> CacheKeyBuilder:
        longer = CacheKeyBuilder.__new__(CacheKeyBuilder)
        longer._parts = (*self._parts, part)
        return longer


def _canonical(value: Any) -> object:
    """What MessagePack writes for a value; what it has no form of its own for is an Ext."""
    kind = type(value)
    if kind is str:
        return value if _is_unicode(value) else _ext(_TEXT, value.encode("utf-8", "surrogatepass"))
    if kind is int:
        return value if -(1 << 63) <= value < 1 << 64 else _ext(_INTEGER, str(value))
    if kind in _SCALARS:
        return value
    if kind is list:
        return [_canonical(part) for part in value]
    if kind is tuple:
        return _ext(_TUPLE, [_canonical(part) for part in value])
    if kind is dict:
        return _ext(_DICT, sorted((_bytes(k), _bytes(v)) for k, v in value.items()))
    if kind is set or kind is frozenset:
        return _ext(_SET if kind is set else _FROZENSET, sorted(map(_bytes, value)))
    return _ext(_OBJECT, [f"{kind.__module__}.{kind.__qualname__}", _canonical(_state(value))])


def _state(value: Any) -> object:
    """What makes an object the one it is."""
    if hasattr(value, "__cache_key__"):
        return value.__cache_key__()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):  # a pydantic model, without importing pydantic
        return value.model_dump()
    if is_plain(value):  # a numpy array
        return (value.dtype.str, value.shape, value.tobytes())
    bases: tuple[Any, ...] = (str, int, float, bytes, list, tuple, dict, set, frozenset)
    for base in bases:
        if isinstance(value, base):
            return base(value)
    if isinstance(value, Mapping):
        return dict(value)
    return _text(value)


def _text(value: Any) -> str:
    """Dates, UUIDs, Decimals and paths, whose text says all; anything else is refused."""
    kind = type(value)
    if kind.__module__ in {"datetime", "decimal", "uuid", "pathlib", "fractions", "ipaddress"}:
        return str(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    raise UnencodableValue(
        f"a {kind.__qualname__} cannot be part of a cache key: give it a __cache_key__() method, "
        "or leave the argument out with ignore="
    )


def _ext(code: int, content: object) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, _encode(content))


def _bytes(value: object) -> bytes:
    return _encode(_canonical(value))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
