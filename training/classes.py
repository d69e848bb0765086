"""Words that share a fold class: what is learnt about one of them holds for the others.

The classes stand in classes.tsv and go into the model file, so that serving folds exactly as
training did. They carry what the data is too small to teach: which words name groups of people,
weapons, illnesses, courts of law, games.
"""

from __future__ import annotations

from pathlib import Path

CLASSES = Path(__file__).parent / "classes.tsv"


def fold_classes() -> dict[str, list[str]]:
    """Class name to its words, as the model file keeps them."""
    lines = CLASSES.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines if not line.startswith("#"))
    return {name: words.split() for name, words in pairs}


def class_of_word() -> dict[str, str]:
    """The same the other way round."""
    return {word: name for name, words in fold_classes().items() for word in words}
