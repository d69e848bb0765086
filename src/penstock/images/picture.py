"""Opening an image that a stranger sent.

    bytes ─ how many? ─ what kind? ─ as declared? ─ header: how large? ─► decode, reduced ─► Picture

Limits are checked on the header, because a decoder that has begun cannot be stopped. Several frames
are sampled, the first, the middle and the last: a picture that shows itself for one frame of many
can still hide from this. Of what a file says beside its pixels only the orientation is read, and
applied; places, names and thumbnails never leave this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from penstock.errors import InvalidInput, TooLarge
from penstock.images.formats import FORMATS, agrees, reader, sniff
from penstock.images.headers import Size, Unreadable, measure, orientation

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

HASH_SIDE: Final = 192  # pixels that a hash needs: three for each of PDQ's 64
_BEHIND: Final = (128, 128, 128)  # what shows through: neither black nor white shapes vanish in it
_TURNS: Final = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Exif's orientation -> Transpose


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is opened at all.

    Pillow itself warns above 89 million pixels: no limit of them may be higher.
    """

    bytes: int = 20_000_000
    side: int = 16_384  # pixels of width or height
    pixels: int = 25_000_000  # of a frame that is decoded whole, at worst 20 bytes each
    jpeg_pixels: int = 64_000_000  # JPEG is decoded at a fraction of its size
    frames: int = 1_000
    total_pixels: int = 150_000_000  # of all frames that are decoded on the way to the last


LIMITS: Final = Limits()


class Picture(msgspec.Struct, frozen=True):
    """An image that was decoded: how it is shown, without what a file says beside it."""

    format: str  # a key of FORMATS
    width: int  # pixels as shown, after its orientation
    height: int
    frames: int  # in the file
    samples: tuple[Image, ...]  # grey or RGB, reduced: the first frame, or first, middle and last


def open_image(
    data: bytes,
    *,
    declared: str | None = None,
    limits: Limits = LIMITS,
    side: int = HASH_SIDE,
    pointer: str = "",
) -> Picture:
    """Decode an image. Pure and safe in threads; takes milliseconds to seconds, so not on a loop.

    `declared` is the media type that the sender claims. Samples keep at least `side` pixels of
    their shorter side, where they have as many; up to HASH_SIDE, a JPEG is read as grey. Raises
    TooLarge for too many bytes, else InvalidInput at `pointer`: not of FORMATS, not as declared,
    too large, damaged.
    """
    try:
        name = check_kind(data, declared=declared, limits=limits)
        _check_size(name, measure(name, data, frames=limits.frames), limits)
        return _decode(name, data, limits=limits, side=side)
    except TooLarge as error:
        raise TooLarge(error.detail, errors=_at(pointer, error.detail)) from None
    except InvalidInput as error:
        raise InvalidInput(error.detail, errors=_at(pointer, error.detail)) from error.__cause__
    except Unreadable as error:
        detail = f"the image is damaged: {error}"
        raise InvalidInput(detail, errors=_at(pointer, detail)) from None


def check_kind(data: bytes, *, declared: str | None = None, limits: Limits = LIMITS) -> str:
    """The name of the format of an image that is not too long and is what it claims to be.

    Looks at the first bytes alone: cheap enough for every request. Raises TooLarge, InvalidInput.
    """
    if len(data) > limits.bytes:
        raise TooLarge(f"the image has {len(data)} bytes; at most {limits.bytes} are read")
    if not data:
        raise InvalidInput("the image has no bytes")
    name = sniff(data)
    if name is None:
        known = ", ".join(FORMATS)
        raise InvalidInput(f"the bytes are not those of an image; known formats: {known}")
    if declared is not None and not agrees(declared, name):
        raise InvalidInput(f"declared as {declared[:60]!r}, but the bytes are those of a {name}")
    return name


def _check_size(name: str, size: Size, limits: Limits) -> None:
    if max(size.width, size.height) > limits.side:
        _too_big(size, f"at most {limits.side} on a side are read")
    most = limits.jpeg_pixels if name == "jpeg" else limits.pixels
    if size.width * size.height > most:
        _too_big(size, f"at most {most} in all are read of a {name}")
    if size.frames > limits.frames:
        raise InvalidInput(f"the image has over {limits.frames} frames")
    if size.frames * size.width * size.height > limits.total_pixels and size.frames > 1:
        total = f"{size.frames} frames"
        _too_big(size, f"{total} of them are over {limits.total_pixels}")


def _too_big(size: Size, limit: str) -> NoReturn:
    raise InvalidInput(f"the image has {size.width} x {size.height} pixels; {limit}")


def _decode(name: str, data: bytes, *, limits: Limits, side: int) -> Picture:
    try:
        with reader(name, data) as image:
            frames = int(getattr(image, "n_frames", 1)) if name in ("webp", "avif", "png") else 0
            size = Size(*image.size, frames or measure(name, data, frames=limits.frames).frames)
            _check_size(name, size, limits)  # the decoder may have found what the header hid
            if name == "jpeg":
                image.draft("L" if side <= HASH_SIDE else None, (side, side))
            samples = tuple(_sample(image, index, side) for index in _sampled(size.frames))
            turned = _turn_of(image) in (2, 4, 5, 6)
    except (InvalidInput, MemoryError):
        raise
    except Exception as error:  # a decoder fed by strangers raises whatever comes to its mind
        raise InvalidInput("the image is damaged: it cannot be decoded to its end") from error
    width, height = (size.height, size.width) if turned else (size.width, size.height)
    return Picture(name, width, height, size.frames, samples)


def _sampled(frames: int) -> list[int]:
    return sorted({0, frames // 2, frames - 1})


def _sample(image: ImageFile, index: int, side: int) -> Image:
    """One frame as it is shown, in grey or RGB, no larger than need be."""
    from PIL.Image import Transpose

    if index:
        image.seek(index)
    image.load()
    frame = _reduced(_plain(image), side)
    frame.info = {}  # comments and the like, which Pillow would write into what is made of it
    turn = _turn_of(image)
    return frame if turn is None else frame.transpose(Transpose(turn))


def _plain(image: Image) -> Image:
    """Without palette, transparency, or more than eight bits."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")


def _eight_bits(image: Image) -> Image:
    """Grey of 16 bits, of which a conversion would keep the wrong eight."""
    import numpy as np
    from PIL.Image import fromarray

    return fromarray((np.asarray(image).clip(0, 65_535) / 257).astype(np.uint8))


def _reduced(frame: Image, side: int) -> Image:
    from PIL.Image import new

    factor = min(frame.size) // side
    if factor > 1:
        frame = frame.reduce(factor)
    if frame.mode != "RGBA":
        return frame
    ground = new("RGB", frame.size, _BEHIND)
    ground.paste(frame, mask=frame.getchannel("A"))
    return ground


def _turn_of(image: ImageFile) -> int | None:
    exif = image.info.get("exif")
    return _TURNS.get(orientation(exif)) if isinstance(exif, bytes) else None


def _at(pointer: str, detail: str) -> list[dict[str, str]]:
    return [{"pointer": pointer, "detail": detail}]
