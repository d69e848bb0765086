"""How long a caller waits over HTTP (X-14, X-15): for a cached verdict, and for a new one."""

from __future__ import annotations

import json
import random
import sys
import tempfile

from benchmarks.load import drive, free_port, request, serving
from benchmarks.moderation_path import words
from benchmarks.report import Report, ratio, row

CLAIM = "Over HTTP: a cached verdict p95 < 10 ms, a new clean text p95 < 20 ms"
TOKEN = "bench-key-bench-key-bench-key-bench-key"
REQUESTS = 400
CONNECTIONS = 4


def run(rounds: int = 9) -> Report:
    """Measure; milliseconds at the client, four connections."""
    pick = random.Random(11)
    times: dict[str, list[float]] = {"new text": [], "cached": []}
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        env = {
            "PENSTOCK_HOME": home,
            "PENSTOCK_ADMIN_KEY": TOKEN,
            "PENSTOCK_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
        with serving(command, port=port, ready="/livez", env=env):
            for number in range(rounds + 1):
                wires = [_wire(pick) for _ in range(REQUESTS)]
                for name in times:
                    spent = sorted(drive(port, wires, connections=CONNECTIONS))
                    if number:
                        times[name].append(spent[int(len(spent) * 0.95)] * 1e3)
    return {
        "claim": CLAIM,
        "rows": [row(f"{name}, p95", values, "ms") for name, values in times.items()],
        "ratios": {
            "cached, p95 in ms": ratio(times["cached"], most=10),
            "new text, p95 in ms": ratio(times["new text"], most=20),
        },
    }


def _wire(pick: random.Random) -> bytes:
    return request("/v1/moderations", json.dumps({"input": words(pick, 120)}).encode(), token=TOKEN)


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 9), indent=2))
