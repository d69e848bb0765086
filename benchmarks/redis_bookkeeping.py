"""What statistics in Redis cost a server: no bookkeeping, a pipeline per request, and ours.

64 connections keep a small FastAPI application busy, each variant in a process of its own, on one
redis-server. The pipeline is what FilterX sends per request (8 INCR and HINCRBY), after the answer
and awaited by nobody; ours counts the same and more. Round trips are the reads that Redis did from
its sockets, the heartbeat of our hub among them. Afterwards the counters must be exact.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from benchmarks.load import Process, cpu_seconds, drive, free_port, last_reply, request, serving
from benchmarks.report import Report, ratio, row
from benchmarks.rigs.servers import RedisServer

CLAIM = "Statistics in Redis cost at most 0.01 round trips per request and a tenth of server CPU"
VARIANTS = ("none", "naive", "penstock")
PATH = "/filter"
CONNECTIONS = 64
REQUESTS = 1500  # of a batch
BATCHES = 4  # in turns; a round keeps the cheapest of each variant, as machines are shared
WARM = 500
FLAGS = ("abusive_language", "phone_number")


def app() -> Any:
    """What uvicorn runs; BENCH_VARIANT says how it keeps its books."""
    from fastapi import FastAPI
    from pydantic import BaseModel

    books = {"none": _None, "naive": _Naive, "penstock": _Ours}[os.environ["BENCH_VARIANT"]]()

    class Question(BaseModel):
        text: str
        user: str

    class Answer(BaseModel):
        blocked: bool
        flags: tuple[str, ...]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await books.open()
        yield
        await books.close()

    api = FastAPI(lifespan=lifespan)

    async def filtered(question: Question) -> Answer:
        books.note(question.user)
        return Answer(blocked=True, flags=FLAGS)

    async def settled() -> None:
        await books.settle()

    async def counted() -> dict[str, int]:
        return {"total": await books.total()}

    filtered.__annotations__ = {"question": Question, "return": Answer}
    api.post(PATH)(filtered)
    api.get("/settled")(settled)
    api.get("/total")(counted)
    return api


class _None:
    """No books."""

    def __init__(self) -> None:
        self._requests = 0

    async def open(self) -> None:
        return

    def note(self, user: str) -> None:
        self._requests += 1

    async def settle(self) -> None:
        """Wait for what is under way."""

    async def total(self) -> int:
        return self._requests

    async def close(self) -> None:
        return


class _Naive(_None):
    """A pipeline per request, as `trackAllStatsUnified` sends it."""

    async def open(self) -> None:
        from redis.asyncio import BlockingConnectionPool, Redis

        pool: Any = BlockingConnectionPool.from_url(
            os.environ["BENCH_REDIS"], protocol=3, max_connections=CONNECTIONS, timeout=60
        )
        self._redis: Any = Redis.from_pool(pool)
        self._running: set[asyncio.Future[None]] = set()

    def note(self, user: str) -> None:
        task = asyncio.ensure_future(self._track(user))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _track(self, user: str) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.incr("naive:requests:total")
        pipeline.incr(f"naive:requests:user:{user}")
        pipeline.incr("naive:requests:blocked")
        pipeline.incr("naive:requests:cached")
        for flag in FLAGS:
            pipeline.incr(f"naive:flags:{flag}")
        pipeline.hincrby("naive:api:text", "calls", 1)
        pipeline.hincrby("naive:api:text", "total_time", 120)
        await pipeline.execute()

    async def settle(self) -> None:
        while self._running:
            await asyncio.gather(*self._running)

    async def total(self) -> int:
        await self.settle()
        return int(await self._redis.get("naive:requests:total") or 0)

    async def close(self) -> None:
        await self._redis.aclose()


class _Ours(_None):
    """What the server does; every fifth request is blocked, which is counted by user as well."""

    async def open(self) -> None:
        from penstock.clock import SystemClock
        from penstock.hub.factory import open_hub
        from penstock.observe.effects import Effects
        from penstock.usage import HubCounters, Statistics

        clock = SystemClock()
        self._hub = await open_hub(os.environ["BENCH_REDIS"], None, clock=clock)
        self._effects = Effects(clock=clock)
        self._statistics = Statistics(HubCounters(self._hub), clock=clock, effects=self._effects)
        self._keeping = asyncio.ensure_future(self._effects.keep())

    def note(self, user: str) -> None:
        self._requests += 1
        decision = "approved" if self._requests % 5 else "rejected"
        self._statistics.answered(
            "filterx", user=user, decision=decision, cached=True, flagged=FLAGS, seconds=0.12
        )
        self._statistics.called("text", 0.12, failed=False)

    async def settle(self) -> None:
        await self._statistics.flush()

    async def total(self) -> int:
        found = await self._statistics.rows(["requests"], *[_today()] * 2)
        return sum(value for place, value in found.items() if place.name == "filterx.total")

    async def close(self) -> None:
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        await self._hub.aclose()


def run(rounds: int = 9) -> Report:
    """Measure; microseconds of server CPU and round trips per request."""
    spent: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    trips: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    wires = [
        request(PATH, json.dumps({"text": "hello", "user": f"user-{number % 50}"}).encode())
        for number in range(REQUESTS)
    ]
    with RedisServer() as redis, ExitStack() as stack:
        servers = {name: stack.enter_context(_serving(name, redis)) for name in VARIANTS}
        for server in servers.values():
            drive(server.port, wires[:WARM], connections=CONNECTIONS)
        for _ in range(rounds):
            batches: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
            reads = dict.fromkeys(VARIANTS, 0)
            for _ in range(BATCHES):
                for variant, server in servers.items():
                    before, cpu = _reads(redis), cpu_seconds(server.pid)
                    drive(server.port, wires, connections=CONNECTIONS)
                    last_reply(server.port, _get("/settled"))
                    batches[variant].append((cpu_seconds(server.pid) - cpu) / REQUESTS * 1e6)
                    reads[variant] += _reads(redis) - before - 1  # this look is no business of its
            for variant in VARIANTS:
                spent[variant].append(min(batches[variant]))
                trips[variant].append(reads[variant] / REQUESTS / BATCHES)
        asked = WARM + rounds * BATCHES * REQUESTS
        counted = {name: _total(server) / asked for name, server in servers.items()}
    return {
        "claim": CLAIM,
        "rows": [
            *(row(f"{name}: server CPU", spent[name], "us") for name in VARIANTS),
            *(row(f"{name}: round trips per request", trips[name], "") for name in VARIANTS),
            row("naive: server CPU of none", _ratios(spent["naive"], spent["none"]), "x"),
        ],
        "ratios": {
            "round trips per request": ratio(trips["penstock"], most=0.01),
            "server CPU / none": ratio(spent["penstock"], spent["none"], most=1.10),
            "server CPU, naive / none": ratio(spent["naive"], spent["none"]),
            "counted / asked": ratio([counted["penstock"]], most=1.0, least=1.0),
        },
    }


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def _serving(variant: str, redis: RedisServer) -> Any:
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "benchmarks.redis_bookkeeping:app", "--factory"),
        *("--no-access-log", "--log-level", "warning", "--port", str(port)),
    ]
    env = {"BENCH_VARIANT": variant, "BENCH_REDIS": redis.url}
    return serving(command, port=port, ready="/total", env=env)


def _reads(redis: RedisServer) -> int:
    """How often Redis read something from a socket."""
    told = redis.ask(b"INFO stats\r\n", replies=40).decode()
    return int(told.partition("total_reads_processed:")[2].split()[0])


def _total(server: Process) -> int:
    return int(json.loads(last_reply(server.port, _get("/total")))["total"])


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _today() -> int:
    from penstock.clock import SystemClock

    day = 86_400_000
    return int(SystemClock().now() * 1000) // day * day


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 9), indent=2))
