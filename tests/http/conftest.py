from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from penstock.clock import ManualClock
from penstock.observe.metrics import Metrics

App = Callable[..., Awaitable[None]]
Call = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def call() -> Call:
    """Send one request to an application in this process."""

    async def send(app: App, method: str = "GET", path: str = "/", **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **more)

    return send


@pytest.fixture
def serve() -> Callable[[App], Any]:
    """Serve an application by uvicorn on a free port; gives the address."""

    @asynccontextmanager
    async def served(app: App) -> AsyncIterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
            server = uvicorn.Server(config)
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(sockets=[listening]))
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
                server.should_exit = True

    return served


class Echo:
    """An endpoint that remembers its scope and answers 200 with what it read."""

    def __init__(self, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        self.scope: MutableMapping[str, Any] = {}
        self.start = {"type": "http.response.start", "status": status, "headers": headers or []}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        body = b""
        more = scope["type"] == "http"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["type"] == "http":
            await send(self.start)
            await send({"type": "http.response.body", "body": body})


@pytest.fixture
def echo() -> Echo:
    return Echo()
