"""What looking for 10,000 terms in 1 kB costs with every view, beside the bare matcher.

The matcher alone sees raw substrings: three of four are no whole words and no disguise is undone.
Texts and matcher take turns; a round keeps the best of its batches, in CPU time of this thread.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

from ahocorasick_rs import AhoCorasick

from benchmarks.report import Report, ratio, row
from penstock.words.lexicon import Lexicon, Term
from penstock.words.prescreen import Prescreen

CLAIM = "1 kB of ASCII is screened against 10,000 terms with all views in 100 us"
TERMS, LENGTH = 10_000, 1000
CALLS, BATCHES = 50, 20
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def run(rounds: int = 7) -> Report:
    """Measure; microseconds of CPU a text, medians of the rounds' best batches."""
    texts, terms = _texts(), _terms()
    lexicon = Lexicon.from_terms(
        Term(text, "profanity", 0.6, f"bench.{index}") for index, text in enumerate(terms)
    )
    prescreen, bare = Prescreen(lexicon), AhoCorasick(terms)
    clean = texts["ASCII, clean"]
    variants: dict[str, Callable[[], object]] = {
        "bare matcher": lambda: bare.find_matches_as_indexes(clean)
    }
    for name, text in texts.items():
        variants[name] = _screened(prescreen, text)
    best = _measure(variants, rounds)
    return {
        "claim": CLAIM,
        "rows": [row(name, values, "us") for name, values in best.items()],
        "ratios": {
            "us_ascii_clean": ratio(best["ASCII, clean"], most=100),
            "us_ascii_written_text": ratio(best["ASCII, addresses and numbers"], most=100),
            "us_ascii_leet": ratio(best["ASCII, a leet term"], most=100),
            "us_ascii_masked": ratio(best["ASCII, a masked term"], most=100),
            "us_ascii_joined": ratio(best["ASCII, a term with marks"], most=100),
            "us_ascii_spelled": ratio(best["ASCII, a spelled term"], most=100),
            "us_ascii_every_disguise": ratio(best["ASCII, every disguise"], most=100),
            "us_mixed_unicode": ratio(best["mixed Unicode"], most=250),
            "clean_per_bare_matcher": ratio(best["ASCII, clean"], best["bare matcher"], most=6),
        },
    }


def _measure(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    best: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        batches: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(BATCHES):
            for name, call in variants.items():
                batches[name].append(_batch(call))
        for name, times in batches.items():
            best[name].append(min(times))
    return best


def _batch(call: Callable[[], object]) -> float:
    started = time.thread_time_ns()
    for _ in range(CALLS):
        call()
    return (time.thread_time_ns() - started) / CALLS / 1000


def _screened(prescreen: Prescreen, text: str) -> Callable[[], object]:
    return lambda: prescreen.screen(text)


def _terms() -> list[str]:
    """Make 10,000 terms as in the research: 70 % one word, 30 % two, by letter frequency."""
    chance, terms = random.Random(2), {"example", "blemish"}
    while len(terms) < TERMS:
        words = [_word(chance, 5) for _ in range(1 if chance.random() < 0.7 else 2)]
        terms.add(" ".join(words))
    return sorted(terms)


def _word(chance: random.Random, least: int) -> str:
    weights = range(len(LETTERS), 0, -1)
    return "".join(chance.choices(LETTERS, weights, k=chance.randint(least, 9)))


def _texts() -> dict[str, str]:
    plain = (
        "The committee met on Tuesday to discuss the budget, and everyone agreed that the new "
        "plan was better than the old one. Nobody asked for more time; the vote was quick. "
    )
    written = (
        "Our e-mail server went down at 10:30am; I restarted it twice (see docs/setup.md) and "
        "issue #4521 came back. It costs $45.99, call 555-0134! "
    )
    mixed = (
        "Le café était déjà fermé — “quel dommage”, dit-il… Ich hätte gern Käse. "
        "Привет, как дела? 今日は 😀 Nothing else to see here, really. "
    )
    disguises = {
        "ASCII, a leet term": " an 3x4mpl3 too",
        "ASCII, a masked term": " a bl*mish too",
        "ASCII, a term with marks": " an exa-mple too",
        "ASCII, a spelled term": " an e x a m p l e too",
    }
    disguises["ASCII, every disguise"] = "".join(disguises.values())
    return {
        "ASCII, clean": (plain * 9)[:LENGTH],
        "ASCII, addresses and numbers": (plain * 9)[: LENGTH - len(written)] + written,
        **{name: (plain * 9)[: LENGTH - len(end)] + end for name, end in disguises.items()},
        "mixed Unicode": (mixed * 9)[:LENGTH],
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 7), indent=2))
