"""What finding one image among 100,000 known ones costs, and what hashing it cost before.

The question is a picture in its eight attitudes, mirrored and turned, at the distances that are
advised for lists (31 of 256 bits for PDQ, 8 of 64 for pHash); nothing matches but planted entries,
so that nothing ends early. Beside it stands the plain way, Python integers one by one, for a single
attitude. Hashing is held against what Pillow takes to decode the same JPEG in full.
"""

from __future__ import annotations

import io
import json
import random
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks.report import Report, ratio, row
from penstock.images import HashIndex, hashes, open_image

CLAIM = "an image is looked up among 100,000 hashes, mirrored and turned too, in 10 ms"
KNOWN, PLANTED = 100_000, 20
SIZE = (1280, 960)
CALLS = 20


def run(rounds: int = 7) -> Report:
    """Measure; milliseconds, a round is the median of its calls, the sides take turns."""
    jpeg = _jpeg()
    found = hashes(open_image(jpeg))
    chance = random.Random(1)
    pdq, phash = HashIndex(256), HashIndex(64)
    known = _fill(pdq, found.pdq, chance, bits=256)
    _fill(phash, found.phash, chance, bits=64)
    numbers = [int.from_bytes(hash, "big") for hash in known]
    asked = int.from_bytes(found.pdq[0], "big")
    variants: dict[str, Callable[[], object]] = {
        "PDQ, 8 attitudes": lambda: pdq.nearest(found.pdq, distance=31),
        "PDQ, 3 frames of 8 attitudes": lambda: pdq.nearest(_frames(found.pdq), distance=31),
        "pHash, 8 attitudes": lambda: phash.nearest(found.phash, distance=8),
        "PDQ, 1 attitude": lambda: pdq.nearest(found.pdq[:1], distance=31),
        "Python integers, 1 attitude": lambda: [
            at for at, number in enumerate(numbers) if (number ^ asked).bit_count() <= 31
        ],
        "decode and hash a JPEG": lambda: hashes(open_image(jpeg)),
        "decode a JPEG in full": lambda: Image.open(io.BytesIO(jpeg)).load(),
    }
    assert len(pdq.nearest(found.pdq, distance=31, most=100)) == PLANTED
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            times[name].append(_median(call))
    return {
        "claim": CLAIM,
        "rows": [row(name, values, "ms") for name, values in times.items()],
        "ratios": {
            "ms_pdq_with_attitudes": ratio(times["PDQ, 8 attitudes"], most=10),
            "ms_phash_with_attitudes": ratio(times["pHash, 8 attitudes"], most=10),
            "ms_pdq_of_an_animation": ratio(times["PDQ, 3 frames of 8 attitudes"], most=30),
            "pdq_per_python_integers": ratio(
                times["PDQ, 1 attitude"], times["Python integers, 1 attitude"], most=0.1
            ),
            "hashing_per_full_decode": ratio(
                times["decode and hash a JPEG"], times["decode a JPEG in full"], most=1.5
            ),
        },
    }


def _median(call: Callable[[], object]) -> float:
    spent = []
    for _ in range(CALLS):
        started = time.perf_counter_ns()
        call()
        spent.append((time.perf_counter_ns() - started) / 1e6)
    return statistics.median(spent)


def _fill(
    index: HashIndex, attitudes: tuple[bytes, ...], chance: random.Random, *, bits: int
) -> list[bytes]:
    """Hashes of nothing, with some a few bits from the image's between them."""
    known = [chance.randbytes(bits // 8) for _ in range(KNOWN)]
    for at in chance.sample(range(KNOWN), PLANTED):
        number = int.from_bytes(chance.choice(attitudes), "big")
        for bit in chance.sample(range(bits), 5):
            number ^= 1 << bit
        known[at] = number.to_bytes(bits // 8, "big")
    index.extend((f"entry_{at}", hash) for at, hash in enumerate(known))
    return known


def _frames(attitudes: tuple[bytes, ...]) -> list[bytes]:
    """As many hashes as three frames have."""
    return [bytes(part ^ mask for part in each) for mask in (0, 0x55, 0xAA) for each in attitudes]


def _jpeg() -> bytes:
    """Clouds of every size: what a photograph is to a hash and to a decoder."""
    chance = np.random.default_rng(1)
    total = np.zeros((SIZE[1], SIZE[0], 3))
    for cells in (3, 6, 12, 24, 48, 96, 192):
        small = Image.fromarray(chance.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(small.resize(SIZE, Image.Resampling.BICUBIC)) / cells**0.5
    scaled = (total - total.min()) / (total.max() - total.min()) * 255
    sink = io.BytesIO()
    Image.fromarray(scaled.astype(np.uint8)).save(sink, "JPEG", quality=90)
    return sink.getvalue()


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 7), indent=2))
