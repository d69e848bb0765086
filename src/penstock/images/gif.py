"""Walks through a GIF: its screen, its frames, and the blocks that they need."""

from __future__ import annotations

from penstock.images.outline import Outline, Steps, little

_EXTENSION, _FRAME, _END, _CONTROL = 0x21, 0x2C, 0x3B, 0xF9
_CONTROL_BYTES = 4


def outline(data: bytes, frames: int) -> Outline:
    """The screen is widened by frames that lie beyond it, as decoders do.

    The decoder is given frames and what controls them: it may read a malformed extension otherwise
    than this, and find other frames. Stops beyond `frames`. Raises Unreadable.
    """
    width, height, count = little(data, 6, 2), little(data, 8, 2), 0
    step, at = Steps(), 13 + _palette(data[10])
    parts = [data[:at]]
    while count <= frames and at < len(data):
        step()
        start, block = at, data[at]
        if block == _END:
            parts.append(data[at : at + 1])
            break
        if block == _EXTENSION:
            at = _after_blocks(data, at + 2, step)
            if data[start + 1 : start + 3] == bytes((_CONTROL, _CONTROL_BYTES)):
                parts.append(data[start : start + 3 + _CONTROL_BYTES] + b"\x00")
        elif block == _FRAME:
            width = max(width, little(data, at + 1, 2) + little(data, at + 5, 2))
            height = max(height, little(data, at + 3, 2) + little(data, at + 7, 2))
            at = _after_blocks(data, at + 11 + _palette(data[at + 9]), step)
            parts.append(data[start:at])
            count += 1
        else:
            at += 1
    return Outline(width, height, max(1, count), b"".join(parts))


def _after_blocks(data: bytes, at: int, step: Steps) -> int:
    while at < len(data) and data[at]:
        step()
        at += 1 + data[at]
    return at + 1


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
