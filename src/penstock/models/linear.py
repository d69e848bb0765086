"""A sparse linear text model: hashed features, int8 weights, calibrated probabilities. numpy only.

The file is an npz (read without pickle) with

    hashes  uint32 [features]         the features that matter, sorted
    weights int8   [features, heads]
    scale, bias, slope, offset  float64 [heads]
    meta    uint8                     JSON: name, heads, spec, fold, length, window, licences ...

A window's score is `bias + scale * sum(rows) / (tokens + length.add) ** length.power`, its
probability `1 / (1 + exp(-(slope * score + offset)))`. A text longer than one window is read in
overlapping windows; what counts is the riskiest one, because a long harmless text around one
harmful sentence must not dilute it.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import ConfigurationError
from penstock.models.features import SPEC, FeatureReader, tokens_of

SLOT_BITS = 20  # a table of 2 MB: with 2**16 slots, two lookups per feature would be needed
LARGEST = (1 << 16) - 1  # rows are numbered by uint16; 0 is the row of what is unknown
_SLOT_SHIFT = np.uint32(32 - SLOT_BITS)
_CHUNK_BLOCKS = (
    32  # tokens are read in chunks of so many blocks: bounds memory for texts of any length
)


class LinearModel:
    """Probability of each head, from a file made by `training/`. Immutable: any thread may ask."""

    def __init__(
        self, *, arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any], digest: str
    ) -> None:
        self.meta = dict(meta)
        self.heads: tuple[str, ...] = tuple(meta["heads"])
        self.version = f"{meta['name']}+{digest[:8]}"
        self._reader = FeatureReader(
            {word: name for name, words in meta["fold"].items() for word in words}
        )
        self._block = int(meta["window"]) // 2
        self._add = float(meta["length"]["add"])
        self._power = float(meta["length"]["power"])
        self._hashes = np.concatenate([np.zeros(1, np.uint32), arrays["hashes"]])
        # as float32: sums of int8 stay exact, and a product of matrices adds rows up much faster
        self._weights = np.zeros((len(self._hashes), len(self.heads)), np.float32)
        self._weights[1:] = arrays["weights"]
        self._rows = np.zeros(1 << SLOT_BITS, np.uint16)
        self._rows[slots(arrays["hashes"])] = np.arange(1, len(self._hashes), dtype=np.uint16)
        # logit = slope * (bias + scale * x) + offset, folded into one product and one sum
        self._factor = arrays["slope"] * arrays["scale"]
        self._constant = arrays["slope"] * arrays["bias"] + arrays["offset"]

    @classmethod
    def load(cls, path: Path | str | None = None) -> LinearModel:
        """Read a model file; without a path the one that ships with the package.

        Raises ConfigurationError, naming the file, when it is missing, damaged or made for other
        features.
        """
        if path is None:
            source = resources.files("penstock.models") / "data" / "moderation.npz"
            name = "the built-in moderation model"
        else:
            source, name = Path(path), str(path)
        try:
            data = source.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"model file {name} cannot be read: {error}") from error
        return cls.read(data, name)

    @classmethod
    def read(cls, data: bytes, name: str) -> LinearModel:
        """The model in the bytes of a file; raises ConfigurationError with `name` if it is none."""
        arrays, meta = _parse(data, name)
        return cls(arrays=arrays, meta=meta, digest=hashlib.sha256(data).hexdigest())

    @property
    def size_bytes(self) -> int:
        """Memory that its tables take."""
        return self._hashes.nbytes + self._weights.nbytes + self._rows.nbytes

    def scores(self, text: str) -> dict[str, float]:
        """Probability (0..1) of each head. 0.05 ms for a short text, about 0.15 ms per kilobyte."""
        logits = self.logits(text)
        return dict(zip(self.heads, (1.0 / (1.0 + np.exp(-logits))).tolist(), strict=True))

    def scores_many(self, texts: Iterable[str]) -> list[dict[str, float]]:
        """The same for several texts, in their order."""
        return [self.scores(text) for text in texts]

    def logits(self, text: str) -> npt.NDArray[np.float64]:
        """Calibrated log-odds of each head, of the riskiest window for each."""
        tokens = tokens_of(text)
        if len(tokens) <= 2 * self._block:
            rows, _ = self._found(tokens)
            total = np.ones(len(rows), np.float32) @ self._weights[rows]
            logits: npt.NDArray[np.float64] = (
                total * (self._factor * self._length(len(tokens))) + self._constant
            )
            return logits
        return self._windows(tokens)

    def _windows(self, tokens: list[str]) -> npt.NDArray[np.float64]:
        """Highest log-odds over windows of two blocks, one block apart."""
        block, heads = self._block, len(self.heads)
        sums = np.zeros((-(-len(tokens) // block), heads))
        step = block * _CHUNK_BLOCKS
        for start in range(0, len(tokens), step):
            rows, positions = self._found(tokens[start : start + step])
            first = start // block
            blocks = np.arange(first, min(first + _CHUNK_BLOCKS, len(sums)))
            inside = (positions // block + first) == blocks[:, None]
            sums[blocks] = inside.astype(np.float32) @ self._weights[rows]
        pairs = sums[:-1] + sums[1:]
        lengths = np.full((len(pairs), 1), 2 * block)
        lengths[-1] = len(tokens) - (len(pairs) - 1) * block
        logits = pairs * (self._factor * self._length(lengths)) + self._constant
        highest: npt.NDArray[np.float64] = logits.max(axis=0)
        return highest

    def _length(self, count: Any) -> Any:
        return (count + self._add) ** -self._power

    def _found(self, tokens: list[str]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
        """Weight rows of the features that the model knows, and the token each belongs to."""
        hashes, positions = self._reader.read(tokens)
        rows = self._rows[hashes >> _SLOT_SHIFT]
        known = (self._hashes[rows] == hashes).nonzero()[0]
        return rows[known], positions[known]


def slots(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Place of each hash in the table; training keeps at most one feature per place."""
    return hashes >> _SLOT_SHIFT


def _parse(data: bytes, name: str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        meta = json.loads(arrays.pop("meta").tobytes())
        heads = len(meta["heads"])
        shapes = {key: arrays[key].shape for key in ("scale", "bias", "slope", "offset")}
        sound = arrays["weights"].shape == (len(arrays["hashes"]), heads)
        sound = sound and set(shapes.values()) == {(heads,)} and len(arrays["hashes"]) <= LARGEST
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ConfigurationError(
            f"model file {name} is not a Penstock model: {error}; make one with `make train`"
        ) from error
    if not sound:
        raise ConfigurationError(f"model file {name} is damaged: its arrays do not fit together")
    if meta.get("spec") != SPEC:
        raise ConfigurationError(
            f"model file {name} was trained on features {meta.get('spec')!r}, this version reads "
            f"{SPEC!r}; train it again with `make train`"
        )
    return arrays, meta
