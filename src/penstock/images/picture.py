"""Opening an image that a stranger sent.

    bytes ─ how many? ─ what kind? ─ as declared? ─ outline: how much work? ─► decode ─► Picture

Limits are checked on the outline, because a decoder that has begun cannot be stopped. It can be
between two frames, and is when they took too long: what a frame of a WebP costs no header tells.

Several frames are sampled, the first, the middle and the last: a picture that shows itself for one
frame of many can still hide from this. Of what a file says beside its pixels only the orientation
is read, and applied; places, names and thumbnails never leave this module.
"""

from __future__ import annotations

from time import thread_time
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from penstock.errors import InvalidInput, TooLarge
from penstock.images.formats import FORMATS, agrees, reader, sniff
from penstock.images.headers import orientation, outline
from penstock.images.outline import Outline, Unreadable

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
    jpeg_samples: int = 1_000_000_000  # pixels times passes over them; each takes a nanosecond
    seconds: float = 3.0  # of processor time, after which no further frame is decoded


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
        promised = outline(name, data, frames=limits.frames)
        _check(name, promised, limits)
        return _decode(name, promised, limits=limits, side=side)
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
        if data[4:8] == b"ftyp":
            raise InvalidInput(f"AVIF, HEIC and video are not read; known formats: {known}")
        raise InvalidInput(f"the bytes are not those of an image; known formats: {known}")
    if declared is not None and not agrees(declared, name):
        raise InvalidInput(f"declared as {declared[:60]!r}, but the bytes are those of a {name}")
    return name


def _check(name: str, promised: Outline, limits: Limits) -> None:
    width, height, frames = promised.width, promised.height, promised.frames
    if max(width, height) > limits.side:
        _too_big(promised, f"at most {limits.side} on a side are read")
    most = limits.jpeg_pixels if name == "jpeg" else limits.pixels
    if width * height > most:
        _too_big(promised, f"at most {most} in all are read of a {name}")
    if frames > limits.frames:
        raise InvalidInput(f"the image has over {limits.frames} frames")
    if frames > 1 and frames * width * height > limits.total_pixels:
        _too_big(promised, f"{frames} frames of them are over {limits.total_pixels}")
    if promised.passes * width * height > limits.jpeg_samples:
        _too_big(promised, f"{promised.passes} passes over them are more than are made")


def _too_big(promised: Outline, limit: str) -> NoReturn:
    raise InvalidInput(f"the image has {promised.width} x {promised.height} pixels; {limit}")


def _decode(name: str, promised: Outline, *, limits: Limits, side: int) -> Picture:
    try:
        with reader(name, promised.bare) as image:
            if promised.exif:
                image.info["exif"] = promised.exif
            found = promised._replace(
                width=image.width,
                height=image.height,
                # Of a GIF, Pillow finds out by going through all of its frames.
                frames=promised.frames if name == "gif" else int(getattr(image, "n_frames", 1)),
            )
            _check(name, found, limits)
            if name == "jpeg":
                image.draft("L" if side <= HASH_SIDE else None, (side, side))
            samples = _samples(image, found, seconds=limits.seconds, side=side)
            turned = _turn_of(image) in (2, 4, 5, 6)
    except (InvalidInput, MemoryError):
        raise
    except Exception as error:  # a decoder fed by strangers raises whatever comes to its mind
        raise InvalidInput("the image is damaged: it cannot be decoded to its end") from error
    width, height = found.width, found.height
    if turned:
        width, height = height, width
    return Picture(name, width, height, found.frames, samples)


def _samples(image: ImageFile, found: Outline, *, seconds: float, side: int) -> tuple[Image, ...]:
    """The first, the middle and the last frame; each builds on those before it."""
    wanted = {0, found.frames // 2, found.frames - 1}
    samples, begun = [], thread_time()
    for index in range(found.frames):
        if index and thread_time() - begun > seconds:
            raise InvalidInput(
                f"the image's {found.frames} frames take too long to decode:"
                f" over {seconds:g} s for the first {index}"
            )
        if index:
            image.seek(index)
        image.load()
        if index in wanted:
            samples.append(_sample(image, side))
    return tuple(samples)


def _sample(image: ImageFile, side: int) -> Image:
    """The present frame as it is shown, in grey or RGB, no larger than need be."""
    from PIL.Image import Transpose

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
