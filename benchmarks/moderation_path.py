"""The whole path of a text that nobody has seen, without a paid call, in process.

Prescreen with all views, local model, policy, cache write and the verdict on record in SQLite
before the answer: everything but HTTP. Every text is a new one.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Report, ratio, row
from penstock.runtime import open_runtime
from penstock.settings import Settings

CLAIM = "The whole path without a paid call: p50 <= 1 ms for a short text, <= 2 ms at 1 kB"
TEXTS = 400
WORDS = """
    the parcel arrived late again and nobody answers my question about the refund please
    look into it because customers wait for weeks while support says everything is fine
    although it clearly is not we love your product but this update broke search filters and
    dark mode on older phones thanks for fixing quickly great team regards morning evening
    screen battery
""".split()  # noqa: SIM905 - a list of ninety strings reads worse


def run(rounds: int = 9) -> Report:
    """Measure; milliseconds per text, p50 of each round."""
    return asyncio.run(_run(rounds))


async def _run(rounds: int) -> Report:
    times: dict[int, list[float]] = {65: [], 1000: []}
    pick = random.Random(5)
    with tempfile.TemporaryDirectory() as home:
        async with open_runtime(Settings(home=Path(home))) as runtime:
            for number in range(rounds + 1):
                for size, kept in times.items():
                    texts = [words(pick, size) for _ in range(TEXTS)]
                    spent = []
                    for text in texts:
                        start = time.perf_counter()
                        await runtime.moderation.moderate(text, owner="bench")
                        spent.append((time.perf_counter() - start) * 1e3)
                    if number:
                        kept.append(statistics.median(spent))
    return {
        "claim": CLAIM,
        "rows": [
            row("short text (65 characters)", times[65], "ms"),
            row("1 kB", times[1000], "ms"),
        ],
        "ratios": {
            "short text, ms": ratio(times[65], most=1.0),
            "1 kB, ms": ratio(times[1000], most=2.0),
        },
    }


def words(pick: random.Random, size: int) -> str:
    """A text of that many characters that was not seen before."""
    said = [f"order {pick.randrange(10**9)}"]
    while sum(map(len, said)) + len(said) < size:
        said.append(pick.choice(WORDS))
    return " ".join(said)[:size]


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 9), indent=2))
