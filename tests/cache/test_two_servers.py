"""Two server processes on one Redis: one computation, one truth, and a process that dies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PATIENT = "?socket_timeout=10&socket_connect_timeout=10"
TURNS = 20

SERVER = """
import asyncio, json, sys
from penstock.cache import Cache, open_store
from penstock.hub import open_hub

async def main(url):
    hub = await open_hub(url, None)
    cache = Cache([open_store("memory://"), open_store(f"{url}&timeout=10s")], hub=hub)
    calls = 0

    async def compute(seconds):
        nonlocal calls
        calls += 1
        print(json.dumps("began"), flush=True)
        await asyncio.sleep(seconds)
        return "computed"

    async def answer(verb, key="", value=""):
        match verb:
            case "fetch":
                count, seconds = json.loads(value)
                hits = [cache.fetch(key, lambda: compute(seconds)) for _ in range(count)]
                return [hit.value for hit in await asyncio.gather(*hits)]
            case "set":
                return await cache.set(key, value, tags=["t"])
            case "delete":
                return await cache.delete(key)
            case "clear":
                return await cache.clear(tag="t")
            case "get":
                return await cache.get(key)
            case "peek":
                hit = cache.peek(key)
                return hit and hit.value
            case "calls":
                return calls

    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await answer(*line.split())), flush=True)
    await cache.aclose()
    await hub.aclose()

asyncio.run(main(sys.argv[1]))
"""


class Server:
    """A process that does as it is told."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, line: str) -> Any:
        self.tell(line)
        return self.hear()


@pytest.fixture
def start(redis) -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def started() -> Server:
        servers.append(Server(redis.url + PATIENT))
        assert servers[-1].ask("calls") == 0
        return servers[-1]

    yield started
    for server in servers:
        server.process.stdin.close()
        server.process.wait(timeout=60)
        server.process.stdout.close()


def test_two_processes_with_many_callers_compute_once(start):
    one, other = start(), start()
    one.tell("fetch k [100,0.5]")
    assert one.hear() == "began"
    other.tell("fetch k [100,0.5]")

    assert one.hear() == other.hear() == ["computed"] * 100

    assert (one.ask("calls"), other.ask("calls")) == (1, 0)


def test_a_process_that_is_killed_while_it_computes_is_replaced(start):
    one, other = start(), start()
    one.tell("fetch k [1,60]")
    assert one.hear() == "began"
    other.tell("fetch k [10,0]")
    one.process.kill()

    assert other.hear() == "began"  # when the dead owner's lease has ended
    assert other.hear() == ["computed"] * 10


def test_what_one_process_changes_the_other_forgets(start):
    one, other = start(), start()
    for turn in range(TURNS):
        for change in (f"set k{turn} new", f"delete k{turn}", "clear"):
            one.ask(f"set k{turn} old")
            until(lambda turn=turn: other.ask(f"get k{turn}") == "old")

            one.ask(change)

            until(lambda turn=turn: other.ask(f"peek k{turn}") != "old")  # about a millisecond
            right = "new" if change.startswith("set") else None
            assert [other.ask(f"get k{turn}"), one.ask(f"get k{turn}")] == [right, right]


def until(is_so: Callable[[], object]) -> None:
    """Return when it is so; fail when that takes too long."""
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends, "it did not happen in time"
