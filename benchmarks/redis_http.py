"""A hit of the Redis tier over HTTP, beside a hit of the memory tier and one raw GET of redis-py.

One server has Redis behind nothing (`PENSTOCK_CACHE=redis`), the other memory alone; both answer
the same verdicts to the same key. The GET reads the very value that the server reads, with
redis-py as this project sets it up. All figures are CPU of the process that does it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack

from benchmarks.load import cpu_seconds, drive, free_port, request, serving
from benchmarks.report import Report, ratio, row
from benchmarks.rigs.servers import RedisServer

CLAIM = "A Redis hit over HTTP costs at most a memory hit and 1.2 raw GETs of server CPU"
PATH = "/v1/moderations"
TEXT = "Thanks a lot for the quick help yesterday, the parcel arrived this morning."
REQUESTS = 2000
WARM = 500
ADMIN = "admin-key-of-the-benchmark-0123456789abcdef"


def run(rounds: int = 9) -> Report:
    """Measure; microseconds of CPU per request, and per GET."""
    wire = request(PATH, json.dumps({"input": TEXT}).encode(), token=ADMIN)
    with RedisServer() as redis, ExitStack() as stack:
        servers = {}
        for kind in ("memory", "redis"):
            port = free_port()
            env = {
                "PENSTOCK_HOME": stack.enter_context(tempfile.TemporaryDirectory()),
                "PENSTOCK_ADMIN_KEY": ADMIN,
                "PENSTOCK_LOG_LEVEL": "warning",
                "PENSTOCK_CACHE": kind,
                "REDIS_URL": redis.url,
            }
            command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
            servers[kind] = stack.enter_context(
                serving(command, port=port, ready="/livez", env=env)
            )
        for server in servers.values():
            drive(server.port, [wire] * WARM)
        spent: dict[str, list[float]] = {"memory": [], "redis": [], "GET": []}
        for _ in range(rounds):
            for kind, server in servers.items():
                before = cpu_seconds(server.pid)
                drive(server.port, [wire] * REQUESTS)
                spent[kind].append((cpu_seconds(server.pid) - before) / REQUESTS * 1e6)
            spent["GET"].append(_raw_get(redis.url))
    bound = [memory + 1.2 * get for memory, get in zip(spent["memory"], spent["GET"], strict=True)]
    return {
        "claim": CLAIM,
        "rows": [row(kind, spent[kind], "us CPU") for kind in spent],
        "ratios": {
            "Redis hit / (memory hit + 1.2 GET)": ratio(spent["redis"], bound, most=1.0),
            "Redis hit / memory hit": ratio(spent["redis"], spent["memory"]),
        },
    }


def _raw_get(url: str) -> float:
    """CPU microseconds of one GET of the cached verdict, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.redis_http", "--get", url],
        capture_output=True,
        check=True,
        text=True,
        env=dict(os.environ),
    )
    return float(done.stdout)


async def _get(url: str) -> float:
    from penstock.net.redis import connect

    client = connect(url)
    keys = [key async for key in client.scan_iter(match="cache:*", count=1000)]
    for _ in range(WARM):
        await client.get(keys[0])
    before = time.process_time()
    for _ in range(REQUESTS):
        await client.get(keys[0])
    spent = time.process_time() - before
    await client.aclose()
    return spent / REQUESTS * 1e6


if __name__ == "__main__":
    if sys.argv[1:2] == ["--get"]:
        print(asyncio.run(_get(sys.argv[2])))
    else:
        print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 9), indent=2))
