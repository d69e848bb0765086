"""Rig U800 (F-65): the same texts first from an upstream of 800-1200 ms, then from the cache."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile

from benchmarks.load import drive, free_port, request, serving
from benchmarks.report import Report, ratio, row
from benchmarks.rigs.upstream import Upstream

CLAIM = "Cached answers over HTTP: p99 below 50 ms and at least 10x faster than an 800-1200 ms API"
TEXTS = 48
REPEATS = 20
TOKEN = "bench-key-bench-key-bench-key-bench-key"


def run(rounds: int = 7) -> Report:
    """Measure; each round uses new texts."""
    cold: list[float] = []
    warm: list[float] = []
    tail: list[float] = []
    with Upstream(latency=(0.8, 1.2), seed=7) as upstream, tempfile.TemporaryDirectory() as home:
        port = free_port()
        env = {
            "PENSTOCK_HOME": home,
            "PENSTOCK_ADMIN_KEY": TOKEN,
            "PENSTOCK_PROVIDER": f"{upstream.url}?api=moderations",
            "PENSTOCK_PROVIDER_KEY": "none",
            "PENSTOCK_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
        with serving(command, port=port, ready="/livez", env=env):
            for number in range(rounds):
                wires = [
                    request("/v1/moderations", _body(number, text), token=TOKEN)
                    for text in range(TEXTS)
                ]
                cold.append(statistics.median(drive(port, wires, connections=16)))
                hits = sorted(drive(port, wires * REPEATS, connections=4))
                warm.append(statistics.median(hits))
                tail.append(hits[int(len(hits) * 0.99)])
        calls = upstream.calls
    rows = [
        row("first request, p50", [s * 1e3 for s in cold], "ms"),
        row("cached, p50", [s * 1e3 for s in warm], "ms"),
        row("cached, p99", [s * 1e3 for s in tail], "ms"),
        row("upstream calls per distinct text", [calls / (rounds * TEXTS)], "calls"),
    ]
    return {
        "claim": CLAIM,
        "rows": rows,
        "ratios": {
            "first request / cached": ratio(cold, warm, least=10),
            "cached p99, ms": ratio([s * 1e3 for s in tail], most=50),
        },
    }


def _body(number: int, text: int) -> bytes:
    return json.dumps({"input": f"Order {number}-{text} has arrived, thank you."}).encode()


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 7), indent=2))
