"""Measures the model on our dev split: `python -m training.evaluate DATA [--model F] [--report F]`.

With `--regressions FILE`, what people overturned is judged anew too, or alone without DATA: see
`regressions.py`.

The dev split is EDOS' own, a hashed slice of Davidson and GoEmotions train, and a fifth of our
sentences. Needs no scikit-learn. Writes the tables of training/REPORT.md, between its two marks;
the words around them are written by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from penstock.models.features import tokens_of
from penstock.models.linear import LinearModel
from training import measure
from training.groups import FAMILIES, NEUTRAL
from training.regressions import replay
from training.sources import HARMS, HEADS, Row, read_all

REPORT = Path(__file__).parent / "REPORT.md"
BEGIN, END = "<!-- begin: written by training/evaluate.py -->", "<!-- end -->"
APPROVE, REJECT = 0.2, 0.8  # the default bands of the moderation policy
LONG = 12  # calm comments that are joined into one long text

Floats = npt.NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and put them into the report."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--regressions", type=Path, default=None)
    options = parser.parse_args(arguments)
    if options.regressions is not None:
        print("\n".join(replay(options.regressions)))
    if options.data is None:
        if options.regressions is None:
            parser.error("say what to measure on: DATA=folder, REGRESSIONS=file.jsonl, or both")
        return 0
    model = LinearModel.load(options.model)
    rows = [row for row in read_all(options.data) if row.dev]
    scores = np.array([[*model.scores(row.text).values()] for row in rows])
    text = "\n".join(tables(model, rows, scores))
    print(text)
    before, _, rest = options.report.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    options.report.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return 0


def tables(model: LinearModel, rows: Sequence[Row], scores: Floats) -> Iterator[str]:
    """The report's lines."""
    yield f"Model `{model.version}`, {len(rows):,} dev texts.\n"
    yield "### Each head\n"
    yield from _heads(rows, scores)
    yield "\n### Whole sets\n"
    yield from _sets(rows, scores)
    yield "\n### Decisions at the default bands\n"
    yield "Approved below 0.2, rejected above 0.8, by the highest of the seven harms.\n"
    yield from _decisions(rows, scores)
    yield "\n### Harmless mentions of groups\n"
    yield from _identities(model, rows, scores)
    yield "\n### Long texts\n"
    yield from _long(model, rows)


def _heads(rows: Sequence[Row], scores: Floats) -> Iterator[str]:
    yield "| head | source | texts | positive | AUROC | AUPRC | F1 at 0.5 | in review band |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for place, head in enumerate(HEADS):
        for source in ("own", "davidson", "edos", "goemotions"):
            chosen = [
                n
                for n, row in enumerate(rows)
                if row.source.startswith(source) and head in row.known
            ]
            labels = np.array([rows[n].known[head][0] for n in chosen], dtype=np.int64)
            if labels.sum() < 5 or labels.all():
                continue
            found = scores[chosen, place]
            between = ((found >= APPROVE) & (found <= REJECT)).mean()
            yield (
                f"| {head} | {source} | {len(chosen):,} | {labels.mean():.0%} "
                f"| {measure.auroc(found, labels):.3f} | {measure.auprc(found, labels):.3f} "
                f"| {measure.f1(found > 0.5, labels):.3f} | {between:.0%} |"
            )


def _sets(rows: Sequence[Row], scores: Floats) -> Iterator[str]:
    yield "| question | score | texts | AUROC | AUPRC | best macro-F1 (threshold) |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    highest = scores[:, : len(HARMS)].max(axis=1)
    hate = scores[:, HEADS.index("hate")]
    abuse = scores[:, HEADS.index("abuse")]
    profanity = scores[:, HEADS.index("profanity")]
    own = _own_any(rows)
    people = {
        n: rows[n].known["hate"][0]
        for n in own
        if rows[n].source in ("own/hate", "own/negatives_people", "own/pairs_people")
        and "hate" in rows[n].known
    }
    tweets = {n: r.facts["offensive"] for n, r in enumerate(rows) if r.source == "davidson"}
    posts = {n: r.facts["sexist"] for n, r in enumerate(rows) if r.source == "edos"}
    for question, name, found, labels in (
        ("Davidson: hate or offensive", "highest harm", highest, tweets),
        ("Davidson: hate or offensive", "abuse", abuse, tweets),
        ("Davidson: hate or offensive", "profanity", profanity, tweets),
        ("EDOS: sexist", "hate", hate, posts),
        ("our sentences: hateful or a harmless mention of a group", "hate", hate, people),
        ("our sentences: any harm", "highest harm", highest, own),
    ):
        truth = np.array([*labels.values()], dtype=np.int64)
        part = found[[*labels]]
        best, cut = measure.best_macro_f1(part, truth)
        yield (
            f"| {question} | {name} | {len(truth):,} | {measure.auroc(part, truth):.3f} "
            f"| {measure.auprc(part, truth):.3f} | {best:.3f} ({cut:.2f}) |"
        )


