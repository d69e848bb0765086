"""The shipped moderation model: time of a text, cost of loading, cost of asking for it again.

Texts are drawn anew in every round from a list of common words, so no text and hardly a pair of
words repeats. The runtime remembers nothing between texts; `first_ms` is the first text after
loading, when numpy's own paths are cold. Loading and memory are measured in a fresh interpreter
that has imported numpy and the runtime already. A model that is loaded is asked for by name from a
`ModelCache`, which counts the hit; a plain dict, in turns with it, is the least that could cost.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.report import Report, ratio, row
from penstock.models.cache import ModelCache
from penstock.models.linear import LinearModel

COMMON = (
    "the of and to in is that it was for on are as with they at be this have from or had by "
    "but some what there we can out other were all your when up use word how said an each "
    "she which do their time if will way about many then them would write like so these her "
    "long make thing see him two has look more day could go come did my sound no most "
    "number who over know water than call first people may down side been now find any new "
    "work part take get place made live where after back little only round man year came "
    "show every good me give our under name very through just form much great think say "
    "help low line before turn cause same mean differ move right boy old too does tell "
    "sentence set three want air well also play small end put home read hand port large "
    "spell add even land here must big high such follow act why ask men change went light "
    "kind off need house picture try us again animal point mother world near build self "
    "earth father "
)
WORDS = COMMON.split()
CLAIM = (
    "The local model scores a short text in <= 0.2 ms, a kilobyte in <= 0.9 ms, with numpy alone; "
    "once loaded it is had from the model cache in <= 10 us"
)
SHORT, LONG, TEXTS = 65, 1024, 200
GETS, BUNCH = 10_000, 100  # in a round; timed together, as the clock costs more than a look-up
LOAD = """
import json, resource, time
import numpy
from penstock.models.linear import LinearModel
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before, started = rss(), time.perf_counter()
model = LinearModel.load()
loaded = time.perf_counter()
model.scores("The first text of all.")
first = time.perf_counter()
for n in range(200):
    model.scores(f"text {n} with some words " * 40)
print(json.dumps({"load_ms": (loaded - started) * 1e3, "first_ms": (first - loaded) * 1e3,
                  "rss_mb": (rss() - before) / 1e6}))
"""


def run(rounds: int = 7) -> Report:
    """The p50 of a call in each round, and the cost of loading in three fresh interpreters."""
    model = LinearModel.load()
    generator = random.Random(20)
    short, long = [], []
    for _ in range(rounds):
        short.append(_median_ms(model, [_text(generator, SHORT) for _ in range(TEXTS)]))
        long.append(_median_ms(model, [_text(generator, LONG) for _ in range(TEXTS)]))
    cached, plain = cached_gets(model, rounds)
    loads = [_load() for _ in range(3)]
    memory = [load["rss_mb"] for load in loads]
    return {
        "claim": CLAIM,
        "rows": [
            row(f"{SHORT} characters", short, "ms"),
            row(f"{LONG} characters", long, "ms"),
            row("cached ModelCache.get", cached, "us"),
            row("plain dict look-up", plain, "us"),
            row("load", [load["load_ms"] for load in loads], "ms"),
            row("first text after loading", [load["first_ms"] for load in loads], "ms"),
            row("memory added", memory, "MB"),
        ],
        "ratios": {
            "short text, ms": ratio(short, most=0.2),
            "kilobyte, ms": ratio(long, most=0.9),
            "cached get, us": ratio(cached, most=10),
            "cached get / dict look-up": ratio(cached, plain),
            "memory added, MB": ratio(memory, most=40),
        },
    }


def cached_gets(model: object, rounds: int) -> tuple[list[float], list[float]]:
    """The median microseconds of a get in each round: of a model cache, and of a dict."""
    models, plain = ModelCache(), {"moderation": model}
    models.register("moderation", lambda: model)
    models.get("moderation")
    cached, looked_up = [], []
    for _ in range(rounds):
        cached.append(_median_us(models.get))
        looked_up.append(_median_us(plain.__getitem__))
    return cached, looked_up


def _median_us(get: Callable[[str], object]) -> float:
    taken = []
    for _ in range(GETS // BUNCH):
        started = time.perf_counter()
        for _ in range(BUNCH):
            get("moderation")
        taken.append((time.perf_counter() - started) / BUNCH)
    return statistics.median(taken) * 1e6


def _text(generator: random.Random, size: int) -> str:
    words: list[str] = []
    while sum(map(len, words)) + len(words) < size:
        words.append(generator.choice(WORDS) + generator.choice(["", "", "", "", ",", "."]))
    return " ".join(words)[:size]


def _median_ms(model: LinearModel, texts: list[str]) -> float:
    taken = []
    for text in texts:
        started = time.perf_counter()
        model.scores(text)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e3


def _load() -> dict[str, float]:
    output = subprocess.run(
        [sys.executable, "-c", LOAD], capture_output=True, check=True, text=True
    )
    figures: dict[str, float] = json.loads(output.stdout)
    return figures


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 7), indent=2))
