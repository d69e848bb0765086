"""Which kinds of images are read, told by their first bytes and never by their names.

The list is short on purpose: every decoder is a program that strangers may feed. TIFF, PSD, SVG and
the like are refused, whatever Pillow could do with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock.errors import InvalidInput
from penstock.images.headers import bare_jpeg

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAGIC_BYTES: Final = 32  # how much of a file tells its format


class Format(NamedTuple):
    """One kind of image."""

    name: str
    media_type: str
    also: tuple[str, ...]  # other media types that people write for it
    matches: Callable[[bytes], bool]


def _is_avif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis")


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
        Format("avif", "image/avif", ("image/avif-sequence",), _is_avif),
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


def reader(name: str, data: bytes) -> ImageFile:
    """Pillow's reader of one format, its header read and no pixel.

    Its classes are called by name: `Image.open` would try formats that are not wanted, and warns
    of sizes by Python's warnings, which are global.
    """
    if name == "jpeg":
        from PIL.JpegImagePlugin import JpegImageFile

        bare, exif = bare_jpeg(data)
        image = JpegImageFile(BytesIO(bare))
        image.info["exif"] = exif
        return image
    stream = BytesIO(data)
    match name:
        case "png":
            from PIL.PngImagePlugin import PngImageFile

            return PngImageFile(stream)
        case "gif":
            from PIL.GifImagePlugin import GifImageFile

            return GifImageFile(stream)
        case "webp":
            from PIL.WebPImagePlugin import WebPImageFile

            return WebPImageFile(stream)
        case _:
            from PIL import AvifImagePlugin, features

            if not features.check("avif"):
                raise InvalidInput("this server's Pillow was built without AVIF: send a JPEG")
            return AvifImagePlugin.AvifImageFile(stream)
