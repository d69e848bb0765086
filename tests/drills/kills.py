"""kill -9 of the server at random points of mixed work; what must hold after every one.

rounds: serve, accept jobs (from beside and over HTTP), kill -9, look at the files
end:    serve once more, wait until nothing is left, compare with what was accepted
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter, defaultdict
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from penstock.clock import SystemClock
from penstock.observe.metrics import Metrics
from penstock.tasks import TaskQueue, open_queue
from penstock.tasks.job import JobFilter, job_number
from tests.conftest import ADMIN
from tests.drills import killed_work

ITEMS = 40  # in a batch
HEADERS = {"Authorization": f"Bearer {ADMIN}"}
PATIENCE = 120.0


@dataclass
class Told:
    """What was promised, and what was seen at the kills."""

    accepted: dict[str, str] = field(default_factory=dict)  # job id by name
    batches: dict[str, list[str]] = field(default_factory=dict)  # texts by batch id
    rescues: list[float] = field(default_factory=list)  # seconds after ready, or before


class Marks:
    """The lines that jobs left."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[tuple[str, str, int, int]]:
        """Kind, name, attempt, nanoseconds; a line that was cut is none."""
        if not self._path.exists():
            return []
        lines = [line.split() for line in self._path.read_text().splitlines()]
        return [(kind, name, int(n), int(at)) for kind, name, n, at in lines]

    def counts(self, kind: str) -> Counter[str]:
        """How often each name has a line of this kind."""
        return Counter(name for found, name, _, _ in self.read() if found == kind)

    def interrupted(self) -> int:
        """Attempts that started and never ended: what was in flight at the kills."""
        seen = {kind: set[tuple[str, int]]() for kind in ("start", "end")}
        for kind, name, attempt, _ in self.read():
            seen[kind].add((name, attempt))
        return len(seen["start"] - seen["end"])

    def open(self) -> set[str]:
        """Names that started more often than they ended."""
        started, ended = self.counts("start"), self.counts("end")
        return {name for name, times in started.items() if times > ended[name]}


async def drill(serve: Any, folder: Path, *, rounds: int, seed: int) -> tuple[Told, Marks, Path]:
    """Kill `rounds` times, then let everything finish."""
    chance = random.Random(seed)
    home, marks = folder / "home", Marks(folder / "marks")
    env = {
        "PENSTOCK_INCLUDE": "tests.drills.killed_work",
        "PENSTOCK_DRILL_MARKS": str(folder / "marks"),
        "PENSTOCK_LOG_LEVEL": "error",
    }
    told = Told()
    killed = 0
    for number in range(rounds):
        interrupted = marks.open()
        with serve(home=home, **env) as live:
            ready = time.monotonic_ns()
            async with beside(home) as queue:
                await accept(queue, told, number)
                await accept_batch(live.url, told, number)
            with suppress(asyncio.TimeoutError):
                async with asyncio.timeout(chance.uniform(0.0, 0.3)):
                    await asyncio.Event().wait()
            live.process.kill()
            live.process.wait()
        again = [at for _, name, _, at in marks.read() if at > killed and name in interrupted]
        told.rescues += [(min(again) - ready) / 1e9] if again else []
        killed = time.monotonic_ns()
        assert whole(home / "tasks.db")
        assert whole(home / "penstock.db")
    with serve(home=home, **env) as live:
        async with beside(home) as queue:
            await nothing_left(queue)
        await batches_ended(live.url, told)
        await compare_batches(live.url, told)
    return told, marks, home


@asynccontextmanager
async def beside(home: Path):
    """A queue on the server's file that runs no jobs itself."""
    url = f"embedded://{home / 'tasks.db'}"
    queue = open_queue(url, clock=SystemClock(), metrics=Metrics(), workers=0)
    queue.register([killed_work.wait, killed_work.block, killed_work.once])
    await queue.start()
    try:
        yield queue
    finally:
        await queue.stop(grace=0.0)


