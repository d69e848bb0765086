"""Perceptual hashes: what stays nearly equal when an image is scaled, recompressed or turned.

Both compare the strengths of slow waves in an image with their median, a bit for each wave.

* PDQ, 256 bits, after "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm"
  (Facebook, 2019): luma, two passes of a tent filter down to 64 x 64, the 16 x 16 slowest waves of
  the cosine transform without the constant ones. Written as exchange lists write it.
* pHash, 64 bits, as the Python package ImageHash computes it: 32 x 32, the 8 x 8 slowest waves.

A mirror image has the same waves with other signs, a turned one has rows for columns: the eight
attitudes of an image cost little more than one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.images.picture import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

VERSION: Final = "images-1"  # change it with every change of what a hash of an image is
MIN_QUALITY: Final = 50  # PDQ's authors keep no hash below it: too little to tell images apart

_PDQ_SIDE: Final = 64
_PDQ_WAVES: Final = 16
_PDQ_LARGEST: Final = 512  # pixels that the tent filter is given; more change nothing
_PHASH_SIDE: Final = 32
_PHASH_WAVES: Final = 8

Floats = NDArray[np.float64]


class Hashes(msgspec.Struct, frozen=True, array_like=True):
    """What one picture looks like, each sampled frame in eight attitudes (turned and mirrored).

    Empty where a picture has too little in it to be told from others: one pixel, one colour.
    """

    pdq: tuple[bytes, ...]  # 32 bytes each; the first is the picture as it is shown
    phash: tuple[bytes, ...]  # 8 bytes each, in the same order
    quality: int  # 0..100, PDQ's measure, of the best frame: how much there is to see


def hashes(picture: Picture) -> Hashes:
    """The hashes of a picture's sampled frames. Takes milliseconds: for a thread."""
    from PIL.Image import Resampling

    pdq: list[bytes] = []
    phash: list[bytes] = []
    best = 0
    for sample in picture.samples:
        grey = sample.convert("L")
        small = _pdq_pixels(grey, picture)
        quality = _quality(small)
        best = max(best, quality)
        if quality < MIN_QUALITY:
            continue
        pdq += attitudes(_pdq_waves(small), first=1, reverse=True)
        square = grey.resize((_PHASH_SIDE, _PHASH_SIDE), Resampling.LANCZOS)
        phash += attitudes(_phash_waves(square), first=0, reverse=False)
    return Hashes(tuple(dict.fromkeys(pdq)), tuple(dict.fromkeys(phash)), best)


def attitudes(waves: Floats, *, first: int, reverse: bool) -> list[bytes]:
    """The hashes of an image as it is, mirrored, upside down and both, and of all these turned.

    `first` is the number of the slowest wave; `reverse` writes the last bit first.
    """
    signs = 1.0 - 2.0 * ((np.arange(len(waves)) + first) % 2)  # a mirror turns the odd waves
    across, down = waves * signs, waves * signs[:, None]
    upright = np.stack((waves, across, down, across * signs[:, None]))
    every = np.concatenate((upright, upright.transpose(0, 2, 1))).reshape(8, -1)
    bits = every > _median(every, exact=reverse)
    if reverse:
        bits = bits[:, ::-1]
    return [row.tobytes() for row in np.packbits(bits, axis=1)]


def _median(values: Floats, *, exact: bool) -> Floats:
    """Each row's median: a value of the row for PDQ, between the two middle ones for pHash."""
    if not exact:
        return np.asarray(np.median(values, axis=1, keepdims=True))
    middle = (values.shape[1] - 1) // 2
    return np.partition(values, middle, axis=1)[:, middle, None]


def _pdq_pixels(grey: Image, picture: Picture) -> Floats:
    from PIL.Image import Resampling

    width, height = min(grey.width, _PDQ_LARGEST), min(grey.height, _PDQ_LARGEST)
    fitting = grey.resize((width, height), Resampling.BOX)
    pixels = np.asarray(fitting, dtype=np.float64)
    rows = _seen(pixels, _tent(picture.height, grey.height, height))
    return _seen(rows.T, _tent(picture.width, grey.width, width)).T


def _seen(pixels: Floats, tent: _Tent) -> Floats:
    """64 rows of these pixels, each a weighted sum of neighbours.

    Not a product of matrices: for that numpy would start threads, which wait for each other on a
    machine that is busy, a hundred milliseconds where this takes one.
    """
    starts, weights = tent
    total = np.zeros((_PDQ_SIDE, pixels.shape[1]))
    for at in range(weights.shape[1]):
        total += weights[:, at, None] * pixels[starts + at]
    return total


class _Tent(NamedTuple):
    """Where the window of each of 64 places begins, and the weights in it."""

    starts: NDArray[np.intp]
    weights: Floats


@lru_cache(maxsize=64)
def _tent(size: int, sampled: int, given: int) -> _Tent:
    """Two running means over `size` pixels, seen at 64 places.

    The weights are those of the full size, added up where `given` pixels stand for it: the windows
    are wider on their right, and smaller pixels would shift that.
    """
    window = -(-size // (2 * _PDQ_SIDE))
    left, right = window - 1 - window // 2, window // 2
    seen = ((np.arange(_PDQ_SIDE) + 0.5) * size / _PDQ_SIDE).astype(np.intp)
    steps = np.zeros((_PDQ_SIDE, size + 1))
    for row, place in enumerate(seen):
        inner = np.arange(max(0, place - left), min(size, place + right + 1))
        start, end = np.maximum(0, inner - left), np.minimum(size, inner + right + 1)
        weights = 1.0 / ((end - start) * len(inner))  # at the edges of fewer pixels
        np.add.at(steps[row], start, weights)
        np.add.at(steps[row], end, -weights)
    sums = np.zeros_like(steps)
    np.cumsum(np.cumsum(steps, axis=1)[:, :-1], axis=1, out=sums[:, 1:])
    step = -(-size // sampled)  # a sample's pixel stands for so many, its last one for the rest
    edges = np.minimum(np.linspace(0, sampled, given + 1) * step, size)
    dense = np.diff([np.interp(edges, np.arange(size + 1), row) for row in sums], axis=1)
    inside = dense > 1e-9  # what rounding left over is nothing
    width = int(np.max(given - inside[:, ::-1].argmax(axis=1) - inside.argmax(axis=1)))
    starts = np.minimum(inside.argmax(axis=1), given - width)
    return _Tent(starts, np.take_along_axis(dense, starts[:, None] + np.arange(width), axis=1))


def _quality(pixels: Floats) -> int:
    """How much neighbours differ, 0..100; a step of a hundredth counts, less does not."""
    total = 0
    for axis in (0, 1):
        total += int(np.trunc(np.abs(np.diff(pixels, axis=axis)) * (100 / 255)).sum())
    return min(100, total // 90)


def _pdq_waves(pixels: Floats) -> Floats:
    waves = _waves(_PDQ_SIDE, first=1, count=_PDQ_WAVES)
    return np.asarray(waves @ pixels @ waves.T)


def _phash_waves(grey: Image) -> Floats:
    waves = _waves(_PHASH_SIDE, first=0, count=_PHASH_WAVES)
    return np.asarray(waves @ np.asarray(grey, dtype=np.float64) @ waves.T)


@lru_cache(maxsize=4)
def _waves(size: int, *, first: int, count: int) -> Floats:
    """Rows of the cosine transform (DCT-II), all of one scale: only comparisons matter."""
    number = np.arange(first, first + count)[:, None]
    place = np.arange(size)[None, :]
    return np.asarray(np.cos(np.pi / (2 * size) * number * (2 * place + 1)))
