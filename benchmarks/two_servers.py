"""Cached verdicts per second from one server and from two that share Redis and PostgreSQL.

The client is a process like theirs and needs a core's share of its own: on two cores two servers
and a client compete, so this says what such a machine gives, not what servers cost. The CPU per
request is what scales; it is measured on both.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from contextlib import ExitStack

from benchmarks.load import Process, cpu_seconds, drive, free_port, request, serving
from benchmarks.report import Report, ratio, row
from benchmarks.rigs.servers import PostgresServer, RedisServer

CLAIM = "Two servers on Redis and PostgreSQL cost no more CPU per cached verdict than one alone"
PATH = "/v1/moderations"
TEXT = "Thanks a lot for the quick help yesterday, the parcel arrived this morning."
REQUESTS = 4000
WARM = 500
ADMIN = "admin-key-of-the-benchmark-0123456789abcdef"


def run(rounds: int = 9) -> Report:
    """Measure; requests per second, and microseconds of server CPU per request."""
    wire = request(PATH, json.dumps({"input": TEXT}).encode(), token=ADMIN)
    with RedisServer() as redis, PostgresServer() as postgres, ExitStack() as stack:
        shared = {"REDIS_URL": redis.url, "PENSTOCK_DATABASE_URL": postgres.database()}
        alone = [_server(stack, {})]
        pair = [_server(stack, shared) for _ in range(2)]
        for server in (*alone, *pair):
            drive(server.port, [wire] * WARM)
        rate: dict[str, list[float]] = {"one": [], "two": []}
        cost: dict[str, list[float]] = {"one": [], "two": []}
        for _ in range(rounds):
            for name, servers in (("one", alone), ("two", pair)):
                before = sum(cpu_seconds(server.pid) for server in servers)
                took = _drive_all(servers, wire)
                used = sum(cpu_seconds(server.pid) for server in servers) - before
                rate[name].append(REQUESTS / took)
                cost[name].append(used / REQUESTS * 1e6)
    return {
        "claim": CLAIM,
        "rows": [
            *(row(f"{name}, cached verdicts", rate[name], "1/s") for name in rate),
            *(row(f"{name}, per request", cost[name], "us CPU") for name in cost),
        ],
        "ratios": {
            "CPU per request, two shared / one alone": ratio(cost["two"], cost["one"], most=1.1),
            "throughput, two / one": ratio(rate["two"], rate["one"]),
        },
    }


def _server(stack: ExitStack, env: dict[str, str]) -> Process:
    port = free_port()
    home = stack.enter_context(tempfile.TemporaryDirectory())
    own = {"PENSTOCK_HOME": home, "PENSTOCK_ADMIN_KEY": ADMIN, "PENSTOCK_LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
    return stack.enter_context(serving(command, port=port, ready="/livez", env={**own, **env}))


def _drive_all(servers: list[Process], wire: bytes) -> float:
    """Seconds until all servers together have answered `REQUESTS`."""
    share = [wire] * (REQUESTS // len(servers))
    threads = [threading.Thread(target=drive, args=(one.port, share)) for one in servers]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 9), indent=2))
