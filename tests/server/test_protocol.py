from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from penstock.server import protocol
from penstock.server.protocol import BoundedHttp

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A uvicorn with the bounded protocol, in this loop."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http=BoundedHttp, ws="none", lifespan="off", log_config=None, loop="asyncio"
        )
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        yield listening.getsockname()[1]
        server.should_exit = True
        await serving


async def test_an_ordinary_request_is_served_and_the_connection_kept(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    for _ in range(3):
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b"0\r\n\r\n")

    writer.close()
    await writer.wait_closed()


async def test_a_head_that_comes_in_pieces_is_served(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    for at in range(len(REQUEST)):
        writer.write(REQUEST[at : at + 1])
        await writer.drain()

    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_a_head_without_end_is_refused(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n")

    try:
        for number in range(10_000):
            writer.write(b"x-%d: %s\r\n" % (number, b"y" * 100))
            await writer.drain()
    except ConnectionError:
        pass
    said = await asyncio.wait_for(_all(reader), timeout=30)

    assert said == b"" or said.startswith(b"HTTP/1.1 431")
    writer.close()


async def test_a_head_that_never_ends_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "PATIENCE", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost:")

    assert await asyncio.wait_for(reader.read(), timeout=30) == b""
    writer.close()


async def _all(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""
