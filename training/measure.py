"""Figures of merit over scores and labels, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def auroc(scores: Floats, labels: Labels) -> float:
    """Chance that a positive scores above a negative; ties count half. nan without both kinds."""
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    if not positives or not negatives:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]
    return float(
        (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def auprc(scores: Floats, labels: Labels) -> float:
    """Average precision: the area under the precision-recall steps. nan without positives."""
    if not labels.sum():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = labels[order].cumsum()
    last = np.append(np.diff(scores[order]) != 0, True)  # equal scores are one step
    recall = hits[last] / labels.sum()
    precision = hits[last] / (np.flatnonzero(last) + 1)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def f1(said: npt.NDArray[np.bool_], labels: Labels) -> float:
    """F1 of the positive class."""
    hits = int((said & (labels == 1)).sum())
    return 2 * hits / max(int(said.sum()) + int(labels.sum()), 1)


def macro_f1(said: npt.NDArray[np.bool_], labels: Labels) -> float:
    """Mean F1 of both classes."""
    return (f1(said, labels) + f1(~said, 1 - labels)) / 2


def best_macro_f1(scores: Floats, labels: Labels) -> tuple[float, float]:
    """Highest macro-F1 over a hundred thresholds, and the threshold."""
    cuts = np.unique(np.quantile(scores, np.linspace(0.01, 0.99, 99)))
    found = [(macro_f1(scores > cut, labels), float(cut)) for cut in cuts]
    return max(found)
