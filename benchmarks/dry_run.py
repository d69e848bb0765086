"""A million recorded verdicts are decided again in 10 s, in constant memory, beside traffic.

The floor is SQLite itself: reading the same rows in the same order and doing nothing with them. The
traffic is a loop that works for 0.2 ms every millisecond, as a server does at some hundred requests
a second; how long its turns waited is printed. Growth of memory is the process's peak after the
whole run, above its peak after a run over the newest tenth.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.report import Report, ratio, row
from penstock.clock import SystemClock
from penstock.db import open_database
from penstock.db.engine import Database
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.policy import Judge, Policy, Threshold
from penstock.services.moderation.rehearsal import Plan, Rehearsal
from penstock.services.moderation.rehearsal_store import Selection
from penstock.services.moderation.schemas import Judgement

CLAIM = "A dry run over 1,000,000 recorded verdicts takes at most 10 s in constant memory"
RECORDS = 1_000_000
APART, NEWEST = 100, 1_700_000_000_000  # milliseconds
TOGETHER = 10_000
WORK, PAUSE = 0.0002, 0.001  # seconds of a busy loop's turn
STRICT = Judge(Policy(id="strict", thresholds={"hate": Threshold(review=0.1, reject=0.3)}))


def run(rounds: int = 5, records: int = RECORDS) -> Report:
    """Measure; seconds of the whole run, microseconds by record."""
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, so that making them leaves no peak in this one.
        subprocess.run([sys.executable, "-m", __name__, folder, str(records)], check=True)
        return asyncio.run(_run(Path(folder), rounds, records))


async def _run(folder: Path, rounds: int, records: int) -> Report:
    database = open_database(folder=folder)
    rehearsal = Rehearsal(database, clock=SystemClock())
    tenth = Selection(since=NEWEST - records // 10 * APART)
    found: dict[str, list[float]] = {}
    for against in (None, Judge(Policy())) * 4:  # every thread of the pool has worked
        await _timed(rehearsal, Plan(STRICT, against, tenth), busy=True)
    before = _peak()
    for _ in range(rounds):
        found.setdefault("floor", []).append(_floor(folder))
        quiet, _ = await _timed(rehearsal, Plan(STRICT), busy=False)
        active, _ = await _timed(rehearsal, Plan(STRICT, Judge(Policy())), busy=False)
        beside, waited = await _timed(rehearsal, Plan(STRICT), busy=True)
        found.setdefault("quiet", []).append(quiet)
        found.setdefault("active", []).append(active)
        found.setdefault("beside", []).append(beside)
        found.setdefault("waited", []).append(float(np.percentile(waited, 99)) * 1000)
        found.setdefault("longest", []).append(max(waited) * 1000)
        found.setdefault("alone", []).append(await _alone())
    growth = (_peak() - before) / 1024
    await _close(database)
    return {
        "claim": CLAIM,
        "rows": [
            row("SQLite reads the same rows", found["floor"], "s"),
            row("dry run against what was recorded", found["quiet"], "s"),
            row("dry run against the active policy", found["active"], "s"),
            row("dry run beside a busy loop", found["beside"], "s"),
            row("by record", [each / records * 1e6 for each in found["quiet"]], "us"),
            row("wait of the busy loop's turns, p99", found["waited"], "ms"),
            row("wait of the busy loop's turns, longest", found["longest"], "ms"),
            row("the same without a dry run, p99", found["alone"], "ms"),
            row("peak memory above a tenth of the records", [growth], "MB"),
        ],
        "ratios": {
            "seconds for 1,000,000": ratio(_scaled(found["quiet"], records), most=10),
            "seconds for 1,000,000 beside a busy loop": ratio(
                _scaled(found["beside"], records), most=10
            ),
            "dry run per SQLite's own reading": ratio(found["quiet"], found["floor"], most=5),
            "MB of memory for ten times as many": ratio([growth], most=16),
        },
    }


def _scaled(seconds: list[float], records: int) -> list[float]:
    return [each * RECORDS / records for each in seconds]


async def _timed(rehearsal: Rehearsal, plan: Plan, *, busy: bool) -> tuple[float, list[float]]:
    waited = [0.0]
    traffic = asyncio.ensure_future(_busy(waited)) if busy else None
    began = time.perf_counter()
    outcome = await rehearsal.run(plan)
    seconds = time.perf_counter() - began
    assert outcome.complete
    assert outcome.changed
    if traffic is not None:
        traffic.cancel()
    return seconds, waited


async def _alone() -> float:
    """The 99th percentile of the waits, in milliseconds, with nothing else to do."""
    waited = [0.0]
    traffic = asyncio.ensure_future(_busy(waited))
    await asyncio.sleep(1)
    traffic.cancel()
    return float(np.percentile(waited, 99)) * 1000


async def _busy(waited: list[float]) -> None:
    """A loop with something to do; how much later than asked its turns came."""
    while True:
        end = time.perf_counter() + WORK
        while time.perf_counter() < end:
            pass
        asked = time.perf_counter()
        await asyncio.sleep(PAUSE)
        waited.append(time.perf_counter() - asked - PAUSE)


def _floor(folder: Path) -> float:
    """The rows' columns, newest first, by the same index."""
    connection = sqlite3.connect(folder / "penstock.db")
    began = time.perf_counter()
    connection.execute(
        "SELECT sum(length(scores)), max(decision), max(degraded), max(listed), sum(is_foreign)"
        " FROM (SELECT * FROM moderation_verdicts ORDER BY created_at DESC, id DESC LIMIT -1)"
    ).fetchone()
    seconds = time.perf_counter() - began
    connection.close()
    return seconds


def _peak() -> float:
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # kB


async def _close(database: Database) -> None:
    await database.aclose()


def _fill(folder: Path, records: int) -> None:
    """Verdicts as the service records them: most clean, one in thirty with something."""
    asyncio.run(_close(open_database(folder=folder)))
    connection = sqlite3.connect(folder / "penstock.db")
    connection.execute("PRAGMA synchronous = off")
    rows = _rows(records)
    columns = ", ".join("?" * 21)
    while part := list(islice(rows, TOGETHER)):
        connection.executemany(f"INSERT INTO moderation_verdicts VALUES ({columns})", part)
        connection.commit()
    connection.close()


def _rows(records: int) -> Iterator[tuple[object, ...]]:
    chance = np.random.default_rng(1)
    judge = Judge(Policy())
    for start in range(0, records, TOGETHER):
        size = (TOGETHER, len(CATEGORIES))
        scores = (chance.beta(0.3, 8, size) * 1e6).astype("<i4")
        scores[:, 14:] = np.where(chance.random((TOGETHER, 8)) < 0.95, -1, scores[:, 14:])
        for number, known in enumerate(scores, start):
            asked = tuple(None if at < 0 else at / 1e6 for at in known.tolist())
            ruling = judge.decide(asked)
            digest = f"{number:032x}"
            judgement = Judgement(digest, asked, (), 0.0, "local", (("prescreen", "1"),))
            yield (
                f"mod_{number * 2654435761 % 2**64:016x}{number:016x}",
                *("team", f"{number:064x}", f"moderation:{digest}", digest, judge.version),
                *(ruling.decision, any(ruling.flags), ruling.reason, ruling.risk),
                *(msgspec.msgpack.encode(judgement), 1.0, 12, None, None),
                NEWEST - (records - number) * APART,
                *("key_1", known.tobytes(), False, None, None),
            )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _fill(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        print(json.dumps(run(1, 100_000), indent=2))
