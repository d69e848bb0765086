"""Perceptual hashes: what they survive, what they do not, and whose they agree with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from penstock.images import MIN_QUALITY, Hashes, hashes, open_image
from tests.images.made import GREY, animated, distance, encoded, photo, plain

SEEDS = range(4)

# Of `photo(seed, (300, 200))` as PNG, by the reference implementations: pdqhash 0.2.8 (Facebook's
# C++) and ImageHash 4.3.2, on 2026-11-22.
REFERENCE: dict[int, tuple[str, int, str]] = {
    0: (
        "da4a372c70709f629949cadd97145aeb13d7258ab895da3d6d4921b8525cb8cd",
        100,
        "e6d93f0e495e44a8",
    ),
    1: (
        "9b470354f08a5142696cc0bdba51a97d5cba6252b52e519de55b56abe315aaab",
        100,
        "dd6ad4eaed0caa20",
    ),
    2: (
        "f52dd66902cba6178d1651689fe9a2b54894f108f768aaef0d56052baa0ff175",
        100,
        "a35778eab57b0b00",
    ),
    3: (
        "7f07eedb85039c056e8501ec60076bfc7efac1f6bc0a1ef0728d42878605af6a",
        100,
        "efabd0f0d8032837",
    ),
}


def of(image: Image.Image, format: str = "PNG", **options: object) -> Hashes:
    return hashes(open_image(encoded(image, format, **options)))


@pytest.mark.parametrize("seed", REFERENCE)
def test_the_hashes_are_those_of_the_reference_implementations(seed: int) -> None:
    found = of(photo(seed, (300, 200)))

    pdq, quality, phash = REFERENCE[seed]
    assert distance(found.pdq[0], bytes.fromhex(pdq)) <= 2
    assert distance(found.phash[0], bytes.fromhex(phash)) <= 2
    assert found.quality == quality


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "change",
    [
        lambda image: encoded(image, quality=30),
        lambda image: encoded(image.resize((320, 240), Image.Resampling.LANCZOS)),
        lambda image: encoded(image.filter(ImageFilter.GaussianBlur(2))),
        lambda image: encoded(image.convert("L")),
        lambda image: encoded(image, "WEBP"),
        lambda image: encoded(image.resize((1280, 960), Image.Resampling.BICUBIC), quality=80),
    ],
    ids=["quality 30", "half size", "blurred", "grey", "webp", "twice the size"],
)
def test_scaling_and_compressing_change_next_to_nothing(change, seed: int) -> None:
    image = photo(seed)
    before = of(image)

    after = hashes(open_image(change(image)))

    assert distance(before.pdq[0], after.pdq[0]) <= 12
    assert distance(before.phash[0], after.phash[0]) <= 2


def test_another_image_is_far_away() -> None:
    one, other = of(photo(1)), of(photo(2))

    assert min(distance(one.pdq[0], each) for each in other.pdq) > 80
    assert min(distance(one.phash[0], each) for each in other.phash) > 12


@pytest.mark.parametrize("turn", Image.Transpose)
def test_a_mirrored_or_turned_image_is_near_one_of_the_attitudes(turn: Image.Transpose) -> None:
    image = photo(3)
    known = of(image)

    turned = of(image.transpose(turn))

    assert len(known.pdq) == len(known.phash) == 8
    assert min(distance(turned.pdq[0], each) for each in known.pdq) <= 16
    assert min(distance(turned.phash[0], each) for each in known.phash) <= 4
    assert distance(turned.pdq[0], known.pdq[0]) > 60


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (64, 48), (2000, 3)])
def test_one_colour_is_no_likeness(size: tuple[int, int]) -> None:
    found = of(plain(GREY, size))

    assert found == Hashes((), (), 0)


def test_a_low_contrast_is_too_little_to_go_by() -> None:
    faint = Image.eval(photo(1), lambda value: 120 + value // 25)

    found = of(faint)

    assert 0 <= found.quality < MIN_QUALITY
    assert found.pdq == ()


def test_every_sampled_frame_is_hashed() -> None:
    frames = [photo(seed, (200, 150)) for seed in (1, 2, 3)]

    found = hashes(open_image(animated(*frames, format="PNG")))

    assert len(found.pdq) == 24
    for alone in map(of, frames):
        assert min(distance(alone.pdq[0], each) for each in found.pdq) <= 2


def test_frames_that_are_alike_are_kept_once() -> None:
    frame = photo(1, (200, 150))
    still = encoded(frame, "PNG", save_all=True, append_images=[frame] * 2, duration=50)

    assert len(hashes(open_image(still)).pdq) == 8


def test_the_bits_are_those_of_the_slowest_waves_written_out() -> None:
    """pHash by its definition, one wave at a time."""
    image = photo(2, (96, 80))
    square = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    pixels = np.asarray(square, dtype=float)

    def wave(row: int, column: int) -> float:
        down = [math.cos(math.pi * row * (2 * y + 1) / 64) for y in range(32)]
        across = [math.cos(math.pi * column * (2 * x + 1) / 64) for x in range(32)]
        return float(np.outer(down, across).ravel() @ pixels.ravel())

    waves = [wave(row, column) for row in range(8) for column in range(8)]
    bits = "".join("1" if value > np.median(waves) else "0" for value in waves)
    expected = int(bits, 2).to_bytes(8, "big")

    assert of(image).phash[0] == expected
