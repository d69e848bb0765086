"""A hot cached verdict beside 100,000 list entries and a per-key policy, and beside neither.

Two installations that differ in nothing else take turns, in one process and as servers of their
own; rounds keep CPU time, because the machine is shared. Beside them: what the first look at 1 kB
costs, what an import of 100,000 lines takes and how long the loop waited at most meanwhile, and
how soon a second process obeys a new word.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from benchmarks.http_cached import PATH, TEXT, _token
from benchmarks.load import cpu_seconds, drive, free_port, request, serving
from benchmarks.report import Report, ratio, row
from penstock.runtime import Runtime, open_runtime
from penstock.services.moderation.policy import Policy, Threshold
from penstock.settings import Settings

CLAIM = "A hot cached verdict with 100,000 list entries and a key's policy: <= 1.15x one without"
ENTRIES = 100_000
KEY = "key_of_the_bench"
CALLS, BATCHES = 500, 12
REQUESTS, WARM = 2000, 300
CHANGES = 20
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def run(rounds: int = 7) -> Report:
    """Measure in process first, then the same two installations over HTTP."""
    with tempfile.TemporaryDirectory() as folder:
        homes = {name: Path(folder) / name for name in ("none", "lists")}
        found = asyncio.run(_in_process(homes, rounds))
        found |= _over_http(homes, rounds)
    return {
        "claim": CLAIM,
        "rows": [row(name, values, name.rpartition(", ")[2]) for name, values in found.items()],
        "ratios": {
            "hot verdict, lists / none": ratio(
                found["hot verdict with lists, us"], found["hot verdict without, us"], most=1.15
            ),
            "hot verdict over HTTP, lists / none": ratio(
                found["HTTP with lists, us CPU"], found["HTTP without, us CPU"], most=1.15
            ),
            "import of 100,000, s": ratio(found["import of 100,000 lines, s"], most=10.0),
            "loop's longest wait in an import, ms": ratio(
                found["loop's longest wait in an import, ms"], most=100.0
            ),
            "new word in a second process, ms": ratio(
                found["a new word acts in a second process, ms"], most=100.0
            ),
            "first look at 1 kB, us": ratio(found["first look at 1 kB, us"], most=1000.0),
        },
    }


async def _in_process(homes: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    async with AsyncExitStack() as stack:
        bare, full = [
            await stack.enter_async_context(open_runtime(Settings(home=home), workers=0))
            for home in homes.values()
        ]
        second = await stack.enter_async_context(
            open_runtime(Settings(home=homes["lists"]), workers=0)
        )
        filled = await _fill(full)
        hot: dict[str, list[float]] = {"without": [], "with lists": []}
        looks: list[float] = []
        await full.lists.refresh()
        for _ in range(rounds):
            best = {name: float("inf") for name in hot}
            for _ in range(BATCHES):
                for name, runtime in (("without", bare), ("with lists", full)):
                    best[name] = min(best[name], await _hot(runtime))
            for name, value in best.items():
                hot[name].append(value)
            looks.append(min(_first_look(full) for _ in range(BATCHES)))
        acts = [await _acts(full, second, number) for number in range(CHANGES)]
    return {
        "hot verdict without, us": hot["without"],
        "hot verdict with lists, us": hot["with lists"],
        "first look at 1 kB, us": looks,
        "import of 100,000 lines, s": [filled[0]],
        "loop's longest wait in an import, ms": [filled[1]],
        "a new word acts in a second process, ms": acts,
    }


async def _fill(runtime: Runtime) -> tuple[float, float]:
    """Import the entries and give the key a policy; seconds, and the loop's longest wait in ms."""
    everyones = await runtime.lists.create("bench", kind="block", actor="bench")
    own = await runtime.lists.create("own", kind="review", actor="bench", key_id=KEY)
    await runtime.lists.add(own.id, [("wildcard", "bench*", "")], actor="bench")
    await _give_policy(runtime, KEY)
    chance = random.Random(3)
    known: set[str] = set()
    while len(known) < ENTRIES:
        known.add(" ".join(_word(chance) for _ in range(1 if chance.random() < 0.7 else 2)))

    async def chunks() -> AsyncIterator[bytes]:
        yield "\n".join(known).encode()

    waits: list[float] = []
    watching = asyncio.ensure_future(_watch(waits))
    began = time.perf_counter()
    await runtime.lists.import_(everyones.id, chunks(), format="text", actor="bench")
    spent = time.perf_counter() - began
    watching.cancel()
    await asyncio.wait([watching])
    return spent, max(waits) * 1e3


