"""`make bench`: runs every claim, one process each, and writes what was measured to `results/`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PARTS = {"__init__", "__main__", "report", "load"}


def main() -> int:
    """Run all claims, or those named as arguments; 1 when a claim does not hold."""
    claims = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in PARTS)
    wanted = sys.argv[1:] or claims
    RESULTS.mkdir(exist_ok=True)
    failed = [name for name in wanted if not _measure(name)]
    print(f"{len(wanted) - len(failed)} claims hold, {len(failed)} do not", *failed)
    return 1 if failed else 0


def _measure(name: str) -> bool:
    print(f"== {name}", flush=True)
    code = f"import json; from benchmarks.{name} import run; print(json.dumps(run()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE.parent, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        return False
    report = json.loads(done.stdout.splitlines()[-1])
    report["measured"] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - a label
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    for label, found in report["ratios"].items():
        mark = "ok" if found["ok"] else "NOT MET"
        spread = f"{found['min']:g} .. {found['max']:g}"
        print(f"   {mark:8}{label}: {found['median']:g} ({spread}) {found['target']}", flush=True)
    return all(found["ok"] for found in report["ratios"].values())


if __name__ == "__main__":
    sys.exit(main())
