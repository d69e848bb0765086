from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.errors import ConfigurationError
from penstock.models.features import SPEC, FeatureReader, mix, tokens_of
from penstock.models.linear import LinearModel
from training import quantise

HEADS = ["calm", "angry"]
FOLD = {"GROUP": ["cats", "dogs"], "NOT": ["never", "not"]}
SENTENCE = "the cats never sleep , dogs bark at night and nobody minds ! café über"
WORDS = SENTENCE.split()


def write_model(path: Path, *, seed: int = 7, window: int = 8, **changes: Any) -> Path:
    """A model with random weights for the features of random texts over WORDS."""
    random = np.random.default_rng(seed)
    reader = FeatureReader({word: name for name, words in FOLD.items() for word in words})
    hashes = np.unique(
        np.concatenate([reader.read(text.split())[0] for text in random_texts(seed, 40)])
    )
    weights = random.normal(size=(len(hashes), 2))
    chosen = quantise.choose(hashes, weights, keep=1500)
    small, scale = quantise.to_int8(weights[chosen])
    arrays = {
        "hashes": hashes[chosen],
        "weights": small,
        "scale": scale,
        "bias": np.array([-1.0, 0.5]),
        "slope": np.array([1.5, 0.7]),
        "offset": np.array([0.1, -0.2]),
    }
    meta = {
        "name": "toy",
        "heads": HEADS,
        "spec": SPEC,
        "fold": FOLD,
        "window": window,
        "length": {"add": 4.0, "power": 0.5},
    }
    quantise.write(path, arrays, meta | changes)
    return path


def random_texts(seed: int, count: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=random.integers(1, 40))) for _ in range(count)]


def oracle(path: Path, text: str) -> dict[str, float]:
    """The formula of the module's docstring, feature by feature and window by window."""
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(arrays["meta"].tobytes())
    fold = {word: name for name, words in meta["fold"].items() for word in words}
    reader, tokens, block = FeatureReader(fold), tokens_of(text), meta["window"] // 2
    known = {int(h): row for h, row in zip(arrays["hashes"], arrays["weights"], strict=True)}
    best = {}
    starts = range(0, max(len(tokens) - 2 * block, 0) + block, block)
    for start in starts if len(tokens) > 2 * block else [0]:
        size = min(2 * block, len(tokens) - start)
        total = [0, 0]
        for section in reader.sections(tokens):
            for value, place in zip(mix(section.raw), section.positions, strict=True):
                if start <= place < start + 2 * block and int(value) in known:
                    total = [int(a) + int(b) for a, b in zip(total, known[int(value)], strict=True)]
        for n, head in enumerate(HEADS):
            score = arrays["bias"][n] + arrays["scale"][n] * total[n] / math.sqrt(size + 4.0)
            logit = arrays["slope"][n] * score + arrays["offset"][n]
            best[head] = max(best.get(head, -1e9), logit)
    return {head: 1 / (1 + math.exp(-logit)) for head, logit in best.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "toy.npz")


def test_scores_equal_the_formula_computed_feature_by_feature(path: Path) -> None:
    model = LinearModel.load(path)

    for text in [*random_texts(3, 30), "", "cats", "unknown words entirely"]:
        assert model.scores(text) == pytest.approx(oracle(path, text), rel=1e-5)


def test_a_long_text_scores_as_its_riskiest_window(path: Path) -> None:
    model = LinearModel.load(path)
    text = " ".join(random_texts(11, 60))

    scores = model.scores(text)

    assert len(tokens_of(text)) > 32 * 4  # more than one chunk of blocks
    assert scores == pytest.approx(
        oracle(path, text), abs=0.05
    )  # pairs across a chunk's edge differ


def test_many_texts_score_as_one_by_one_and_in_order(path: Path) -> None:
    model = LinearModel.load(path)
    texts = random_texts(5, 12)

    assert model.scores_many(texts) == [model.scores(text) for text in texts]


def test_two_loads_of_one_file_agree_and_share_a_version(path: Path) -> None:
    first, second = LinearModel.load(path), LinearModel.load(path)

    assert first.version == second.version
    assert first.version.startswith("toy+")
    assert first.scores("cats never sleep") == second.scores("cats never sleep")


def test_another_file_has_another_version(path: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.npz", seed=8)

    assert LinearModel.load(other).version != LinearModel.load(path).version


def test_sixteen_threads_get_what_one_gets(path: Path) -> None:
    model = LinearModel.load(path)
    texts = random_texts(9, 400)
    expected = [model.scores(text) for text in texts]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(model.scores, texts))

    assert found == expected


@pytest.mark.parametrize("text", ["\ud800 cats", "\x00\x00", "   ", "🐒" * 500, "a" * 5000, "١٢٣"])
def test_odd_texts_have_scores(path: Path, text: str) -> None:
    scores = LinearModel.load(path).scores(text)

    assert all(0.0 <= score <= 1.0 for score in scores.values())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.npz cannot be read"):
        LinearModel.load(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(content)

    with pytest.raises(ConfigurationError, match="is not a Penstock model"):
        LinearModel.load(damaged)


def test_a_truncated_model_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises(ConfigurationError, match="is not a Penstock model"):
        LinearModel.load(path)


def test_a_file_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, hashes=np.array([{"a": 1}], dtype=object), meta=np.zeros(1, np.uint8))

    with pytest.raises(ConfigurationError, match="is not a Penstock model"):
        LinearModel.load(pickled)


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "toy.npz", heads=["calm"])

    with pytest.raises(ConfigurationError, match="do not fit together"):
        LinearModel.load(path)


def test_a_model_of_other_features_says_how_to_get_a_right_one(tmp_path: Path) -> None:
    path = write_model(tmp_path / "toy.npz", spec="words/0")

    with pytest.raises(ConfigurationError, match=r"'words/0'.*make train"):
        LinearModel.load(path)
