"""What a model is shown of an image: a JPEG of its own, not the sender's bytes.

It holds the pixels and nothing else (no place, no name, no second file behind the first), has the
right side up, is of a type that every provider takes and of a size that it has use for. Of several
frames it is a strip, since most models look at the first frame alone.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final

from penstock.images.picture import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

VIEW_SIDE: Final = 768  # pixels: OpenAI and others scale the shorter side down to it
VIEW_TYPE: Final = "image/jpeg"

_LONGEST: Final = 2 * VIEW_SIDE
_QUALITY: Final = 85
_GAP: Final = 8  # pixels between frames


def view(picture: Picture) -> bytes:
    """A JPEG of what a picture shows, at most a few hundred kilobytes. For a thread.

    Open the picture with `side=VIEW_SIDE` before, or it is shown as small and grey as hashes need.
    """
    frames = [_fitting(sample) for sample in picture.samples]
    image = frames[0] if len(frames) == 1 else _strip(frames)
    sink = BytesIO()
    image.save(sink, "JPEG", quality=_QUALITY)
    return sink.getvalue()


def _fitting(sample: Image) -> Image:
    from PIL.Image import Resampling

    width, height = sample.size
    scale = min(1.0, _LONGEST / max(width, height), VIEW_SIDE / min(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = sample if size == sample.size else sample.resize(size, Resampling.BICUBIC)
    return image.convert("RGB")


def _strip(frames: list[Image]) -> Image:
    from PIL.Image import new

    for frame in frames[1:]:  # all are shown as large as one alone would be
        frame.thumbnail(frames[0].size)
    width = sum(frame.width for frame in frames) + _GAP * (len(frames) - 1)
    strip = new("RGB", (width, max(frame.height for frame in frames)), (128, 128, 128))
    at = 0
    for frame in frames:
        strip.paste(frame, (at, 0))
        at += frame.width + _GAP
    strip.thumbnail((_LONGEST, _LONGEST))
    return strip
