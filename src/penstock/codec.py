"""Values to bytes and back: msgpack with a versioned header, never pickle.

The promise is exactness: what is read back equals what was written and has the same types, or
writing is refused. MessagePack knows None, bool, int, float, str, bytes, list and dict with plain
keys; such a value is *plain* and reads back by itself. Anything else (tuples, sets, Structs,
dataclasses, pydantic models, enums, dates) reads back only with its type, so `Codec(type)` writes
it and reads it again at once to see that it would; without a type it is refused.

A sealed value is one header byte (version in the upper half, flags in the lower), then the
MessagePack body, compressed by zstd when asked to and when that is smaller. numpy arrays are raw
bytes of their own number type: an embedding in float32 takes 4 bytes a number.
"""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

import msgspec

from penstock.errors import UnencodableValue, UnreadableValue

VERSION = 0x10
PLAIN = 0x01
COMPRESSED = 0x02
LARGEST = 64 << 20  # bytes of a compressed value: a few kB in a file could say they are gigabytes

_ARRAY = 1
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_KEYS = frozenset({str, int, bool, bytes})


class Packed(NamedTuple):
    """A body without its header."""

    body: bytes
    plain: bool  # reads back exactly without its type


def encode(value: object, *, type: Any = Any, compress_from: int | None = None) -> bytes:
    """Give the sealed bytes of `value`.

    Raises UnencodableValue when it would not read back the same. `compress_from` is the size in
    bytes from which zstd is tried; None never tries.
    """
    packed = Codec(type).pack(value)
    return seal(packed.body, plain=packed.plain, compress_from=compress_from)


def decode(data: bytes, type: Any = Any) -> Any:
    """Give the value of sealed bytes.

    `type` must be the type it was written with, unless the value was plain; no plain value is read
    as a Struct.
    Raises UnreadableValue when the bytes are damaged, of another version or of another type.
    """
    body, plain = unseal(data)
    if plain and _is_struct(type):
        _refuse_plain(body)
    return (_UNTYPED if plain or type is Any else Codec(type)).unpack(body)


class Codec:
    """Packs and unpacks values of one type; `Any` takes plain values only.

    Safe to share between threads.
    """

    def __init__(self, type: Any = Any) -> None:
        self.type = type
        self.typed = type is not Any
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_to_plain)
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
            type, dec_hook=_from_plain, ext_hook=_from_extension
        )
        # Bound methods, because the hot path of a cache hit calls one of them and nothing else.
        self.thaw = self._decoder.decode
        self._struct = _is_struct(type)
        self.thaw_plain = _refuse_plain if self._struct else _UNTYPED_DECODER.decode

    def pack(self, value: object) -> Packed:
        """Give the body of `value`; raises UnencodableValue when it would not read back."""
        try:
            plain = is_plain(value)
            if plain and self._struct:
                raise UnencodableValue(f"a {_name(value)} is not the {self.type!r} it should be")
            if not plain and self.type is Any:
                raise UnencodableValue(
                    f"a {_name(value)} reads back the same only with its type: annotate what the "
                    "function returns, or give type="
                )
            body = self._encoder.encode(value)
            if not plain and not identical(value, self._decoder.decode(body)):
                raise UnencodableValue(
                    f"a {_name(value)} does not read back the same as {self.type!r}"
                )
        except UnencodableValue:
            raise
        except Exception as error:  # hooks run foreign code: whatever they raise means the same
            raise UnencodableValue(f"a {_name(value)} cannot be stored: {error}") from error
        return Packed(body, plain)

    def unpack(self, body: bytes) -> Any:
        """Give the value of a body that was not plain; raises UnreadableValue."""
        try:
            return self._decoder.decode(body)
        except Exception as error:
            raise UnreadableValue(f"stored bytes are not a {self.type!r}: {error}") from error


def seal(body: bytes, *, plain: bool, compress_from: int | None = None) -> bytes:
    """Put the header before a body, compressing it when it is that large and becomes smaller."""
    flags = VERSION | (PLAIN if plain else 0)
    if compress_from is not None and compress_from <= len(body) <= LARGEST:
        import zstandard  # 4 ms that only large values need

        smaller = zstandard.ZstdCompressor(level=3).compress(body)
        if len(smaller) < len(body):
            return bytes((flags | COMPRESSED,)) + smaller
    return bytes((flags,)) + body


