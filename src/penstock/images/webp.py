"""Reads a WebP's size and a bound of its frames.

The decoder parses the file for itself, counts its frames exactly when it is opened, and is asked.
"""

from __future__ import annotations

from penstock.images.outline import Outline, Unreadable, little


def outline(data: bytes, frames: int) -> Outline:
    """Raises Unreadable."""
    match data[12:16]:
        case b"VP8X":
            width, height = little(data, 24, 3) + 1, little(data, 27, 3) + 1
            return Outline(width, height, max(1, data.count(b"ANMF")), data)
        case b"VP8L" if data[20] == 0x2F:
            bits = little(data, 21, 4)
            return Outline((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1, data)
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            return Outline(little(data, 26, 2) & 0x3FFF, little(data, 28, 2) & 0x3FFF, 1, data)
    raise Unreadable("its first chunk is not one of a WebP")
