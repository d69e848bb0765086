"""A cached verdict over HTTP beside a FastAPI echo whose request and reply have the same bytes.

Ours is authenticated by a stored key, rate-limited, measured and on record; the echo does nothing
but parse and serialise with pydantic, as FastAPI's own documentation does it. Both run on the same
uvicorn, in processes of their own, and take turns. Bare ASGI is the floor of that uvicorn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.load import cpu_seconds, drive, free_port, last_reply, request, serving
from benchmarks.report import Report, ratio, row

CLAIM = "A cached verdict over HTTP costs no more server CPU than a FastAPI + pydantic echo"
PATH = "/v1/moderations"
TEXT = "Thanks a lot for the quick help yesterday, the parcel arrived this morning."
REQUESTS = 3000
WARM = 500


def run(rounds: int = 9) -> Report:
    """Measure; microseconds of server CPU per request."""
    body = json.dumps({"input": TEXT, "model": "omni-moderation-latest"}).encode()
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        env = {"PENSTOCK_HOME": home, "PENSTOCK_LOG_LEVEL": "warning"}
        token = _token(env)
        port = free_port()
        command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
        ours = stack.enter_context(serving(command, port=port, ready="/livez", env=env))
        wire = request(PATH, body, token=token)
        last_reply(port, wire)
        reply = Path(home) / "reply.json"
        reply.write_bytes(last_reply(port, wire))
        peers = {"penstock": ours}
        for kind in ("echo", "bare"):
            port = free_port()
            peers[kind] = stack.enter_context(
                serving(
                    [
                        sys.executable,
                        "-m",
                        "uvicorn",
                        f"benchmarks.rigs.echo:{kind}",
                        "--factory",
                        "--no-access-log",
                        "--log-level",
                        "warning",
                        "--no-server-header",
                        "--port",
                        str(port),
                    ],
                    port=port,
                    ready="/livez",
                    env={"BENCH_REPLY": str(reply)},
                )
            )
        spent: dict[str, list[float]] = {kind: [] for kind in peers}
        for process in peers.values():
            drive(process.port, [wire] * WARM)
        for _ in range(rounds):
            for kind, process in peers.items():
                before = cpu_seconds(process.pid)
                drive(process.port, [wire] * REQUESTS)
                spent[kind].append((cpu_seconds(process.pid) - before) / REQUESTS * 1e6)
        size = reply.stat().st_size
    return {
        "claim": CLAIM,
        "rows": [row(f"{kind}, reply of {size} B", spent[kind], "us CPU") for kind in spent],
        "ratios": {
            "cached verdict / FastAPI echo": ratio(spent["penstock"], spent["echo"], most=1.0),
            "cached verdict / bare ASGI": ratio(spent["penstock"], spent["bare"]),
        },
    }


def _token(env: dict[str, str]) -> str:
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "penstock",
            "token",
            "create",
            "--json",
            "--name",
            "bench",
            "--role",
            "operator",
            "--rate-limit",
            "100000000",
        ],
        env={**os.environ, **env},
        check=True,
        capture_output=True,
    )
    return str(json.loads(made.stdout)["token"])


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 9), indent=2))
