"""What it costs to have Penstock at all: importing it, starting it, keeping it idle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

from benchmarks.load import free_port, rss_bytes, serving
from benchmarks.report import Report, ratio, row

CLAIM = "import penstock <= 60 ms over bare Python; healthy <= 2 s after set-up; idle <= 150 MB"
IMPORTS = {
    "import penstock": "import penstock",
    "import of the cache and its decorators": (
        "from penstock import Cache, cache_model, cached, cached_batch"
    ),
}
# The first round leaves compiled modules behind, as every first start does; it is not counted.
COMPILED = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def run(rounds: int = 9) -> Report:
    """Measure; the first start, which makes the database, is not among the starts."""
    bare: list[float] = []
    imported: dict[str, list[float]] = {name: [] for name in IMPORTS}
    started: list[float] = []
    resident: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        env = {"PENSTOCK_HOME": home, "PENSTOCK_LOG_LEVEL": "warning"}
        for number in range(rounds + 1):
            bare.append(_seconds("pass"))
            for name, code in IMPORTS.items():
                imported[name].append(_seconds(code))
            port = free_port()
            command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
            start = time.perf_counter()
            with serving(command, port=port, ready="/readyz", env=env) as process:
                if number:
                    started.append(time.perf_counter() - start)
                    resident.append(rss_bytes(process.pid) / 1e6)
    added = {
        name: [(a - b) * 1e3 for a, b in zip(spent, bare, strict=True)][1:]
        for name, spent in imported.items()
    }
    return {
        "claim": CLAIM,
        "rows": [
            *(row(f"{name}, over bare Python", spent, "ms") for name, spent in added.items()),
            row("start until ready", started, "s"),
            row("idle resident memory", resident, "MB"),
        ],
        "ratios": {
            "import penstock over bare Python, ms": ratio(added["import penstock"], most=60),
            "start until ready, s": ratio(started, most=2),
            "idle resident memory, MB": ratio(resident, most=150),
        },
    }


def _seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=COMPILED)
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 9), indent=2))
