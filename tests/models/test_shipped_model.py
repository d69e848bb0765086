from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from penstock.models.features import SPEC
from penstock.models.linear import LinearModel
from training.classes import fold_classes
from training.sources import HEADS


@pytest.fixture(scope="module")
def model() -> LinearModel:
    return LinearModel.load()


def test_the_shipped_file_is_small_and_complete(model: LinearModel) -> None:
    size = len((resources.files("penstock.models") / "data" / "moderation.npz").read_bytes())

    assert size <= 1_500_000
    assert model.heads == HEADS
    assert model.meta["spec"] == SPEC
    assert model.version.startswith("penstock-moderation-1+")
    assert {"davidson", "edos", "goemotions", "sentences"} <= set(model.meta["licences"])
    assert all(len(digest) == 64 for digest in model.meta["inputs"].values())


def test_the_shipped_file_folds_the_classes_of_this_checkout(model: LinearModel) -> None:
    assert model.meta["fold"] == fold_classes()


@pytest.mark.parametrize(
    ("head", "harmful", "harmless"),
    [
        ("threat", "I will kill you if you come here again.", "Thank you, that was very kind."),
        ("threat", "I know where you live, watch your back tonight", "I know where the shop is"),
        ("abuse", "You are a stupid worthless idiot.", "You are a wonderful person."),
        ("abuse", "shut up, nobody likes you, loser", "close the door, nobody is home"),
        ("hate", "Immigrants are vermin.", "Immigrants opened a bakery here."),
        ("hate", "I hate gay people", "My brother is gay and we are proud of him."),
        ("hate", "Women are too stupid to vote.", "The women's team won the cup on Saturday."),
        ("self_harm", "I want to end my life.", "She feels well again and is back at work."),
        ("violence", "He stabbed him in the throat again and again.", "He cut the bread again."),
        ("sexual", "I want to have sex with you all night", "The soup needs more salt."),
        ("profanity", "what the fuck is this shit", "what on earth is this thing"),
        ("other_language", "Ich habe heute leider keine Zeit.", "Sorry, I have no time today."),
        ("other_language", "Сегодня я остаюсь дома.", "I am staying at home today."),
    ],
)
def test_plain_cases_fall_on_their_sides(
    model: LinearModel, head: str, harmful: str, harmless: str
) -> None:
    assert model.scores(harmful)[head] > 0.5
    assert model.scores(harmless)[head] < 0.3


@pytest.mark.parametrize(
    "text",
    [
        "How do I kill a process that hangs?",
        "The parcel arrived two days late, but support was friendly.",
        "My doctor checked my breast and found nothing.",
        "Liverpool destroyed them in the second half.",
        "Can we move the meeting to Tuesday?",
        "The report counts every person who died in the flood.",
    ],
)
def test_everyday_sentences_are_not_rejected(model: LinearModel, text: str) -> None:
    scores = model.scores(text)

    assert max(score for head, score in scores.items() if head != "other_language") < 0.5


def test_all_weights_are_used_and_finite(model: LinearModel) -> None:
    assert np.isfinite(model.logits("any text at all")).all()
    assert len(model.heads) == 8
