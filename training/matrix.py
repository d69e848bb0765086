"""Turns rows into a sparse matrix through the extractor that serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from penstock.models.features import KINDS, FeatureReader, mix, tokens_of
from training.sources import Row

LENGTH_ADD, LENGTH_POWER = 4.0, 0.5
KIND_WEIGHT = {
    "word": 1.0,
    "class": 1.0,
    "chars": 0.5,
    "bigram": 1.0,
    "folded": 1.0,
    "skip": 0.7,
    "triple": 1.0,
}


@dataclass(slots=True)
class Features:
    """`counts` [rows, features] with the hash and the kind of each column; `lengths` in tokens."""

    counts: Any
    hashes: npt.NDArray[np.uint32]
    kinds: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.float64]


def read(
    rows: Sequence[Row], reader: FeatureReader, *, fitted: npt.NDArray[np.bool_], minimum: int
) -> Features:
    """Count the features of every row; those in `minimum` rows for fitting become columns."""
    hashes, kinds, owners, lengths = [], [], [], []
    for n, row in enumerate(rows):
        tokens = tokens_of(row.text)
        sections = reader.sections(tokens)
        hashes.append(mix(np.concatenate([section.raw for section in sections])))
        kinds += [np.full(len(s.raw), KINDS.index(s.kind), np.uint8) for s in sections]
        owners.append(np.full(len(hashes[-1]), n, np.int32))
        lengths.append(len(tokens))
    names, first, column = np.unique(np.concatenate(hashes), return_index=True, return_inverse=True)
    owner = np.concatenate(owners)
    counts = sparse.csr_matrix(
        (np.ones(len(column), np.float32), (owner, column)), shape=(len(rows), len(names))
    )
    frequent = np.asarray((counts[fitted] > 0).sum(axis=0)).ravel() >= minimum
    return Features(
        counts[:, frequent],
        names[frequent],
        np.concatenate(kinds)[first][frequent],
        np.array(lengths, dtype=np.float64),
    )


def weigh(
    features: Features, *, fitted: npt.NDArray[np.bool_]
) -> tuple[Any, npt.NDArray[np.float64]]:
    """Scale counts for fitting; also the factor of each column, which goes into its weights."""
    frequency = np.asarray((features.counts[fitted] > 0).sum(axis=0)).ravel()
    rarity = np.log((1 + fitted.sum()) / (1 + frequency)) + 1
    column = np.array([KIND_WEIGHT[kind] for kind in KINDS])[features.kinds] * rarity / 4
    row = (features.lengths + LENGTH_ADD) ** -LENGTH_POWER
    return (sparse.diags(row) @ features.counts @ sparse.diags(column)).tocsr(), column
