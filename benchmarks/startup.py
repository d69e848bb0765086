"""What it costs to have Penstock at all: importing it, starting it, keeping it idle."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time

from benchmarks.load import free_port, rss_bytes, serving
from benchmarks.report import Report, ratio, row

CLAIM = "import penstock <= 60 ms over bare Python; healthy <= 2 s after set-up; idle <= 150 MB"
IMPORT = "from penstock import Cache, cache_model, cached, cached_batch"


def run(rounds: int = 9) -> Report:
    """Measure; the first start, which makes the database, is not among the starts."""
    bare, imported, started, resident = [], [], [], []
    with tempfile.TemporaryDirectory() as home:
        env = {"PENSTOCK_HOME": home, "PENSTOCK_LOG_LEVEL": "warning"}
        for number in range(rounds + 1):
            bare.append(_seconds("pass"))
            imported.append(_seconds(IMPORT))
            port = free_port()
            command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
            start = time.perf_counter()
            with serving(command, port=port, ready="/readyz", env=env) as process:
                if number:
                    started.append(time.perf_counter() - start)
                    resident.append(rss_bytes(process.pid) / 1e6)
    added = [(a - b) * 1e3 for a, b in zip(imported, bare, strict=True)][1:]
    return {
        "claim": CLAIM,
        "rows": [
            row("import penstock, over bare Python", added, "ms"),
            row("start until ready", started, "s"),
            row("idle resident memory", resident, "MB"),
        ],
        "ratios": {
            "import over bare Python, ms": ratio(added, most=60),
            "start until ready, s": ratio(started, most=2),
            "idle resident memory, MB": ratio(resident, most=150),
        },
    }


def _seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 9), indent=2))
