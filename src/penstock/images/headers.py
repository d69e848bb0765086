"""Sizes and numbers of frames as a file's header tells them, before a decoder touches it.

A header is a promise that costs its sender thirty bytes and may cost the decoder gigabytes. Some
decoders allocate when they are opened, so the promise is read here, by counting bytes alone. The
blocks of a file are counted as well: millions of empty ones would keep a decoder busy for minutes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

BLOCKS: Final = 200_000  # in one file; 20 MB of GIF in ordinary blocks have 80,000

_AVIF_HEADER: Final = 1 << 20  # sizes stand in its first box, with thumbnails' and layers'
_AVIF_SIZE: Final = re.compile(rb"ispe\x00\x00\x00\x00(.{4})(.{4})", re.DOTALL)
_NOT_FILLING: Final = re.compile(rb"[^\xff]")
_BARE_MARKERS: Final = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # those without a length
_NOT_SIZES: Final = frozenset({0xC4, 0xC8, 0xCC})  # among C0..CF, which start frames
_START_OF_SCAN, _END, _EXIF, _COMMENT = 0xDA, 0xD9, 0xE1, 0xFE
_NEEDED: Final = frozenset({0xE0, 0xEE})  # of E0..EF: how colours are stored (JFIF, Adobe)


class Size(NamedTuple):
    """What a header promises."""

    width: int
    height: int
    frames: int = 1  # 1 also where only the decoder can count them


class Unreadable(Exception):
    """The header ends, or makes no sense."""


def measure(name: str, data: bytes, *, frames: int) -> Size:
    """Read the header of a file of this format; stops to count beyond `frames`.

    Raises Unreadable.
    """
    try:
        size = _MEASURES[name](data, frames)
    except IndexError:
        raise Unreadable("it ends within its header") from None
    if size.width < 1 or size.height < 1:
        raise Unreadable("it says that it has no pixels")
    return size


def bare_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """A JPEG without what stands beside its pixels, and its Exif data apart.

    Decoders read comments, profiles and previews for themselves, and complain of them.
    """
    parts, exif = [data[:2]], b""
    for marker, start, end in _segments(data):
        if marker == _START_OF_SCAN:
            parts.append(data[start:])
            break
        if marker == _EXIF and not exif and data[start + 4 : start + 10] == b"Exif\x00\x00":
            exif = data[start + 4 : end]
        beside = marker == _COMMENT or (0xE0 <= marker <= 0xEF and marker not in _NEEDED)
        if not beside:
            parts.append(data[start:end])
    return b"".join(parts), exif


def _png(data: bytes, frames: int) -> Size:
    if data[12:16] != b"IHDR":
        raise Unreadable("it does not begin with its header")
    width, height, count = _big(data, 16, 4), _big(data, 20, 4), 1
    step, at = _Steps(), 33
    while at + 12 <= len(data):
        step()
        if data[at + 4 : at + 8] == b"acTL":  # an animation
            count = max(1, _big(data, at + 8, 4))
        at += 12 + _big(data, at, 4)
    return Size(width, height, count)


def _jpeg(data: bytes, frames: int) -> Size:
    for marker, start, _ in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_SIZES:
            return Size(_big(data, start + 7, 2), _big(data, start + 5, 2))
        if marker in (_START_OF_SCAN, _END):
            raise Unreadable("it has no size before its pixels")
    raise Unreadable("it ends within its header")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment of a JPEG, as far as the reader wants to know."""
    step, at = _Steps(), 2
    while (at := data.find(b"\xff", at)) >= 0 and (found := _NOT_FILLING.search(data, at)):
        step()
        marker, start, at = found[0][0], found.start() - 1, found.end()
        if marker not in _BARE_MARKERS and marker != _END:
            at += max(2, _big(data, at, 2))
        yield marker, start, at


def _gif(data: bytes, frames: int) -> Size:
    """The screen, widened by frames that lie beyond it, as decoders do."""
    width, height, count = _little(data, 6, 2), _little(data, 8, 2), 0
    step, at = _Steps(), 13 + _palette(data[10])
    while count <= frames and at < len(data):
        step()
        block = data[at]
        if block == 0x3B:  # the end
            break
        if block == 0x21:
            at = _after_blocks(data, at + 2, step)
        elif block == 0x2C:
            width = max(width, _little(data, at + 1, 2) + _little(data, at + 5, 2))
            height = max(height, _little(data, at + 3, 2) + _little(data, at + 7, 2))
            at = _after_blocks(data, at + 11 + _palette(data[at + 9]), step)
            count += 1
        else:
            at += 1
    return Size(width, height, max(1, count))


def _after_blocks(data: bytes, at: int, step: _Steps) -> int:
    while at < len(data) and data[at]:
        step()
        at += 1 + data[at]
    return at + 1


class _Steps:
    """Counts the blocks of one file."""

    def __init__(self) -> None:
        self._left = BLOCKS

    def __call__(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Unreadable(f"it consists of more than {BLOCKS} blocks")


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes, frames: int) -> Size:
    match data[12:16]:
        case b"VP8X":
            return Size(_little(data, 24, 3) + 1, _little(data, 27, 3) + 1)
        case b"VP8L" if data[20] == 0x2F:
            bits = _little(data, 21, 4)
            return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            return Size(_little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF)
    raise Unreadable("its first chunk is not one of a WebP")


def _avif(data: bytes, frames: int) -> Size:
    found = [
        Size(int.from_bytes(width, "big"), int.from_bytes(height, "big"))
        for width, height in _AVIF_SIZE.findall(data[:_AVIF_HEADER])
    ]
    if not found:
        raise Unreadable("it says no size")
    return max(found, key=lambda size: size.width * size.height)


def _big(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(_exactly(data, at, size), "big")


def _little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(_exactly(data, at, size), "little")


def _exactly(data: bytes, at: int, size: int) -> bytes:
    part = data[at : at + size]
    if len(part) < size:
        raise Unreadable("it ends within its header")
    return part


_MEASURES: Final[Mapping[str, Callable[[bytes, int], Size]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "gif": _gif,
    "webp": _webp,
    "avif": _avif,
}


def orientation(exif: bytes) -> int:
    """How an image lies, 1 to 8, as its Exif data (a TIFF header and directory) says; else 1."""
    data = exif.removeprefix(b"Exif\x00\x00")
    intel = data[:2] == b"II"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little" if intel else "big")

    if data[:4] not in (b"II*\x00", b"MM\x00*"):
        return 1
    start = number(4, 4)
    for index in range(min(number(start, 2), 256)):
        entry = start + 2 + 12 * index
        if number(entry, 2) == 0x0112:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