async def accept(queue: TaskQueue, told: Told, number: int) -> None:
    """Jobs of every kind, one by one and together."""
    names = defaultdict(list)
    for index in range(60):
        names[("wait", "block", "once")[index % 3]].append(f"{number}-{index}")
    for kind, some in names.items():
        declared = getattr(killed_work, kind)
        for name in some[:5]:
            job = await queue.enqueue(declared, (f"{kind}-{name}",))
            told.accepted[f"{kind}-{name}"] = job.id
        rest = [f"{kind}-{name}" for name in some[5:]]
        jobs = await queue.enqueue_many(declared, [(name,) for name in rest])
        told.accepted.update({name: job.id for name, job in zip(rest, jobs, strict=True)})


async def accept_batch(url: str, told: Told, number: int) -> None:
    """A batch, sent to the server."""
    texts = [f"Parcel {number} {index} has arrived." for index in range(ITEMS)]
    body = {
        "endpoint": "/v1/moderations",
        "requests": [
            {"custom_id": str(index), "body": {"input": text}} for index, text in enumerate(texts)
        ],
    }
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=30) as client:
        reply = await client.post("/v1/batches", json=body)
        reply.raise_for_status()
        told.batches[reply.json()["id"]] = texts


async def nothing_left(queue: TaskQueue) -> None:
    """Return when no job of the drill is queued or running; its schedule goes on."""
    async with asyncio.timeout(PATIENCE):
        while True:
            counts = [
                await queue.store.count(JobFilter(task=declared.name, states=("queued", "running")))
                for declared in (killed_work.wait, killed_work.block, killed_work.once)
            ]
            if not any(sum(one.values()) for one in counts):
                return
            await asyncio.sleep(0.1)


async def batches_ended(url: str, told: Told) -> None:
    """Return when every batch has ended."""
    async with (
        httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=30) as client,
        asyncio.timeout(PATIENCE),
    ):
        for batch in told.batches:
            while True:
                if (await client.get(f"/v1/batches/{batch}")).json()["status"] == "completed":
                    break
                await asyncio.sleep(0.1)


async def compare_batches(url: str, told: Told) -> None:
    """Every item of every batch is answered once, in order."""
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=30) as client:
        for batch, texts in told.batches.items():
            page = (await client.get(f"/v1/batches/{batch}/results?limit=200")).json()
            assert [item["error"] for item in page["items"]] == [None] * len(texts)
            assert [item["custom_id"] for item in page["items"]] == [
                str(index) for index in range(len(texts))
            ]


def whole(path: Path) -> bool:
    """Whether SQLite finds no damage."""
    with closing(sqlite3.connect(path)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchone() == ("ok",))


async def check(told: Told, marks: Marks, home: Path) -> None:
    """What the drill is for."""
    started, ended = marks.counts("start"), marks.counts("end")
    unstarted = [job for n, job in told.accepted.items() if n.startswith("once") and not started[n]]
    with closing(sqlite3.connect(home / "tasks.db")) as database:
        twice = database.execute(
            "SELECT name, tick_ms, count(*) FROM fired GROUP BY 1, 2 HAVING count(*) > 1"
        ).fetchall()
        # Stored as started, and killed before its function was called: never run, and it says so.
        forgotten = [job for job in unstarted if not is_failed(database, job)]
    lost = [n for n in told.accepted if not n.startswith("once") and not ended[n]]
    extra = sum(times - 1 for times in started.values() if times > 1)

    assert marks.interrupted(), "no kill met a running job: the drill showed nothing"
    assert not lost
    assert not forgotten
    assert extra <= marks.interrupted()
    assert not [name for name in started if name.startswith("once") and started[name] > 1]
    assert not twice


def is_failed(database: sqlite3.Connection, job: str) -> bool:
    """Whether a job is on record as one that failed."""
    row = database.execute("SELECT state FROM job WHERE id = ?", (job_number(job),)).fetchone()
    return row == (3,)
