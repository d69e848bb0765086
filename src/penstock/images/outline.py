"""What is known of an image's file before a decoder touches it, and the means to find out.

A header is a promise that costs its sender thirty bytes and may cost the decoder gigabytes, and a
scan or a frame of a hundred bytes makes it go over all pixels again. So a file is walked through
first, by counting alone. The decoder is then given what was counted and nothing else (`bare`): it
cannot find a frame, a scan or a compressed comment where the walk saw none.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

BLOCKS: Final = 200_000  # in one file; 20 MB of GIF in ordinary blocks have 80,000
WINDOW: Final = 1 << 18  # bytes searched at once: a search holds Python's lock to its end


class Outline(NamedTuple):
    """What a file promises, and what of it the decoder is given."""

    width: int
    height: int
    frames: int  # of a WebP at least as many as the decoder will count
    bare: bytes
    passes: int = 0  # over the pixels of one frame, one per colour component; 0: not counted
    exif: bytes = b""  # where the decoder is not given it


class Unreadable(Exception):
    """The file ends too early, or makes no sense."""


class Steps:
    """Counts the blocks of one file: millions of empty ones would take minutes."""

    def __init__(self) -> None:
        self._left = BLOCKS

    def __call__(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Unreadable(f"it consists of more than {BLOCKS} blocks")


def big(data: bytes, at: int, size: int) -> int:
    """A number, its first byte the most significant."""
    return int.from_bytes(_exactly(data, at, size), "big")


def little(data: bytes, at: int, size: int) -> int:
    """A number, its first byte the least significant."""
    return int.from_bytes(_exactly(data, at, size), "little")


def pair_at(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Where the first two bytes like this stand, from `at` on; -1 if nowhere."""
    for start in range(at, len(data), WINDOW):
        if found := pattern.search(data, start, start + WINDOW + 1):
            return found.start()
    return -1


def _exactly(data: bytes, at: int, size: int) -> bytes:
    part = data[at : at + size]
    if len(part) < size:
        raise Unreadable("it ends within its header")
    return part
