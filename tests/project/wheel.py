"""`make wheel`: the wheel without the checkout. Builds it, installs it, serves from it, moderates.

A script and no test: it makes an environment of its own, which takes longer than a test may.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UV = ROOT / ".venv" / "bin" / "uv"
KEY = "wheel-check-" * 4
PATIENCE = 30.0  # seconds until the server answers


def main() -> int:
    """Do it all; any step that fails raises."""
    wheel = build()
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder)
        binaries = install(wheel, empty / "venv")
        environ = {
            "PATH": os.environ["PATH"],
            "PENSTOCK_HOME": str(empty / "data"),
            "PENSTOCK_ADMIN_KEY": KEY,
        }
        penstock = str(binaries / "penstock")
        subprocess.run([penstock, "doctor"], cwd=empty, env=environ, check=True)
        told = serve_and_ask(penstock, cwd=empty, environ=environ)
    sys.stdout.write(f"{wheel.name}: installs, serves and moderates ({told})\n")
    return 0


def build() -> Path:
    """The wheel in dist/."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return max((ROOT / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)


def install(wheel: Path, place: Path) -> Path:
    """An environment with the locked requirements and the wheel; its folder of programs."""
    venv.create(place)
    binaries = place / "bin"
    pip = [str(UV), "pip", "install", "--quiet", "--python", str(binaries / "python")]
    locked = ["--require-hashes", "-r", str(ROOT / "requirements.txt")]
    subprocess.run([*pip, *locked], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    return binaries


def serve_and_ask(penstock: str, *, cwd: Path, environ: dict[str, str]) -> str:
    """Serve from the installed package, moderate one text, stop; the decision and its source."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [penstock, "serve", "--port", str(port)]
    server = subprocess.Popen(command, cwd=cwd, env=environ)
    try:
        answer = ask(f"http://127.0.0.1:{port}/v1/moderations", server)
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE)
    ours = answer["results"][0]["penstock"]
    return f"{ours['decision']}, from {ours['receipt']['source']}"


def ask(url: str, server: subprocess.Popen[bytes]) -> Any:
    """The answer to one text, as soon as the server listens."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    body = json.dumps({"input": "Have a lovely day, everyone."}).encode()
    end = time.monotonic() + PATIENCE
    while True:
        try:
            request = urllib.request.Request(url, body, headers)
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except OSError as error:
            if time.monotonic() > end or isinstance(error, urllib.error.HTTPError):
                raise
            try:
                server.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError("the server ended by itself") from error


if __name__ == "__main__":
    sys.exit(main())
