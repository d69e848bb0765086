"""Walks through a PNG: its size, its frames, and the chunks that its pixels need.

Texts and colour profiles are compressed, and a kilobyte of them may make a decoder inflate a
megabyte: it is given none.
"""

from __future__ import annotations

from typing import Final

from penstock.images.outline import Outline, Steps, Unreadable, big

_HEADER: Final = b"\x00\x00\x00\x0dIHDR"
_FIRST: Final = 33  # where the chunk behind the header begins
_STILL: Final = frozenset({b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_MOVING: Final = _STILL | {b"fcTL", b"fdAT"}
_EXIF_BYTES: Final = 1 << 16


def outline(data: bytes, frames: int) -> Outline:
    """The decoder is given pixels, palette, frames and orientation. Raises Unreadable."""
    if data[8:16] != _HEADER:
        raise Unreadable("it does not begin with its header")
    parts, wanted, count = [data[:_FIRST]], _STILL, 1
    step, at, pixels, exif = Steps(), _FIRST, False, False
    while at < len(data):
        step()
        kind, end = data[at + 4 : at + 8], at + 12 + big(data, at, 4)
        if kind == b"IHDR":
            raise Unreadable("it begins twice")
        if kind == b"acTL" and wanted is _STILL and not pixels and big(data, at + 8, 4):
            count, wanted = big(data, at + 8, 4), _MOVING  # an animation
            parts.append(data[at:end])
        elif kind == b"eXIf" and not exif and end - at <= _EXIF_BYTES:
            exif = True
            parts.append(data[at:end])
        elif kind in wanted:
            pixels = pixels or kind == b"IDAT"
            parts.append(data[at:end])
        if kind == b"IEND":
            break
        at = end
    return Outline(big(data, 16, 4), big(data, 20, 4), count, b"".join(parts))
