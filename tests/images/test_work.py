"""How much work a small file may cost: scans, frames and texts that no encoder ever writes.

None of these files is large. Each would have kept a decoder busy for seconds to minutes.
"""

from __future__ import annotations

import struct
import zlib

import pytest
from PIL import Image

from penstock.errors import InvalidInput
from penstock.images import Limits, open_image
from penstock.images.headers import outline
from penstock.images.jpeg import SCANS
from tests.images.made import BLUE, RED, animated, chunk, encoded, photo, plain, png_header

END = b"\xff\xd9"
SCAN = b"\xff\xda"


def refused(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(InvalidInput) as error:
        open_image(data, limits=limits or Limits())
    return error.value.detail


def repeated(data: bytes, times: int) -> bytes:
    """A JPEG whose last scan comes that many times more."""
    last = data[data.rindex(SCAN) : -2]
    return data[:-2] + last * times + END


def grey(size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    return encoded(Image.new("L", size, 128), "JPEG", **options)


def test_a_scan_that_is_sent_again_and_again_is_refused() -> None:
    bomb = repeated(grey((4000, 4000), progressive=True), 300)

    assert len(bomb) < 100_000
    assert "over 32 scans" in refused(bomb)


def test_scans_count_by_the_pixels_that_they_go_over() -> None:
    data = repeated(grey((400, 300), progressive=True), 4)

    assert open_image(data, limits=Limits(jpeg_samples=400 * 300 * 10)).width == 400
    assert "10 passes" in refused(data, Limits(jpeg_samples=400 * 300 * 10 - 1))


def test_the_largest_image_may_have_the_scans_that_encoders_write() -> None:
    data = encoded(photo(), "JPEG", progressive=True)

    assert outline("jpeg", data, frames=1).passes * Limits().jpeg_pixels <= Limits().jpeg_samples


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_what_encoders_write_is_read(mode: str, progressive: bool) -> None:
    data = encoded(photo().convert(mode), "JPEG", progressive=progressive)

    assert open_image(data).width == 640
    assert data.count(SCAN) < SCANS


def test_a_baseline_image_has_no_more_scans_than_colour_components() -> None:
    assert "over 1 scans" in refused(repeated(grey(), 1))


@pytest.mark.parametrize("kind", [0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCC, 0xCF, 0xDE])
def test_kinds_of_jpeg_that_nobody_sends_are_not_read(kind: int) -> None:
    data = grey().replace(b"\xff\xc0", bytes((0xFF, kind)), 1)

    assert "is not read" in refused(data)


def test_scans_of_a_preview_or_of_a_second_image_do_not_count() -> None:
    preview = grey((16, 16)) * 40
    aside = b"\xff\xe2" + struct.pack(">H", len(preview) + 2) + preview
    whole = grey()

    assert open_image(whole[:2] + aside + whole[2:] + preview).width == 64


def test_the_decoder_is_given_no_marker_that_the_walk_did_not_see() -> None:
    whole = grey()
    torn = b"\xff\xff\xe1\x00\x02\xda" + b"\x00" * 8  # without the segment: FF DA
    data = whole[:2] + torn + whole[2:]

    given = outline("jpeg", data, frames=1).bare

    assert given == outline("jpeg", whole, frames=1).bare
    assert open_image(data).width == 64


def test_a_jpeg_that_is_filled_up_with_nothing_is_damaged() -> None:
    data = grey()

    assert "filled up" in refused(data[:-2] + b"\xff" * 100_000 + END)


def test_two_frames_in_one_jpeg_are_damage() -> None:
    data = grey()
    at = data.index(b"\xff\xc0")
    frame = data[at : at + 13]

    assert "begins twice" in refused(data[:at] + frame + data[at:])
    assert "begins twice" in refused(data[:-2] + data)


def test_a_scan_of_components_that_do_not_exist_is_damage() -> None:
    data = bytearray(grey())
    data[data.index(SCAN) + 4] = 3

    assert "components" in refused(bytes(data))


@pytest.mark.parametrize(
    ("kind", "head"),
    [(b"iCCP", b"a\0\0"), (b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\x01\0\0\0")],
)
@pytest.mark.parametrize("behind", [False, True])
def test_compressed_texts_and_profiles_are_not_inflated(
    kind: bytes, head: bytes, behind: bool
) -> None:
    bomb = chunk(kind, head + zlib.compress(bytes(2_000_000), 9))  # Pillow refuses it, if it looks
    whole = encoded(plain(), "PNG")
    at = len(whole) - 12 if behind else 33
    data = whole[:at] + bomb + whole[at:]

    assert open_image(data).width == 64
    assert outline("png", data, frames=1).bare == whole


def test_a_png_that_begins_twice_is_damage() -> None:
    data = png_header(5, 5)

    assert "begins twice" in refused(data[:33] + png_header(9000, 9000)[8:33] + data[33:])


def test_frames_that_no_animation_announces_are_not_decoded() -> None:
    moving = animated(plain(RED), plain(BLUE), format="PNG")
    at = moving.index(b"acTL") - 4
    still = moving[:at] + moving[at + 20 :]

    assert b"fdAT" not in outline("png", still, frames=9).bare
    assert open_image(still).frames == 1


def gif_frame(side: int) -> bytes:
    return b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x44\x01\x00"


def test_a_gif_has_no_frames_for_the_decoder_that_the_walk_did_not_see() -> None:
    inner = b"\0" * 31 + b"\0" + gif_frame(300)
    comment = b"\x21\xfe" + bytes((len(inner),)) + inner + b"\0"
    misread = b"\x21\x01\0"  # Pillow reads on behind it: 33 bytes, up to the hidden frame
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0" * 6

    picture = open_image(screen + gif_frame(1) + misread + comment + gif_frame(1) + b";")

    assert picture.frames == 2
    assert {sample.size for sample in picture.samples} == {(1, 1)}


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_frames_that_take_too_long_are_decoded_no_further(format: str) -> None:
    data = animated(*(plain((at * 60, 0, 0)) for at in range(4)), format=format)

    assert "take too long" in refused(data, Limits(seconds=0.0))


def test_one_frame_has_no_further_one_to_stop_before() -> None:
    assert open_image(encoded(plain(), "WEBP"), limits=Limits(seconds=0.0)).frames == 1


def test_frames_of_a_webp_are_bounded_before_its_decoder_is_made() -> None:
    head = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff\x0f\0\xff\x0f\0"

    assert "10 frames of them" in refused(head + b"ANMF" * 10)
    assert "over 1000 frames" in refused(head + b"ANMF" * 1001)
