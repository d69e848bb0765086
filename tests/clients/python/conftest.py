"""A server on loopback that says what a test scripted, and clients that wait for nothing."""

from __future__ import annotations

import inspect
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from penstock_client import AsyncPenstock, Paged, Penstock

KEY = "psk_secret-of-the-tests-0123456789abcdefghijklm"

VERDICT = {
    "moderation_id": "mod_1",
    "status": "completed",
    "result": {
        "moderation_id": "mod_1",
        "content_hash": "00",
        "ai_result": {"inappropriate_probability": 7, "reason": "calm"},
        "final_decision": "A",
        "reason": "nothing found",
        "created_at": "2026-01-02T03:04:05.000006+00:00",
        "word_count": 4,
        "percentage_used": 1.0,
        "from_cache": False,
        "of_a_newer_server": True,
    },
}


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Stub:
    """Answers what was scripted, then VERDICT; `cut` closes the connection instead."""

    url: str = ""
    script: deque[tuple[int, dict[str, str], bytes]] = field(default_factory=deque)
    requests: list[Seen] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, status: int = 200, document: Any = None, **headers: str) -> None:
        """Script the next answer; names of headers with `_` for `-`."""
        body = document if isinstance(document, bytes) else json.dumps(document or {}).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.script.append((status, named, body))

    def problem(self, status: int, slug: str = "x", detail: str = "no", **headers: str) -> None:
        """Script a problem document."""
        self.answer(status, {"type": f"/docs/errors#{slug}", "detail": detail}, **headers)

    def hold(self) -> None:
        """Answer the next request when the test is over."""
        self.script.append((-1, {}, b""))

    def cut(self) -> None:
        """Close the next connection without an answer."""
        self.script.append((0, {}, b""))


@pytest.fixture
def stub() -> Iterator[Stub]:
    """The server."""
    with listening(Stub()) as stub:
        yield stub


@pytest.fixture
def other_host() -> Iterator[Stub]:
    """A server that nobody meant to call."""
    with listening(Stub()) as stub:
        yield stub


@contextmanager
def listening(stub: Stub) -> Iterator[Stub]:
    """Answer requests on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            stub.requests.append(Seen(self.command, self.path, headers, body))
            status, named, sent = (
                stub.script.popleft() if stub.script else (200, {}, json.dumps(VERDICT).encode())
            )
            if status < 0:
                stub.released.wait(60)
            if status <= 0:
                self.close_connection = True
                return
            self.send_response(status)
            named = {"x-request-id": f"req-{len(stub.requests)}", **named}
            for name, value in {**named, "content-length": str(len(sent))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        do_POST = do_GET  # noqa: N815 - http.server looks for this name

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        stub.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield stub
        finally:
            stub.released.set()
            server.shutdown()
            thread.join()


@dataclass
class Times:
    """A clock whose sleeping is what makes time pass."""

    seconds: float = 1_700_000_000.0
    chance: float = 0.0
    waits: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def random(self) -> float:
        return self.chance

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.seconds += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def penstock(stub: Stub, times: Times) -> Iterator[Penstock]:
    """The synchronous client of the scripted server."""
    with Penstock(base_url=stub.url, api_key=KEY, clock=times) as client:
        yield client


class Either:
    """Calls a method of one of the clients; what the asynchronous one returns is awaited."""

    def __init__(self, client: Penstock | AsyncPenstock) -> None:
        self.client = client

    async def __call__(self, method: str, *arguments: Any, **named: Any) -> Any:
        found = getattr(self.client, method)(*arguments, **named)
        if hasattr(found, "__aiter__"):
            return [item async for item in found]
        if isinstance(found, Paged):
            return list(found)
        return await found if inspect.isawaitable(found) else found


@pytest.fixture(params=["sync", "async"])
async def call(request: pytest.FixtureRequest, stub: Stub, times: Times) -> AsyncIterator[Either]:
    """`await call("moderate_content", "text")` with each of the clients."""
    if request.param == "sync":
        with Penstock(base_url=stub.url, api_key=KEY, clock=times) as client:
            yield Either(client)
    else:
        async with AsyncPenstock(base_url=stub.url, api_key=KEY, clock=times) as client:
            yield Either(client)