def _own_any(rows: Sequence[Row]) -> dict[int, int]:
    """Our English sentences about which everything is known, and whether any harm is in them."""
    found = {}
    for n, row in enumerate(rows):
        labels = [row.known[head][0] for head in HARMS if head in row.known]
        if row.source.startswith("own/") and row.source != "own/other_languages" and labels:
            found[n] = max(labels)
    return found


def _decisions(rows: Sequence[Row], scores: Floats) -> Iterator[str]:
    yield "| texts | number | approved | review | rejected |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    highest = scores[:, : len(HARMS)].max(axis=1)
    own = _own_any(rows)
    by_fact = {
        name: [
            n
            for n, row in enumerate(rows)
            if row.source == source and row.facts.get(fact, 0) == wanted
        ]
        for name, source, fact, wanted in (
            ("calm Reddit comments (GoEmotions)", "goemotions", "calm", 1),
            ("tweets judged neither hateful nor offensive (Davidson)", "davidson", "offensive", 0),
            ("tweets judged hateful or offensive (Davidson)", "davidson", "offensive", 1),
            ("posts judged not sexist (EDOS)", "edos", "sexist", 0),
            ("posts judged sexist (EDOS)", "edos", "sexist", 1),
        )
    }
    groups = {
        "our hard negatives": [n for n, harm in own.items() if not harm],
        "our harmful sentences": [n for n, harm in own.items() if harm],
        **by_fact,
    }
    for name, chosen in groups.items():
        part = highest[chosen]
        approved, rejected = (part < APPROVE).mean(), (part > REJECT).mean()
        yield (
            f"| {name} | {len(part):,} | {approved:.1%} "
            f"| {1 - approved - rejected:.1%} | {rejected:.1%} |"
        )


def _identities(model: LinearModel, rows: Sequence[Row], scores: Floats) -> Iterator[str]:
    """False alarms of abuse, hate and threat, group by group."""
    yield (
        "Dev sentences without any harm that name the group; and the same "
        f"{len(NEUTRAL)} neutral sentences with each of the group's words put in."
    )
    yield ""
    yield "| group | dev texts | above 0.2 | above 0.5 | neutral | above 0.2 | above 0.5 |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    places = [HEADS.index(head) for head in ("abuse", "hate", "threat")]
    alarm = scores[:, places].max(axis=1)
    calm = [n for n, harm in _own_any(rows).items() if not harm]
    for family, words in FAMILIES.items():
        named = [n for n in calm if not set(words).isdisjoint(tokens_of(rows[n].text))]
        made = [line.format(word) for word in words for line in NEUTRAL]
        filled = np.array([max([*model.scores(text).values()][p] for p in places) for text in made])
        yield (
            f"| {family} | {len(named)} "
            f"| {_above(alarm[named], 0.2)} | {_above(alarm[named], 0.5)} "
            f"| {len(made)} | {_above(filled, 0.2)} | {_above(filled, 0.5)} |"
        )


def _above(scores: Floats, cut: float) -> str:
    return f"{(scores > cut).mean():.0%}" if len(scores) else "-"


def _long(model: LinearModel, rows: Sequence[Row]) -> Iterator[str]:
    """One harmful sentence between calm comments: found, or diluted?"""
    calm = [row.text for row in rows if row.facts.get("calm")]
    harmful = [rows[n].text for n, harm in _own_any(rows).items() if harm]
    quiet = [" ".join(calm[n : n + LONG]) for n in range(0, len(calm) - LONG, LONG)]
    mixed = [
        f"{quiet[n % len(quiet)]} {text} {quiet[(n + 7) % len(quiet)]}"
        for n, text in enumerate(harmful)
    ]
    alone = quiet[: len(quiet) // 2 * 2]
    doubled = [f"{a} {b}" for a, b in zip(alone[::2], alone[1::2], strict=True)]
    bad, good = (
        np.array([max([*model.scores(text).values()][: len(HARMS)]) for text in texts])
        for texts in (mixed, doubled)
    )
    labels = np.array([1] * len(bad) + [0] * len(good), dtype=np.int64)
    words = sum(len(tokens_of(text)) for text in doubled) / len(doubled)
    yield (
        f"{LONG * 2} calm comments ({words:.0f} tokens) with and without one harmful sentence in "
        f"the middle: AUROC {measure.auroc(np.concatenate([bad, good]), labels):.3f}; above 0.2: "
        f"{_above(bad, 0.2)} of the harmful, {_above(good, 0.2)} of the harmless; above 0.8: "
        f"{_above(bad, 0.8)} and {_above(good, 0.8)}."
    )


if __name__ == "__main__":
    raise SystemExit(main())
