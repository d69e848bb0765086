"""Fits the heads, prunes them, rounds them to int8 and calibrates them. Deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

from penstock.models.features import SPEC, FeatureReader
from training import matrix, quantise
from training.classes import class_of_word, fold_classes
from training.sources import HEADS, Row

NAME = "penstock-moderation-1"
WINDOW = 128  # tokens
MINIMUM = 3  # rows in which a feature must occur
KEEP = 40_000
CLIP = 0.9995
COST = dict.fromkeys(HEADS, 1.0)  # C of the logistic regression, chosen on dev
BALANCE = 0.15  # positives of a head weigh at least this share of its negatives ...
LARGEST_BALANCE = 20.0  # ... unless each would have to count more than so many times
# Share of positives that calibration assumes: the traffic that we expect to be asked about. Hate is
# assumed more frequent than it is, since a miss costs more than a look by a person.
CALIBRATION_SHARE = dict.fromkeys(HEADS, 0.1) | {"hate": 0.2}

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Known:
    """What the rows say about one head: which rows, their labels, their weights."""

    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    weights: Floats


def known(rows: Sequence[Row], head: str, *, dev: bool) -> Known:
    """Rows of one side of the split that know this head."""
    chosen = [n for n, row in enumerate(rows) if head in row.known and row.dev == dev]
    labels = np.array([rows[n].known[head][0] for n in chosen], dtype=np.int64)
    weights = np.array([rows[n].known[head][1] for n in chosen], dtype=np.float64)
    return Known(np.array(chosen, dtype=np.int64), labels, weights)


def fit_head(values: Any, about: Known, *, cost: float) -> tuple[Floats, float]:
    """Weights and bias of one logistic regression; a head without positives says no to all."""
    positive = about.labels == 1
    if not positive.any() or positive.all():
        return np.zeros(values.shape[1]), -4.0
    weights = about.weights.copy()
    wanted = BALANCE * weights[~positive].sum() / weights[positive].sum()
    weights[positive] *= min(max(wanted, 1.0), LARGEST_BALANCE)
    model = LogisticRegression(C=cost, solver="liblinear", random_state=0, tol=1e-3, max_iter=300)
    model.fit(values[about.rows], about.labels, sample_weight=weights)
    return model.coef_[0].astype(np.float64), float(model.intercept_[0])


def fit_all(values: Any, rows: Sequence[Row]) -> tuple[Floats, Floats]:
    """Weights [features, heads] and biases [heads] of all heads."""
    jobs = (delayed(fit_head)(values, known(rows, h, dev=False), cost=COST[h]) for h in HEADS)
    fitted = Parallel(n_jobs=2)(jobs)
    return np.column_stack([w for w, _ in fitted]), np.array([b for _, b in fitted])


def train(
    rows: Sequence[Row], *, keep: int = KEEP
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Arrays and meta of a model file (without licences and inputs, which the caller knows)."""
    fold = fold_classes()
    reader = FeatureReader(class_of_word())
    fitted = np.array([not row.dev for row in rows])
    features = matrix.read(rows, reader, fitted=fitted, minimum=MINIMUM)
    values, factor = matrix.weigh(features, fitted=fitted)
    print(f"{values.shape[0]} rows, {values.shape[1]} features")
    weights, _ = fit_all(values, rows)
    chosen = quantise.choose(features.hashes, weights, keep=keep)
    small = values[:, chosen]
    weights, bias = fit_all(small, rows)  # again on the kept ones: wins back what pruning lost
    served, scale = quantise.to_int8(weights * factor[chosen][:, None], clip=CLIP)
    length = (features.lengths + matrix.LENGTH_ADD) ** -matrix.LENGTH_POWER
    scores = (features.counts[:, chosen] @ served.astype(np.float64)) * scale * length[
        :, None
    ] + bias
    slope, offset = calibrate(scores, rows)
    arrays = {
        "hashes": features.hashes[chosen], "weights": served, "scale": scale,
        "bias": bias, "slope": slope, "offset": offset,
    }  # fmt: skip
    meta = {
        "name": NAME, "heads": list(HEADS), "spec": SPEC, "fold": fold, "window": WINDOW,
        "length": {"add": matrix.LENGTH_ADD, "power": matrix.LENGTH_POWER},
    }  # fmt: skip
    return arrays, meta


def calibrate(scores: Floats, rows: Sequence[Row]) -> tuple[Floats, Floats]:
    """Platt's curve of each head on the dev rows."""
    curves = []
    for place, head in enumerate(HEADS):
        about = known(rows, head, dev=True)
        positive = about.labels == 1
        if positive.sum() < 5:
            curves.append((1.0, 0.0))
            continue
        weights = about.weights.copy()
        share = CALIBRATION_SHARE[head] / (1 - CALIBRATION_SHARE[head])
        weights[positive] *= share * weights[~positive].sum() / weights[positive].sum()
        weights *= len(weights) / weights.sum()
        curves.append(quantise.platt(scores[about.rows, place], about.labels, weights))
    return np.array([slope for slope, _ in curves]), np.array([offset for _, offset in curves])


def save(path: Path, arrays: dict[str, Any], meta: dict[str, Any]) -> int:
    """Write the model file; returns its size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return quantise.write(path, arrays, meta)
