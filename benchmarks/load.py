"""Servers as processes of their own, and a client that keeps them busy over keep-alive sockets."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_FIRST = 12_000 + os.getpid() % 100 * 200  # up to 32,000: Linux gives out 32,768 and up
_ports = itertools.cycle(range(_FIRST, _FIRST + 200))


class Process(NamedTuple):
    """A running server."""

    pid: int
    port: int


def free_port(span: int = 1) -> int:
    """The first of `span` neighbouring ports that nobody uses.

    Never from the range that outgoing connections get theirs from, and from a part of this process'
    own: no neighbour takes it between this look and the server's start.
    """
    found: list[int] = []
    while len(found) < span:
        port = next(_ports)
        neighbours = found if found and port == found[-1] + 1 else []
        found = [*neighbours, port] if _is_free(port) else []
    return found[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def serving(
    command: Sequence[str], *, port: int, ready: str, env: dict[str, str] | None = None
) -> Iterator[Process]:
    """Start a command, wait until `ready` answers, end it by its pid."""
    with subprocess.Popen(
        command, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=sys.stderr
    ) as process:
        try:
            _wait(f"http://127.0.0.1:{port}{ready}", process)
            yield Process(process.pid, port)
        finally:
            process.terminate()
            process.wait(timeout=20)


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far, at the scheduler's resolution."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def request(path: str, body: bytes, *, token: str = "") -> bytes:
    """One HTTP/1.1 POST as it goes over the wire."""
    auth = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def drive(port: int, requests: Sequence[bytes], *, connections: int = 8) -> list[float]:
    """Send all requests over a few connections; seconds of each, in the order of completion.

    Raises when an answer is not a 200.
    """
    return asyncio.run(_drive(port, requests, connections))


def last_reply(port: int, wire: bytes) -> bytes:
    """The body of one answer."""
    return asyncio.run(_once(port, wire))


async def _drive(port: int, requests: Sequence[bytes], connections: int) -> list[float]:
    waiting = iter(requests)
    times: list[float] = []

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for wire in waiting:
            start = time.perf_counter()
            writer.write(wire)
            await _answer(reader)
            times.append(time.perf_counter() - start)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(work() for _ in range(connections)))
    return times


async def _once(port: int, wire: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(wire)
    body = await _answer(reader)
    writer.close()
    await writer.wait_closed()
    return body


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {head[:200]!r}")
    lower = head.lower()
    at = lower.index(b"content-length:") + len(b"content-length:")
    length = int(lower[at : lower.index(b"\r\n", at)])
    return await reader.readexactly(length)


def _wait(url: str, process: subprocess.Popen[bytes], patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)  # noqa: TID251 - waiting for another process
    raise RuntimeError(f"{url} did not answer within {patience} s")
