from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from penstock.images import VIEW_SIDE, open_image, view
from tests.images.made import BLUE, GREEN, RED, animated, encoded, photo, plain


def shown(data: bytes) -> Image.Image:
    jpeg = view(open_image(data, side=VIEW_SIDE))
    image = Image.open(io.BytesIO(jpeg))
    image.load()
    return image


def test_a_model_is_shown_the_picture_in_colour() -> None:
    pixel = shown(encoded(plain(RED, (300, 200)))).getpixel((150, 100))

    assert np.allclose(np.array(pixel), RED, atol=4)


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (12_000, 400), (50, 40)])
def test_it_is_no_larger_than_models_look(size: tuple[int, int]) -> None:
    image = shown(encoded(plain(RED, size)))

    assert max(image.size) <= 2 * VIEW_SIDE
    assert min(image.size) <= VIEW_SIDE
    assert max(image.size) >= min(max(size), VIEW_SIDE)


def test_noise_does_not_make_it_huge() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1600, 1600, 3), np.uint8)

    assert len(view(open_image(encoded(Image.fromarray(noise), "PNG"), side=VIEW_SIDE))) < 700_000


def test_nothing_but_pixels_leaves_the_house() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    data = encoded(photo(), exif=exif, comment=b"a secret name") + b"secret trailer"

    jpeg = view(open_image(data, side=VIEW_SIDE))

    assert b"secret" not in jpeg


def test_an_animation_is_a_strip_of_its_frames() -> None:
    frames = [plain(colour, (120, 90)) for colour in (RED, GREEN, BLUE)]

    strip = shown(animated(*frames))

    assert strip.width > 3 * 120 > strip.height
    for at, colour in zip((60, 190, 316), (RED, GREEN, BLUE), strict=True):
        assert np.allclose(np.array(strip.getpixel((at, 45))), colour, atol=25)
