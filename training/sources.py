"""Reads the open data sets and our own sentences into rows that say what is known about each text.

A row knows the label of some heads and nothing about the others: a tweet judged `offensive` says
nothing about self-harm.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from penstock.models.features import tokens_of
from training.classes import fold_classes

HARMS = ("abuse", "hate", "threat", "sexual", "violence", "self_harm", "profanity")
HEADS = (*HARMS, "other_language")
SENTENCES = Path(__file__).parent / "sentences"
OWN_WEIGHT = 6.0
OTHER_GROUP_WEIGHT = (
    0.5  # of an EDOS row that is "not sexist" but names another group than women and men
)

# A row that carries the label on the left, and not the one on the right, leaves the right one open.
_OPEN = {
    "abuse": {"profanity"},
    "hate": {"abuse", "profanity"},
    "threat": {"abuse", "violence"},
    "sexual": {"profanity", "abuse"},
    "violence": set(),
    "self_harm": {"violence"},
    "profanity": set(),
}
_CALM_NOT = {2, 3, 10, 11}  # anger, annoyance, disapproval, disgust
_NAMES = (
    "john",
    "maria",
    "ahmed",
    "wei",
    "sarah",
    "tom",
    "aisha",
    "david",
    "priya",
    "anna",
    "luis",
    "emma",
)
_FAITHS = ("christian", "muslim", "jewish", "hindu", "catholic", "buddhist", "sikh", "atheist")
_SEXES = {
    *("women", "woman", "girls", "female", "females", "wives", "mothers", "feminists"),
    *("men", "man", "boys", "male", "males", "husbands"),
}
_OTHER_GROUPS = set(fold_classes()["GROUP"]) - _SEXES
_RETWEET = re.compile(r"\bRT\b")


@dataclass(slots=True)
class Row:
    """A text, where it is from, and for each head of which something is known: (label, weight)."""

    text: str
    source: str
    dev: bool
    known: dict[str, tuple[int, float]] = field(default_factory=dict)
    facts: dict[str, int] = field(
        default_factory=dict
    )  # labels of the source itself, for the report

    def mark(self, label: int, weight: float, *heads: str) -> None:
        """Record `label` for these heads."""
        for head in heads:
            self.known[head] = (label, weight)


def slice_of(text: str) -> int:
    """A number from 0 to 99 by the words alone: copies of a text fall on the same side."""
    words = " ".join(tokens_of(text))
    return (
        int.from_bytes(hashlib.sha256(words.encode("utf-8", "replace")).digest()[:4], "big") % 100
    )


def read_all(data: Path, *, sentences: Path = SENTENCES) -> list[Row]:
    """Every row of every source, ours first; a text that a source has twice is kept once."""
    seen: set[tuple[str, str]] = set()
    rows = []
    for row in (*own(sentences), *davidson(data), *edos(data), *goemotions(data)):
        key = (row.source, " ".join(tokens_of(row.text)))
        if key[1] and key not in seen:
            seen.add(key)
            rows.append(row)
    return rows


def inputs(data: Path, *, sentences: Path = SENTENCES) -> dict[str, str]:
    """SHA-256 of every file that `read_all` reads."""
    files = [
        data / name for name in ("davidson/train.csv.gz", "edos/train.csv.gz", "edos/dev.csv.gz")
    ]
    files += [data / "goemotions/train.tsv.gz", *sorted(sentences.glob("*.tsv"))]
    files += sorted(Path(__file__).parent.glob("*.tsv"))
    return {
        f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def own(folder: Path) -> Iterator[Row]:
    """Our own sentences: `labels<TAB>text`; comma-separated, `none`, or a language code.

    In pairs_*.tsv an empty line ends a group of sentences of one form, which stays on one side of
    the split: a sentence whose twin with the other label was fitted tells nothing on the dev side.
    """
    for path in sorted(folder.glob("*.tsv")):
        first = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.strip() or line.startswith("#"):
                first = ""
                continue
            labels, _, text = line.partition("\t")
            first = first if first and path.stem.startswith("pairs_") else text
            row = Row(text.strip(), f"own/{path.stem}", slice_of(first) < 20)
            _own_labels(row, {label.strip() for label in labels.split(",")}, path.stem)
            yield row


def _own_labels(row: Row, labels: set[str], name: str) -> None:
    if name == "other_languages":
        row.mark(1, OWN_WEIGHT, "other_language")
        row.mark(0, 0.3, *HARMS)
        return
    unknown = labels - {*HARMS, "none", "en"}
    if unknown:
        raise ValueError(f"{name}.tsv: no label is called {sorted(unknown)}: {row.text!r}")
    row.mark(0, OWN_WEIGHT, "other_language")
    if labels == {"en"}:
        return
    open_ = set().union(*(_OPEN[label] for label in labels if label != "none"))
    for head in HARMS:
        if head in labels or head not in open_:
            row.mark(int(head in labels), OWN_WEIGHT, head)


def davidson(data: Path) -> Iterator[Row]:
    """Tweets with votes. Biased against African-American English: `offensive` is no abuse."""
    with gzip.open(data / "davidson" / "train.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            text = _RETWEET.sub(" ", html.unescape(record["tweet"]))
            row = Row(text, "davidson", slice_of(text) < 12)
            row.facts["offensive"] = int(record["class"] != "2")
            row.facts["hate"] = int(record["class"] == "0")
            row.mark(0, 0.3, "other_language")
            votes = {
                name: int(record[name]) for name in ("hate_speech", "offensive_language", "neither")
            }
            _davidson_labels(row, votes, int(record["count"]))
            yield row


def _davidson_labels(row: Row, votes: dict[str, int], count: int) -> None:
    clean, hateful = votes["neither"] / count, votes["hate_speech"] / count
    if clean == 1:
        row.mark(0, 1.0, "abuse", "profanity")
        row.mark(0, 0.4, "hate", "threat", "violence", "sexual", "self_harm")
        return
    if clean <= 1 / 3:
        row.mark(1, 0.5 if hateful > 0.5 else 1.0, "profanity")
    if hateful > 0.5:
        row.mark(1, hateful, "hate", "abuse")
    elif clean == 0 and hateful == 0 and _is_directed(row.text):
        row.mark(1, 0.5, "abuse")


def _is_directed(text: str) -> bool:
    """Whether somebody is spoken to: what makes a coarse word an insult."""
    spoken_to = {"you", "your", "u", "ur", "you're", "youre", "yo"}  # codespell:ignore youre
    return not spoken_to.isdisjoint(tokens_of(text))


def edos(data: Path) -> Iterator[Row]:
    """Sexist or not, from Gab and Reddit; "not" may well be hateful against another group."""
    for split in ("train", "dev"):
        with gzip.open(
            data / "edos" / f"{split}.csv.gz", "rt", encoding="utf-8", newline=""
        ) as file:
            for record in csv.DictReader(file):
                text = record["text"].replace("[USER]", "@user").replace("[URL]", "http://x")
                row = Row(text, "edos", split == "dev")
                sexist = int(record["label_sexist"] == "sexist")
                row.facts["sexist"] = sexist
                row.mark(0, 0.3, "other_language")
                others = not sexist and not _OTHER_GROUPS.isdisjoint(tokens_of(text))
                row.mark(sexist, OTHER_GROUP_WEIGHT if others else 1.0, "hate")
                threat = record["label_category"].startswith("1.")
                if threat:
                    row.mark(1, 0.7, "threat")
                else:
                    row.mark(0, 0.3, "threat", "self_harm")
                yield row


def goemotions(data: Path) -> Iterator[Row]:
    """Reddit comments; those without anger or disgust stand for what people say in peace."""
    with gzip.open(data / "goemotions" / "train.tsv.gz", "rt", encoding="utf-8") as file:
        for line in file:
            text, labels, identity = line.rstrip("\n").split("\t")
            pick = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4], "big")
            text = text.replace("[NAME]", _NAMES[pick % len(_NAMES)])
            text = text.replace("[RELIGION]", _FAITHS[pick % len(_FAITHS)])
            row = Row(text, "goemotions", slice_of(text) < 12)
            row.mark(0, 0.3, "other_language")
            if _CALM_NOT.isdisjoint(map(int, labels.split(","))):
                row.facts["calm"] = 1
                row.mark(0, 0.5, *HARMS)
            else:
                row.mark(0, 0.3, "threat", "sexual", "self_harm")
            yield row
