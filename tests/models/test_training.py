from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from penstock.models.features import tokens_of
from penstock.models.linear import LARGEST, slots
from training import measure, quantise
from training.classes import fold_classes
from training.sources import HARMS, own, slice_of


def write_sentences(folder: Path, name: str, *lines: str) -> Path:
    (folder / f"{name}.tsv").write_text("# about\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_labels_of_a_sentence_are_known_and_the_others_denied(tmp_path: Path) -> None:
    (row,) = own(write_sentences(tmp_path, "violence", "violence\tHe hit the wall and the man."))

    assert row.known["violence"][0] == 1
    assert {head for head, (label, _) in row.known.items() if label == 0} >= {"hate", "sexual"}


def test_a_threat_leaves_abuse_open(tmp_path: Path) -> None:
    (row,) = own(write_sentences(tmp_path, "threat", "threat\tI will find you."))

    assert "abuse" not in row.known


def test_a_harmless_sentence_denies_every_harm(tmp_path: Path) -> None:
    (row,) = own(write_sentences(tmp_path, "negatives", "none\tKill the process."))

    assert all(row.known[head][0] == 0 for head in HARMS)


def test_an_unknown_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no label is called"):
        list(own(write_sentences(tmp_path, "abuse", "abusive\tYou there.")))


def test_a_contrast_group_stays_on_one_side_of_the_split(tmp_path: Path) -> None:
    words = [*"abcdefghijklmnopqrstuvwxyz"]
    groups = [f"none\tone {word}\nviolence\ttwo {word}\nnone\tthree {word}\n" for word in words]
    rows = list(own(write_sentences(tmp_path, "pairs_body", *groups)))

    sides = [{row.dev for row in rows[n : n + 3]} for n in range(0, len(rows), 3)]
    assert all(len(side) == 1 for side in sides)
    assert set.union(*sides) == {True, False}


def test_copies_of_a_text_fall_on_the_same_side_of_the_split() -> None:
    assert slice_of("You, there!") == slice_of("you ,  THERE !")


def test_no_word_has_two_classes_and_every_word_is_one_token() -> None:
    words = [word for words in fold_classes().values() for word in words]

    assert len(words) == len(set(words))
    assert [word for word in words if tokens_of(word) != [word]] == []


def test_the_heaviest_features_are_kept_in_order_of_their_hashes() -> None:
    hashes = np.array([9 << 12, 5 << 12, 7 << 12, 1 << 12], dtype=np.uint32)
    weights = np.array([[0.1], [-3.0], [2.0], [0.0]])

    assert quantise.choose(hashes, weights, keep=2).tolist() == [1, 2]


def test_of_two_features_on_one_place_the_heavier_stays() -> None:
    hashes = np.array([(3 << 12) + 1, (3 << 12) + 2, 8 << 12], dtype=np.uint32)
    weights = np.array([[0.5], [0.9], [0.1]])

    chosen = quantise.choose(hashes, weights, keep=3)

    assert chosen.tolist() == [1, 2]
    assert len(np.unique(slots(hashes[chosen]))) == 2


def test_a_head_with_small_weights_keeps_its_features() -> None:
    hashes = np.arange(1, 5, dtype=np.uint32) << np.uint32(12)
    weights = np.array([[10.0, 0.0], [9.0, 0.0], [0.0, 0.002], [0.0, 0.001]])

    assert quantise.choose(hashes, weights, keep=2).tolist() == [0, 2]


def test_no_more_features_than_rows_can_be_numbered() -> None:
    hashes = np.arange(1, LARGEST + 5000, dtype=np.uint32) << np.uint32(12)

    chosen = quantise.choose(hashes, np.ones((len(hashes), 1)), keep=10**6)

    assert len(chosen) == LARGEST


def test_rounding_to_int8_is_off_by_half_a_step_at_most() -> None:
    weights = np.random.default_rng(1).normal(size=(500, 3)) * [1.0, 0.01, 50.0]

    small, scale = quantise.to_int8(weights)

    assert small.dtype == np.int8
    assert (np.abs(small * scale - weights) <= scale / 2 + 1e-12).all()


def test_calibration_recovers_the_curve_that_made_the_labels() -> None:
    random = np.random.default_rng(2)
    scores = random.normal(size=20_000) * 2
    labels = (random.random(20_000) < 1 / (1 + np.exp(-(1.7 * scores - 0.8)))).astype(np.int64)

    slope, offset = quantise.platt(scores, labels, np.ones(20_000))

    assert (slope, offset) == pytest.approx((1.7, -0.8), abs=0.1)


@pytest.mark.parametrize("shift", [-12.0, -4.0, 6.0])
def test_calibration_finds_curves_far_from_where_it_starts(shift: float) -> None:
    random = np.random.default_rng(3)
    scores = random.normal(size=20_000) * 1.5 + shift
    labels = (random.random(20_000) < 1 / (1 + np.exp(-1.2 * (scores - shift)))).astype(np.int64)

    slope, offset = quantise.platt(scores, labels, np.ones(20_000))

    assert (slope, offset / slope) == pytest.approx((1.2, -shift), abs=0.1)


def test_calibration_of_separable_scores_stays_finite() -> None:
    slope, offset = quantise.platt(np.array([-1.0, 1.0]), np.array([0, 1]), np.ones(2))

    assert 0 < slope < 100
    assert abs(offset) < 10


def test_equal_models_have_equal_bytes(tmp_path: Path) -> None:
    arrays = {"a": np.arange(5), "b": np.ones(2)}

    for name in ("first", "second"):
        quantise.write(tmp_path / name, arrays, {"name": "x"})

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_areas_count_pairs_and_steps() -> None:
    scores = np.array([0.9, 0.8, 0.8, 0.1])
    labels = np.array([1, 0, 1, 0])

    assert measure.auroc(scores, labels) == pytest.approx(3.5 / 4)
    assert measure.auprc(scores, labels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_areas_without_both_kinds_are_not_numbers() -> None:
    assert np.isnan(measure.auroc(np.ones(2), np.ones(2, np.int64)))
    assert np.isnan(measure.auprc(np.ones(2), np.zeros(2, np.int64)))


def test_macro_f1_is_the_mean_of_both_sides() -> None:
    said = np.array([True, True, False, False])
    labels = np.array([1, 0, 0, 0])

    assert measure.macro_f1(said, labels) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert measure.best_macro_f1(np.array([0.9, 0.2, 0.1, 0.0]), labels)[0] == 1.0
