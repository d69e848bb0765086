"""Judges anew what people overturned: how much comes out now as they decided.

The file is what `penstock cases examples` prints, a JSON object a line. Every text goes through
what serves: prescreen, local model and the default policy, in a folder that is thrown away, so
that neither a cache nor a list has a say. A line without content has only a hash of it, and cannot
be replayed.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from penstock.errors import InvalidInput
from penstock.runtime import open_runtime
from penstock.settings import Settings

SHOWN = 20  # ids of what comes out wrong still


class Overturned(NamedTuple):
    """One line of the file."""

    id: str
    content: str | None
    category: str
    was: str
    decision: str


def replay(path: Path) -> Iterator[str]:
    """The report's lines. Raises SystemExit for a file that is not of that form."""
    examples = list(_read(path))
    known = [each for each in examples if each.content]
    outcomes = asyncio.run(_judge([each.content or "" for each in known]))
    agreed = Counter[str]()
    left = Counter[str]()
    total = Counter[str]()
    for example, outcome in zip(known, outcomes, strict=True):
        total[example.category] += 1
        agreed[example.category] += outcome == example.decision
        left[example.category] += outcome == "review"
    yield f"Regressions: {len(examples)} overturned verdicts, {len(known)} with their text."
    yield f"{agreed.total()} of {len(known)} now come out as people decided; of the others"
    yield f"{left.total()} are left to people, {len(known) - agreed.total() - left.total()} not.\n"
    yield "| category | texts | as people decided | left to people |"
    yield "| --- | ---: | ---: | ---: |"
    for name in sorted(total):
        yield f"| {name} | {total[name]} | {agreed[name]} | {left[name]} |"
    wrong = [
        f"{example.id} ({example.decision}, comes out as {outcome})"
        for example, outcome in zip(known, outcomes, strict=True)
        if outcome not in (example.decision, "review")
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        yield f"\nStill wrong: {', '.join(wrong[:SHOWN])}{more}."


def _read(path: Path) -> Iterator[Overturned]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
                yield Overturned(
                    id=found["id"],
                    content=found["content"],
                    category=found.get("category") or "unknown",
                    was=found["was"],
                    decision=found["decision"],
                )
            except (ValueError, KeyError, TypeError) as error:
                raise SystemExit(
                    f"{path}, line {number}: not a line of `penstock cases examples` ({error!r})"
                ) from error


async def _judge(texts: Sequence[str]) -> list[str]:
    with TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home", log_level="error")
        async with open_runtime(settings, workers=0) as runtime:
            outcomes = []
            for text in texts:
                try:
                    verdict = await runtime.moderation.moderate(text, owner="eval")
                except InvalidInput:
                    outcomes.append("refused")
                else:
                    outcomes.append(verdict.decision)
            return outcomes
