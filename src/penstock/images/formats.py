"""Which kinds of images are read, told by their first bytes and never by their names.

The list is short on purpose: every decoder is a program that strangers may feed. TIFF, PSD, SVG and
the like are refused, whatever Pillow could do with them. So is AVIF: a sample of it may hold any
number of frames that are decoded and never shown, and no header tells how many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAGIC_BYTES: Final = 32  # how much of a file tells its format


class Format(NamedTuple):
    """One kind of image."""

    name: str
    media_type: str
    also: tuple[str, ...]  # other media types that people write for it
    matches: Callable[[bytes], bool]


FORMATS: Final[Mapping[str, Format]] = {
    each.name: each
    for each in (
        Format(
            "jpeg",
            "image/jpeg",
            ("image/jpg", "image/pjpeg"),
            lambda head: head.startswith(b"\xff\xd8\xff"),
        ),
        Format(
            "png",
            "image/png",
            ("image/x-png", "image/apng"),
            lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
        ),
        Format("gif", "image/gif", (), lambda head: head.startswith((b"GIF87a", b"GIF89a"))),
        Format(
            "webp",
            "image/webp",
            (),
            lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
        ),
    )
}


def sniff(data: bytes) -> str | None:
    """The name of the format that the first bytes speak of; None for any other."""
    head = data[:MAGIC_BYTES]
    return next((name for name, each in FORMATS.items() if each.matches(head)), None)


def agrees(declared: str, name: str) -> bool:
    """Whether a media type is one of this format's."""
    bare = declared.partition(";")[0].strip().lower()
    known = FORMATS[name]
    return bare == known.media_type or bare in known.also


def reader(name: str, bare: bytes) -> ImageFile:
    """Pillow's reader of one format, its header read and no pixel. `bare` is an Outline's.

    Its classes are called by name: `Image.open` would try formats that are not wanted, and warns
    of sizes by Python's warnings, which are global.
    """
    stream = BytesIO(bare)
    match name:
        case "jpeg":
            from PIL.JpegImagePlugin import JpegImageFile

            return JpegImageFile(stream)
        case "png":
            from PIL.PngImagePlugin import PngImageFile

            return PngImageFile(stream)
        case "gif":
            from PIL.GifImagePlugin import GifImageFile

            return GifImageFile(stream)
        case _:
            from PIL.WebPImagePlugin import WebPImageFile

            return WebPImageFile(stream)
