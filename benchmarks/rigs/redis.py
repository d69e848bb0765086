"""A redis-server of the benchmark's own: free port, nothing persisted, gone at the end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.load import free_port


@contextmanager
def redis_server() -> Iterator[int]:
    """The port of an empty server."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is not installed; on Debian: apt-get install redis-server")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*command, "no", "--dir", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait(port)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait(port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(7).startswith(b"+PONG"):
                    return
        except OSError:
            continue
    raise RuntimeError("redis-server did not start")