def unseal(data: bytes, at: int = 0) -> tuple[bytes, bool]:
    """The body that is sealed in `data` from `at` on, and whether it is plain.

    Raises UnreadableValue when the header is not ours.
    """
    flags = data[at] if len(data) > at else 0
    if flags & 0xF0 != VERSION:
        raise UnreadableValue(f"stored bytes begin with {flags:#04x}: not a version that is known")
    body = data[at + 1 :]
    if flags & COMPRESSED:
        import zstandard

        try:
            # With a size in its header, as all of ours have, the frame expands to that and no
            # further; `max_output_size` is heeded only where there is none.
            size = zstandard.frame_content_size(body)
            if not 0 <= size <= LARGEST:
                raise UnreadableValue(f"stored bytes would decompress to {size} bytes")
            body = zstandard.ZstdDecompressor().decompress(body, max_output_size=LARGEST)
        except zstandard.ZstdError as error:
            raise UnreadableValue(f"stored bytes do not decompress: {error}") from error
    return body, flags & PLAIN == PLAIN


def is_plain(value: object) -> bool:
    """Tell whether MessagePack alone gives this value back with the same types."""
    kind = type(value)
    if kind in _SCALARS or _is_array(value):
        return True
    if kind is list:
        # One pass in C over the types; only what holds more containers is walked.
        kinds = set(map(type, value))  # type: ignore[call-overload]
        return kinds <= _SCALARS or all(map(is_plain, value))  # type: ignore[call-overload]
    if kind is dict:
        items: dict[object, object] = value  # type: ignore[assignment]
        if not set(map(type, items)) <= _KEYS:
            return False
        return set(map(type, items.values())) <= _SCALARS or all(map(is_plain, items.values()))
    return False


def identical(a: Any, b: Any) -> bool:
    """Tell whether two values are equal and of equal types all the way down; NaN equals NaN."""
    kind = type(a)
    if kind is not type(b):
        return False
    match a:
        case float():
            return bool(a == b) or (math.isnan(a) and math.isnan(b))
        case datetime():
            return bool(a == b) and a.tzinfo == b.tzinfo
        case list() | tuple():
            return len(a) == len(b) and all(map(identical, a, b))
        case dict():
            return len(a) == len(b) and all(map(identical, a.items(), b.items()))
        case set() | frozenset():
            # Equal members may differ in type (1 and True), so the types are compared beside them.
            return bool(a == b) and _kinds(a) == _kinds(b)
    names = _fields(a)
    if names is not None:
        return all(identical(getattr(a, name), getattr(b, name)) for name in names)
    if _is_array(a):
        return _same_array(a, b)
    return bool(a == b)


def _kinds(members: set[object] | frozenset[object]) -> list[tuple[int, str]]:
    return sorted((hash(member), type(member).__qualname__) for member in members)


def _fields(value: object) -> tuple[str, ...] | None:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return None


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _refuse_plain(body: bytes) -> NoReturn:
    """Read a plain value as a Struct, which none is."""
    raise UnreadableValue("a plain value is stored where a Struct is asked for")


def _name(value: object) -> str:
    return type(value).__qualname__


def _is_array(value: object) -> bool:
    kind = type(value)
    if kind.__name__ != "ndarray" or kind.__module__ != "numpy":
        return False
    return value.dtype.kind in "fiub"  # type: ignore[attr-defined]


def _same_array(a: Any, b: Any) -> bool:
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def _to_plain(value: Any) -> object:
    """Turn what MessagePack does not know into what it knows."""
    if _is_array(value):
        head = msgspec.msgpack.encode([value.dtype.str, list(value.shape)])
        return msgspec.msgpack.Ext(_ARRAY, bytes((len(head),)) + head + value.tobytes())
    if hasattr(value, "model_dump"):  # a pydantic model, without importing pydantic
        return value.model_dump()
    raise UnencodableValue(f"a {_name(value)} cannot be stored as bytes")


def _from_plain(type: Any, value: Any) -> object:
    if hasattr(type, "model_validate"):
        return type.model_validate(value)
    if isinstance(value, type):
        return value
    raise NotImplementedError(f"no way to read a {type!r}")


def _from_extension(code: int, data: memoryview) -> object:
    if code != _ARRAY:
        raise UnreadableValue(f"stored bytes hold an unknown extension {code}")
    import numpy

    size = data[0] + 1
    number, shape = msgspec.msgpack.decode(data[1:size])
    # A copy, because an array over foreign bytes could not be changed by its user.
    return numpy.frombuffer(data[size:], dtype=number).reshape(shape).copy()


_UNTYPED_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    ext_hook=_from_extension, strict=True
)
_UNTYPED = Codec()
