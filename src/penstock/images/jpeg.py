"""Walks through a JPEG: its size, how often its pixels are gone over, and what a decoder needs.

A progressive JPEG comes in scans, each of which refines all pixels. One that changes nothing has a
hundred bytes and costs as much as any other; encoders write six to eighteen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from penstock.errors import InvalidInput
from penstock.images.outline import Outline, Steps, Unreadable, big, pair_at

SCANS: Final = 32  # of a progressive file; of another as many as it has colour components

_MARKER: Final = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # the others have no length
_AFTER_PIXELS: Final = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")  # decoders pass over the others
_FILLING: Final = b"\xff" * 4096  # decoders start again at the first byte with each further block
_READ: Final = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive; all Huffman-coded
_PROGRESSIVE, _TABLES = 0xC2, 0xC4
_UNREAD: Final = frozenset({*range(0xC3, 0xD0), 0xDE, 0xDF}) - {_TABLES}
_START, _END, _SCAN, _EXIF = 0xD8, 0xD9, 0xDA, 0xE1
_BESIDE: Final = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})  # E0, EE: how colours are stored


class _Segment(NamedTuple):
    """A marker with what belongs to it."""

    marker: int
    start: int
    end: int
    following: int  # where the next one starts: between them are pixels, or nothing of use


class _Frame(NamedTuple):
    """What the header says of the pixels."""

    height: int
    width: int
    components: int
    scans: int  # at most


def outline(data: bytes, frames: int) -> Outline:
    """The decoder is given no comments, profiles or previews, and nothing behind the image's end.

    Raises Unreadable; InvalidInput for a kind of JPEG that is not read, or for too many scans.
    """
    parts, exif, frame, scans = [data[:2]], b"", None, list[int]()
    for each in _segments(data):
        marker, start, end, following = each
        if marker in _READ and frame is None:
            frame = _frame(data, each)
        elif marker in _READ or marker == _START:
            raise Unreadable("it begins twice")
        elif marker in _UNREAD:
            raise InvalidInput(
                "a lossless, hierarchical or arithmetic-coded JPEG is not read: send another kind"
            )
        elif marker == _SCAN:
            scans.append(_components(data, start, scans=len(scans), frame=frame))
        elif marker == _EXIF and not exif and data[start + 4 : start + 10] == b"Exif\x00\x00":
            exif = data[start + 4 : end]
        # Whole segments alone: of two that were apart no third one must arise.
        if marker not in _BESIDE:
            parts.append(data[start : following if marker == _SCAN else end])
        if marker == _END:
            break
    if frame is None or not scans:
        raise Unreadable("it ends within its header")
    if _FILLING in (bare := b"".join(parts)):
        raise Unreadable("it is filled up with nothing")
    return Outline(frame.width, frame.height, 1, bare, sum(scans), exif)


def _frame(data: bytes, segment: _Segment) -> _Frame:
    at = segment.start
    height, width, components = big(data, at + 5, 2), big(data, at + 7, 2), data[at + 9]
    scans = SCANS if segment.marker == _PROGRESSIVE else components
    return _Frame(height, width, components, scans)


def _components(data: bytes, at: int, *, scans: int, frame: _Frame | None) -> int:
    """How many colour components a scan is about."""
    if frame is None:
        raise Unreadable("it has no size before its pixels")
    if scans >= frame.scans:
        raise InvalidInput(f"the image has over {frame.scans} scans, more than encoders write")
    if not 1 <= (components := data[at + 4]) <= frame.components:
        raise Unreadable("a scan of it is about components that it does not have")
    return components


def _segments(data: bytes) -> Iterator[_Segment]:
    step, at, pattern = Steps(), pair_at(_MARKER, data, 2), _MARKER
    while at >= 0:
        step()
        marker, end = data[at + 1], at + 2
        if marker not in (_START, _END):
            end += max(2, big(data, end, 2))
        if marker == _SCAN:
            pattern = _AFTER_PIXELS
        following = pair_at(pattern, data, end)
        yield _Segment(marker, at, end, len(data) if following < 0 else following)
        at = following
