"""Trains the moderation model: `python -m training.train DATA [--out FILE] [--check]`.

DATA holds the folders davidson, edos and goemotions; it is read and never copied. `--check` trains
twice on a tenth of the rows and compares: the dev F1 of every head may differ by 0.002 at most.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penstock.models.linear import LinearModel
from training import fit
from training.compose import composed
from training.sources import HEADS, Row, inputs, read_all, slice_of

OUT = Path(__file__).parent.parent / "src" / "penstock" / "models" / "data" / "moderation.npz"
LICENCES = {
    "davidson": "t-davidson/hate-speech-and-offensive-language, MIT",
    "edos": "rewire-online/edos, CC0-1.0",
    "goemotions": "google-research GoEmotions via monologg/GoEmotions-pytorch, Apache-2.0",
    "sentences": "training/sentences, written for Penstock, Apache-2.0",
}
LARGEST_FILE = 1_500_000
TOLERANCE = 0.002


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, write, say what came out."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", action="store_true", help="train twice on a tenth and compare")
    options = parser.parse_args(arguments)
    rows = [*read_all(options.data), *composed()]
    if options.check:
        return check(rows)
    arrays, meta = fit.train(rows)
    meta |= {"licences": LICENCES, "inputs": inputs(options.data)}
    size = fit.save(options.out, arrays, meta)
    model = LinearModel.load(options.out)
    print(f"{options.out}: {model.version}, {size:,} bytes, {len(arrays['hashes']):,} features")
    if size > LARGEST_FILE:
        print(f"too large: at most {LARGEST_FILE:,} bytes are allowed", file=sys.stderr)
        return 1
    return 0


def check(rows: Sequence[Row]) -> int:
    """Train twice on the same tenth; 1 when a head's dev F1 moved by more than the tolerance."""
    part = [row for row in rows if slice_of(f"{row.text} again") % 10 == 0]
    first, second = (_dev_f1(part) for _ in range(2))
    worst = max(abs(first[head] - second[head]) for head in HEADS)
    print(f"{len(part)} rows, twice: dev F1 differs by {worst:.5f} at most ({TOLERANCE} allowed)")
    return int(worst > TOLERANCE)


def _dev_f1(rows: Sequence[Row]) -> dict[str, float]:
    arrays, meta = fit.train(rows, keep=4000)
    model = LinearModel(arrays=arrays, meta=meta, digest="0" * 64)
    return {head: _f1(model, rows, head) for head in HEADS}


def _f1(model: LinearModel, rows: Sequence[Row], head: str) -> float:
    about: Any = fit.known(rows, head, dev=True)
    said = np.array([model.scores(rows[n].text)[head] > 0.5 for n in about.rows], dtype=bool)
    hits = int((said & (about.labels == 1)).sum())
    return 2 * hits / max(int(said.sum() + about.labels.sum()), 1)


if __name__ == "__main__":
    raise SystemExit(main())
