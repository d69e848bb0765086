"""From fitted weights to the file that ships: choose, round, calibrate, write. numpy only."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.models.linear import LARGEST, slots

Floats = npt.NDArray[np.float64]


def choose(hashes: npt.NDArray[np.uint32], weights: Floats, *, keep: int) -> npt.NDArray[np.int64]:
    """Columns of the features that matter most, in order of their hashes.

    A feature matters as much as its largest weight, each head measured by its own spread, so that
    no head with small weights loses its words. Where two fall on one place of the runtime's table,
    the larger stays.
    """
    spread = np.sqrt((weights**2).mean(axis=0)) + 1e-12
    worth = np.abs(weights / spread).max(axis=1)
    order = np.lexsort((hashes, -worth))
    order = order[worth[order] > 0]
    _, first = np.unique(slots(hashes[order]), return_index=True)
    best = order[np.sort(first)][: min(keep, LARGEST)]
    return best[np.argsort(hashes[best])]


def to_int8(weights: Floats, *, clip: float = 1.0) -> tuple[npt.NDArray[np.int8], Floats]:
    """Weights as int8 and the scale of each head; `clip` < 1 cuts the largest for finer steps."""
    largest = (
        np.quantile(np.abs(weights), clip, axis=0) if clip < 1 else np.abs(weights).max(axis=0)
    )
    scale = np.maximum(largest, 1e-12) / 127
    return np.clip(np.rint(weights / scale), -127, 127).astype(np.int8), scale


def platt(scores: Floats, labels: npt.NDArray[np.int64], weights: Floats) -> tuple[float, float]:
    """Slope and offset of the logistic curve, by Newton's method on smoothed labels (Platt)."""
    positive, negative = weights[labels == 1].sum(), weights[labels == 0].sum()
    target = np.where(labels == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    inputs = np.column_stack([scores, np.ones_like(scores)])

    def loss(curve: Floats) -> float:
        logits = inputs @ curve
        value = weights @ (np.logaddexp(0.0, logits) - target * logits)
        return float(value + 5e-4 * ((curve - [1, 0]) ** 2).sum())

    curve = np.array([1.0, 0.0])
    for _ in range(200):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ curve, -40, 40)))
        gradient = inputs.T @ (weights * (chance - target)) + 1e-3 * (curve - [1, 0])
        bend = weights * chance * (1 - chance)
        step = np.linalg.solve(inputs.T @ (bend[:, None] * inputs) + 1e-3 * np.eye(2), gradient)
        while loss(curve - step) > loss(curve) and np.abs(step).max() > 1e-9:
            step = step / 2  # a full step overshoots when the scores lie far from the curve
        if np.abs(step).max() <= 1e-9:
            break
        curve = curve - step
    return max(float(curve[0]), 1e-3), float(curve[1])


def write(path: Path, arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]) -> int:
    """Write the model, equal contents as equal bytes: no clock gets in. Returns its size."""
    members = dict(arrays)
    text = json.dumps(meta, sort_keys=True, ensure_ascii=False)
    members["meta"] = np.frombuffer(text.encode(), dtype=np.uint8)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, members[name], allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue())
    return path.stat().st_size