async def _give_policy(runtime: Runtime, key: str) -> None:
    policy = Policy(id="bench", thresholds={"harassment": Threshold(review=0.3, reject=0.9)})
    drafted = await runtime.policies.draft(policy, actor="bench")
    await runtime.policies.activate("bench", drafted.number, actor="bench")
    await runtime.policies.assign("bench", key, actor="bench")


async def _watch(waits: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        waits.append(now - last - 0.001)
        last = now


async def _hot(runtime: Runtime) -> float:
    """Microseconds of CPU of one cached verdict."""
    moderate = runtime.moderation.moderate
    await moderate(TEXT, owner="bench", key=KEY)
    began = time.thread_time_ns()
    for _ in range(CALLS):
        await moderate(TEXT, owner="bench", key=KEY)
    return (time.thread_time_ns() - began) / CALLS / 1e3


def _first_look(runtime: Runtime) -> float:
    chance = random.Random(4)
    text = " ".join(_word(chance) for _ in range(140))[:1000]
    began = time.thread_time_ns()
    for _ in range(20):
        runtime.lists.match(text, key=KEY)
    return (time.thread_time_ns() - began) / 20 / 1e3


async def _acts(first: Runtime, second: Runtime, number: int) -> float:
    """Milliseconds from adding a word in one process until the other refuses a hot text."""
    text = f"the word qqzx{number} is harmless"
    before = await second.moderation.moderate(text, owner="bench", key=KEY)
    chosen = (await first.lists.page(after=None, limit=10, seen_by=None))[-1]
    began = time.perf_counter()
    await first.lists.add(chosen.id, [("phrase", f"qqzx{number}", "")], actor="bench")
    after = await second.moderation.moderate(text, owner="bench", key=KEY)
    spent = (time.perf_counter() - began) * 1e3
    if before.decision == "rejected" or after.decision != "rejected" or not after.from_cache:
        raise RuntimeError(f"{before.decision}, then {after.decision}")
    return spent


def _over_http(homes: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    spent: dict[str, list[float]] = {name: [] for name in homes}
    body = json.dumps({"input": TEXT}).encode()
    with ExitStack() as stack:
        sides = {}
        for name, home in homes.items():
            env = {"PENSTOCK_HOME": str(home), "PENSTOCK_LOG_LEVEL": "warning"}
            token = _token(env)
            if name == "lists":
                asyncio.run(_assign_all(home))
            port = free_port()
            command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
            process = serving(command, port=port, ready="/livez", env=env)
            sides[name] = stack.enter_context(process), request(PATH, body, token=token)
        for process, wire in sides.values():
            drive(process.port, [wire] * WARM)
        for _ in range(rounds):
            for name, (process, wire) in sides.items():
                before = cpu_seconds(process.pid)
                drive(process.port, [wire] * REQUESTS)
                spent[name].append((cpu_seconds(process.pid) - before) / REQUESTS * 1e6)
    return {
        "HTTP without, us CPU": spent["none"],
        "HTTP with lists, us CPU": spent["lists"],
    }


async def _assign_all(home: Path) -> None:
    """Give the stored key what the bench's key has: a policy and a list of its own."""
    async with open_runtime(Settings(home=home), workers=0) as runtime:
        rows = await runtime.database.rows("SELECT id FROM auth_keys")
        for (key,) in rows:
            await runtime.policies.assign("bench", key, actor="bench")
            own = await runtime.lists.create("own", kind="review", actor="bench", key_id=key)
            await runtime.lists.add(own.id, [("wildcard", "bench*", "")], actor="bench")


def _word(chance: random.Random) -> str:
    weights = range(len(LETTERS), 0, -1)
    return "".join(chance.choices(LETTERS, weights, k=chance.randint(5, 10)))


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 7), indent=2))
