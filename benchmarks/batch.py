"""Batches (F-67, F-68, F-76, X-23): how fast, how few calls, and what others feel of it."""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

from benchmarks.load import drive, free_port, request, serving
from benchmarks.report import Report, ratio, row
from benchmarks.rigs.upstream import Upstream

CLAIM = (
    "100 texts in a batch against an 800-1200 ms API: within 1.15 of the ideal, >= 5x single "
    "calls; and a batch of 10,000 does not double the p99 of a cached request"
)
TOKEN = "bench-key-bench-key-bench-key-bench-key"
WIDTHS = (8, 16, 32)
SIZES = (1, 10, 25, 50, 100)
SINGLES = 8
ITEMS = 10_000
REQUESTS = 6000
CONNECTIONS = 4
WORDS = ("order", "arrived", "thank", "kindly", "weather", "soup", "dinner", "evening", "parcel")


def run(rounds: int = 5) -> Report:
    """Measure; each round uses new texts.

    "Singly" is a hundred times the mean of eight single requests of the same round, which were sent
    side by side: a hundred one after another would only take longer to say the same.
    """
    rows, ratios = [], {}
    with Upstream(latency=(0.8, 1.2), seed=7) as upstream:
        for width in WIDTHS:
            found = _against_upstream(upstream, width, rounds)
            ideal = [ceil(100 / width) * mean for mean in found["single"]]
            rows.append(row(f"100 texts, {width} at once", found["batch"], "s"))
            ratios[f"{width} at once / ideal"] = ratio(found["batch"], ideal, most=1.15)
            singly = [mean * 100 for mean in found["single"]]
            ratios[f"singly / {width} at once"] = ratio(singly, found["batch"], least=5)
            if width == WIDTHS[1]:
                rows.append(row("100 texts accepted in the background", found["accepted"], "ms"))
                ratios["accepted in the background, ms"] = ratio(found["accepted"], most=50)
            if width == WIDTHS[-1]:
                rows += [row(f"batch of {n}, texts per second", found[n], "1/s") for n in SIZES]
            if width == WIDTHS[0]:
                rows.append(
                    row("upstream calls for 100 texts, 50 % twice", found["calls"], "calls")
                )
                ratios["upstream calls / texts, 50 % twice"] = ratio(
                    [calls / 100 for calls in found["calls"]], most=0.5
                )
    idle, busy, speed = _beside_requests(rounds)
    rows += [
        row("cached request, idle, p99", idle, "ms"),
        row("cached request beside a batch of 10,000, p99", busy, "ms"),
        row("batch of 10,000 on the local model beside them", speed, "items/s"),
    ]
    ratios["cached p99, batch / idle"] = ratio(busy, idle, most=2)
    return {"claim": CLAIM, "rows": rows, "ratios": ratios}


def _against_upstream(upstream: Upstream, width: int, rounds: int) -> dict[Any, list[float]]:
    names = ("single", "batch", "calls", "accepted", *SIZES)
    found: dict[Any, list[float]] = {name: [] for name in names}
    env = {
        "PENSTOCK_PROVIDER": f"{upstream.url}?api=moderations",
        "PENSTOCK_PROVIDER_KEY": "none",
        "PENSTOCK_PROVIDER_CONCURRENCY": str(max(WIDTHS)),
        "PENSTOCK_BATCH_CONCURRENCY": str(width),
    }
    with _server(env) as port:
        _batch(port, ["warm the connection"])
        for number in range(rounds):
            singles = [_wire(f"single {width} {number} {text}") for text in range(SINGLES)]
            found["single"].append(statistics.mean(drive(port, singles, connections=SINGLES)))
            found["batch"].append(_batch(port, [f"note {width} {number} {n}" for n in range(100)]))
            if width == WIDTHS[0] and number == 0:
                before = upstream.calls
                _batch(port, [f"twice {width} {number} {n % 50}" for n in range(100)])
                found["calls"].append(float(upstream.calls - before))
            if width == WIDTHS[-1]:
                for size in SIZES:
                    texts = [f"size {size} {number} {n}" for n in range(size)]
                    found[size].append(size / _batch(port, texts))
        for number in range(rounds if width == WIDTHS[1] else 0):
            texts = [f"later {number} {n}" for n in range(100)]
            start = time.perf_counter()
            _call(port, "/api/moderate/batch", {"contents": texts, "background": True})
            found["accepted"].append((time.perf_counter() - start) * 1e3)
    return found


def _beside_requests(rounds: int) -> tuple[list[float], list[float], list[float]]:
    """p99 in milliseconds without and with a batch, from rounds in which both took turns."""
    pick = random.Random(3)
    idle: list[float] = []
    busy: list[float] = []
    speed: list[float] = []
    hot = [_wire("Thank you all for the lovely evening.")] * REQUESTS
    with _server({}) as port:
        drive(port, hot, connections=CONNECTIONS)
        for number in range(rounds):
            idle.append(_p99(port, hot))
            bodies = [f"{number} {n} " + " ".join(pick.choices(WORDS, k=20)) for n in range(ITEMS)]
            sent = {
                "endpoint": "/v1/moderations",
                "requests": [{"body": {"input": text}} for text in bodies],
            }
            batch = _call(port, "/v1/batches", sent)
            while _state(port, batch)["completed"] == 0:
                time.sleep(0.01)  # noqa: TID251 - waiting for another process
            done, at = _state(port, batch)["completed"], time.perf_counter()
            busy.append(_p99(port, hot))
            now = _state(port, batch)["completed"]
            if now >= ITEMS:
                raise RuntimeError("the batch ended while it was measured beside")
            speed.append((now - done) / (time.perf_counter() - at))
            _call(port, f"/v1/batches/{batch['id']}/cancel", {})
            while not _call(port, f"/v1/batches/{batch['id']}")["cancelled_at"]:
                time.sleep(0.01)  # noqa: TID251 - waiting for another process
    return idle, busy, speed


def _p99(port: int, wires: list[bytes]) -> float:
    spent = sorted(drive(port, wires, connections=CONNECTIONS))
    return spent[int(len(spent) * 0.99)] * 1e3


def _state(port: int, batch: dict[str, Any]) -> dict[str, int]:
    found: dict[str, int] = _call(port, f"/v1/batches/{batch['id']}")["request_counts"]
    return found


def _batch(port: int, texts: list[str]) -> float:
    """Seconds that a batch takes in its request; raises when a text was not judged."""
    start = time.perf_counter()
    answer = _call(port, "/api/moderate/batch", {"contents": texts})
    spent = time.perf_counter() - start
    if answer["errors"] or len(answer["results"]) != len(texts):
        raise RuntimeError(f"not every text was judged: {answer['errors'][:3]}")
    return spent


def _wire(text: str) -> bytes:
    return request("/v1/moderations", json.dumps({"input": text}).encode(), token=TOKEN)


def _call(port: int, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    with urllib.request.urlopen(asked, timeout=120) as reply:
        found: dict[str, Any] = json.load(reply)
    return found


@contextmanager
def _server(env: dict[str, str]) -> Iterator[int]:
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        own = {
            "PENSTOCK_HOME": home,
            "PENSTOCK_ADMIN_KEY": TOKEN,
            "PENSTOCK_LOG_LEVEL": "error",
            **env,
        }
        command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
        with serving(command, port=port, ready="/livez", env=own):
            yield port


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 5), indent=2))
