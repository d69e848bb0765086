"""What finding and masking personal data in 1 kB costs, beside Presidio's pattern recognisers.

Presidio is driven by the Python that PENSTOCK_BENCH_PRESIDIO names, else by this one; where it is
not installed the rows say so and only our own figures are held to their bounds. It looks for mail
addresses, telephone numbers, cards, IBANs, IPs and URLs as they are; we also for what is spelled,
for handles, postal addresses and phrases. Sides take turns; CPU time, best batch of a round.
Texts made to be slow are those of tests/pii/hostile.py, the slowest of them all counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Report, ratio, row
from penstock.pii import INLINE, find, mask, warm
from penstock.services.moderation.spam import judge
from tests.pii import hostile

CLAIM = "personal data in 1 kB is found and masked in half a millisecond"
LENGTH = 1000
CALLS, BATCHES = 20, 10
LONG = 1_000_000
SLOWEST = 3  # hostile texts that are tried at that length too
PEER = Path(__file__).parent / "peers" / "presidio.py"


def run(rounds: int = 7) -> Report:
    """Measure; microseconds of CPU a text, medians of the rounds' best batches."""
    texts = _texts()
    peer = _start(list(texts.values()))
    ours: dict[str, list[float]] = {name: [] for name in texts}
    theirs: dict[str, list[float]] = {name: [] for name in texts}
    spam: list[float] = []
    warm()
    for text in texts.values():
        _masked(text)
    for _ in range(rounds):
        for name, text in texts.items():
            ours[name].append(min(_batch(_masked, text) for _ in range(BATCHES)))
        spam.append(min(_batch(_judged, texts["some"]) for _ in range(BATCHES)))
        for name, value in zip(texts, _round(peer) if peer else (), strict=False):
            theirs[name].append(value)
    if peer:
        peer.communicate(timeout=10)
    return _report(ours, theirs, spam, _hostile(rounds))


def _hostile(rounds: int) -> tuple[list[float], list[float]]:
    """The slowest of all hostile texts of `INLINE` characters, and of a million, by round."""
    costs: dict[str, list[float]] = {
        name: [min(_once(text) for _ in range(5)) for _ in range(rounds)]
        for name, text in hostile.texts(INLINE)
    }
    slowest = sorted(costs, key=lambda name: min(costs[name]))[-SLOWEST:]
    short = [max(costs[name][at] for name in slowest) for at in range(rounds)]
    texts = [hostile.text(name, LONG) for name in slowest]
    long = [max(_once(text) for text in texts) for _ in range(min(rounds, 3))]
    return short, long


def _once(text: str) -> float:
    started = time.thread_time_ns()
    find(text)
    return (time.thread_time_ns() - started) / 1000


def _report(
    ours: dict[str, list[float]],
    theirs: dict[str, list[float]],
    spam: list[float],
    slow: tuple[list[float], list[float]],
) -> Report:
    short, long = slow
    rows = [row(f"find and mask, {name}", values, "us") for name, values in ours.items()]
    rows.append(row("judge spam, some", spam, "us"))
    rows.append(row(f"find, slowest of {len(hostile.NAMES)} hostile texts", short, "us"))
    rows.append(row("find, slowest hostile text of a million characters", long, "us"))
    ratios = {
        "us_clean": ratio(ours["clean"], most=100),
        "us_some": ratio(ours["some"], most=400),
        "us_many": ratio(ours["many"], most=500),
        "us_mixed_unicode": ratio(ours["mixed Unicode"], most=150),
        "us_spam": ratio(spam, most=100),
        "us_hostile": ratio(short, most=1500),
        "us_hostile_million": ratio(long, most=2_000_000),
    }
    if not any(theirs.values()):
        rows.append(
            {"name": "Presidio's recognisers", "note": "presidio-analyzer is not installed"}
        )
        return {"claim": CLAIM, "rows": rows, "ratios": ratios}
    rows += [row(f"Presidio's recognisers, {name}", times, "us") for name, times in theirs.items()]
    for name in ("clean", "some", "many"):
        ratios[f"{name}_per_presidio"] = ratio(ours[name], theirs[name], most=1)
    return {"claim": CLAIM, "rows": rows, "ratios": ratios}


def _masked(text: str) -> str:
    return mask(text, find(text))


def _judged(text: str) -> object:
    return judge(text, ())


def _batch(call: object, text: str) -> float:
    assert callable(call)
    started = time.thread_time_ns()
    for _ in range(CALLS):
        call(text)
    return (time.thread_time_ns() - started) / CALLS / 1000


def _start(texts: list[str]) -> subprocess.Popen[str] | None:
    """The other side, ready; None where it is not installed."""
    python = os.environ.get("PENSTOCK_BENCH_PRESIDIO", sys.executable)
    asked = subprocess.run([python, "-c", "import presidio_analyzer"], capture_output=True)
    if asked.returncode:
        return None
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    peer = subprocess.Popen([python, PEER], stdin=pipe, stdout=pipe, stderr=quiet, text=True)
    _tell(peer, {"texts": texts, "calls": CALLS, "batches": BATCHES})
    return peer


def _round(peer: subprocess.Popen[str]) -> list[float]:
    times: list[float] = _tell(peer, "round")
    return times


def _tell(peer: subprocess.Popen[str], message: object):
    assert peer.stdin is not None
    assert peer.stdout is not None
    peer.stdin.write(json.dumps(message) + "\n")
    peer.stdin.flush()
    return json.loads(peer.stdout.readline())


def _texts() -> dict[str, str]:
    plain = (
        "The committee met on Tuesday to discuss the budget, and everyone agreed that the new "
        "plan was better than the old one. Nobody asked for more time; the vote was quick. "
    )
    chat = (
        "did you see the game last night? they won 3-2 at the end and I lost my voice. are we "
        "still on for friday at 7:30? bring 2 drinks, it costs $45.99 there. "
    )
    some = "reach me at john.doe@gmail.com or 212-555-0134, thanks. "
    many = (
        "Mail john dot doe at gmail dot com, call +1 (415) 555-2671 or 020 7946 0958, card "
        "4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, from 203.0.113.9, my insta is "
        "foo_bar, t.me/foobar, 12 Main Street, five five five one two three four. "
    )
    mixed = (
        "Le café était déjà fermé — “quel dommage”, dit-il… Ich hätte gern Käse. "
        "Привет, как дела? 今日は 😀 Nothing else to see here, really. "
    )
    return {
        "clean": (plain * 9)[:LENGTH],
        "chat with numbers": (chat * 9)[:LENGTH],
        "some": (plain * 9)[: LENGTH - len(some)] + some,
        "many": (plain * 9)[: LENGTH - len(many)] + many,
        "mixed Unicode": (mixed * 9)[:LENGTH],
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 7), indent=2))
