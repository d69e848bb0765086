"""What a file of each format promises, and how an image lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from penstock.images import gif, jpeg, png, webp
from penstock.images.outline import Outline, Unreadable

_OUTLINES: Final[Mapping[str, Callable[[bytes, int], Outline]]] = {
    "jpeg": jpeg.outline,
    "png": png.outline,
    "gif": gif.outline,
    "webp": webp.outline,
}


def outline(name: str, data: bytes, *, frames: int) -> Outline:
    """Walk through a file of this format; stops to count frames beyond `frames`.

    Raises Unreadable; InvalidInput for a kind of file that is not read.
    """
    try:
        found = _OUTLINES[name](data, frames)
    except IndexError:
        raise Unreadable("it ends within its header") from None
    if found.width < 1 or found.height < 1:
        raise Unreadable("it says that it has no pixels")
    return found


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
