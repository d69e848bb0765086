"""What strangers send: images that are what they say, and bytes that are not."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import pytest
from PIL import Image

from penstock.errors import InvalidInput, TooLarge
from penstock.images import LIMITS, Limits, hashes, open_image
from tests.images.made import BLUE, GREEN, RED, animated, chunk, encoded, photo, plain, png_header

MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
}
FORMATS = pytest.mark.parametrize("format", MEDIA_TYPES)


def refusal(data: bytes, **options: object) -> str:
    with pytest.raises(InvalidInput) as refused:
        open_image(data, pointer="/input/0", **options)  # type: ignore[arg-type]
    (error,) = refused.value.fields["errors"]  # type: ignore[misc]
    assert error["pointer"] == "/input/0"
    return str(error["detail"])


@FORMATS
def test_an_image_of_each_format_is_read(format: str) -> None:
    picture = open_image(encoded(photo(size=(300, 200)), format), declared=MEDIA_TYPES[format])

    assert (picture.format, picture.width, picture.height) == (format.lower(), 300, 200)
    assert picture.frames == len(picture.samples) == 1


@FORMATS
def test_an_image_declared_as_another_is_refused(format: str) -> None:
    other = "image/png" if format != "PNG" else "image/jpeg"

    said = refusal(encoded(plain(), format), declared=other)

    assert other in said
    assert format.lower() in said


def test_a_type_may_be_written_as_people_do() -> None:
    assert open_image(encoded(plain()), declared="Image/JPG; q=1").format == "jpeg"


@pytest.mark.parametrize(
    "data",
    [
        b"hello, this is text",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BM" + b"\0" * 60,
        encoded(plain(), "AVIF"),
    ],
    ids=["text", "svg", "bmp", "avif"],
)
def test_what_is_no_known_image_is_refused_with_what_is_known(data: bytes) -> None:
    assert "jpeg, png, gif, webp" in refusal(data)


def test_no_bytes_are_no_image() -> None:
    assert "no bytes" in refusal(b"")


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    with pytest.raises(TooLarge, match="at most 100 are read") as refused:
        open_image(b"\xff\xd8\xff" + b"\0" * 100, limits=Limits(bytes=100), pointer="/image")

    assert refused.value.fields["errors"] == [{"pointer": "/image", "detail": refused.value.detail}]


def test_a_header_that_promises_a_hundred_megapixels_is_refused_undecoded() -> None:
    assert "10000 x 10000 pixels" in refusal(png_header(10_000, 10_000))


@pytest.mark.parametrize(
    "data",
    [
        png_header(2**31 - 1, 2**31 - 1),
        b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";",
        b"\xff\xd8\xff\xc0\x00\x11\x08"
        + struct.pack(">HH", 65_500, 65_500)
        + b"\x03" * 10
        + b"\xff\xda\x00\x08\x01"
        + b"\0" * 9,
        b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0" + b"\0" * 4 + b"\xff\xff\x00\xff\xff\x00" + b"\0" * 8,
        b"RIFF\0\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\xff" + b"\0" * 8,
    ],
    ids=["png", "gif", "jpeg", "webp", "lossless webp"],
)
def test_a_bomb_of_any_format_is_refused_by_its_header(data: bytes) -> None:
    assert "pixels; at most" in refusal(data)


def test_a_frame_beyond_the_screen_counts_as_the_decoder_would_count_it() -> None:
    data = bytearray(encoded(plain(), "GIF"))
    at = data.index(b"\x2c", 13)
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)

    assert "60000 x 60000 pixels" in refusal(bytes(data))


def test_one_pixel_is_an_image_that_looks_like_nothing() -> None:
    picture = open_image(encoded(plain(size=(1, 1)), "PNG"))

    assert (picture.width, picture.height) == (1, 1)
    assert hashes(picture).pdq == hashes(picture).phash == ()
    assert hashes(picture).quality == 0


@FORMATS
def test_a_truncated_image_is_damaged(format: str) -> None:
    data = encoded(photo(size=(300, 200)), format)

    for share in (0.1, 0.5, 0.9):
        assert "damaged" in refusal(data[: int(len(data) * share)])


@FORMATS
def test_a_mutilated_image_is_read_or_refused_and_nothing_else(format: str) -> None:
    data = encoded(photo(size=(80, 60)), format)
    chance = random.Random(7)

    for _ in range(60):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(12, len(data))] = chance.randrange(256)
        with suppress(InvalidInput):
            hashes(open_image(bytes(changed)))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 1_000_000,
        b"\xff\xd8\xff" + b"\x01\xff" * 500_000,
        b"GIF89a\x01\0\x01\0\0\0\0" + b"\x21\xfe\0" * 400_000,
        b"GIF89a\x01\0\x01\0\0\0\0" + b"?" * 400_000,
        png_header(5, 5)[:33] + chunk(b"teXt", b"") * 300_000,
    ],
    ids=["filling", "jpeg markers", "gif comments", "gif garbage", "png chunks"],
)
def test_a_file_of_nothing_but_small_blocks_is_refused_before_it_is_decoded(data: bytes) -> None:
    assert "damaged: it " in refusal(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIDAT" + b"\0" * 20,
        b"GIF89a",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xda\0\x02",
        b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x10\x00\x10\x03" + b"\0" * 10,
        b"RIFF\0\0\0\0WEBPVP8L",
        b"RIFF\0\0\0\0WEBPJUNK" + b"\0" * 20,
    ],
)
def test_a_header_that_ends_or_makes_no_sense_is_damage(data: bytes) -> None:
    assert "damaged" in refusal(data)


def test_frames_that_only_the_decoder_can_count_are_bounded_too() -> None:
    data = animated(*(plain((at * 60, 0, 0)) for at in range(4)), format="WEBP")

    assert "over 3 frames" in refusal(data, limits=Limits(frames=3))


def test_an_image_without_pixels_is_damaged() -> None:
    assert "no pixels" in refusal(png_header(0, 5))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_the_first_the_middle_and_the_last_frame_are_sampled(format: str) -> None:
    frames = [plain(colour) for colour in (RED, RED, GREEN, BLUE, BLUE)]
    frames[1].putpixel((0, 0), (1, 2, 3))  # equal neighbours would be merged
    frames[3].putpixel((9, 9), (250, 250, 250))

    picture = open_image(animated(*frames, format=format))

    assert picture.frames == 5
    middles = [sample.convert("RGB").getpixel((30, 30)) for sample in picture.samples]
    loudest = [max(range(3), key=lambda part: pixel[part]) for pixel in middles]
    assert loudest == [0, 1, 2]


def test_too_many_frames_are_refused() -> None:
    frames = [plain((at, 0, 0)) for at in range(12)]

    assert "over 10 frames" in refusal(animated(*frames), limits=Limits(frames=10))


def test_many_large_frames_are_refused_for_their_sum() -> None:
    frames = [plain((at * 20, 0, 0), size=(100, 100)) for at in range(12)]

    assert "12 frames" in refusal(animated(*frames), limits=Limits(total_pixels=100_000))


def test_an_animation_that_promises_more_frames_than_it_has_is_damaged() -> None:
    data = encoded(plain(), "PNG")
    lie = chunk(b"acTL", struct.pack(">II", 9, 0))

    assert "damaged" in refusal(data[:33] + lie + data[33:])


def test_frames_are_counted_no_further_than_they_may_be() -> None:
    frame = b"\x2c" + b"\0\0\0\0\x01\0\x01\0\0" + b"\x02\x02\x44\x01\x00"
    data = b"GIF89a\x01\0\x01\0\0\0\0" + frame * 500_000 + b";"

    assert "over 1000 frames" in refusal(data)


@pytest.mark.parametrize("value", range(1, 9))
def test_an_orientation_is_applied(value: int) -> None:
    upright = plain(GREEN, size=(64, 32))
    upright.paste(RED, (0, 0, 32, 16))
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what undoes each
    stored = upright.transpose(Image.Transpose(turns[value])) if value > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = value

    picture = open_image(encoded(stored, exif=exif), side=1024)

    assert (picture.width, picture.height) == (64, 32)
    corner = picture.samples[0].getpixel((8, 8))
    assert isinstance(corner, tuple)
    assert corner[0] > 150


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"]
)
def test_unreadable_exif_data_does_not_matter(exif: bytes) -> None:
    assert open_image(encoded(plain(), exif=exif)).width == 64


def test_nothing_that_stood_beside_the_pixels_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"

    picture = open_image(encoded(plain(), exif=exif, comment=b"a name"), side=1024)

    kept = str(picture.samples[0].info)
    assert "secret" not in kept
    assert "name" not in kept


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixel_becomes_grey_or_colour(mode: str) -> None:
    grey = photo().convert("L")
    if mode == "I;16":
        image = Image.fromarray((__import__("numpy").asarray(grey).astype("uint16")) * 257)
    else:
        image = photo().convert(mode)

    picture = open_image(encoded(image, "JPEG" if mode == "CMYK" else "PNG"), side=1024)

    (sample,) = picture.samples
    assert sample.mode in ("L", "RGB")
    assert abs(sum(sample.convert("L").histogram()[:128]) - sum(grey.histogram()[:128])) < 60_000


@pytest.mark.parametrize("ink", [(0, 0, 0, 255), (255, 255, 255, 255)], ids=["black", "white"])
def test_a_drawing_on_nothing_is_seen_whatever_its_colour(ink: tuple[int, ...]) -> None:
    image = plain((*ink[:3], 0), size=(200, 200))
    image.paste(ink, (50, 50, 150, 150))

    (sample,) = open_image(encoded(image, "PNG")).samples

    assert sample.getpixel((100, 100)) != sample.getpixel((10, 10))


def test_a_palette_with_a_transparent_colour_is_read_without_a_warning() -> None:
    image = photo().convert("P")
    image.info["transparency"] = bytes([0, 128, 255] * 85)

    assert open_image(encoded(image, "PNG", transparency=bytes([0, 128, 255] * 85))).width == 640


def test_the_limits_allow_what_a_telephone_takes() -> None:
    assert LIMITS.jpeg_pixels >= 8160 * 6144
    assert LIMITS.jpeg_pixels < 100_000_000 > LIMITS.pixels
