"""Streams of events on real connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from penstock.clock import SystemClock
from penstock.http.request_id import RequestId
from penstock.server.protocol import BoundedHttp
from penstock.web.sse import Event, EventStream

PATIENCE = 10.0
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Endless:
    """A source that tells one event and then nothing, and whether it was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def events(self) -> AsyncIterator[Event]:
        try:
            yield Event("job", b"1")
            await asyncio.Event().wait()
        finally:
            self.closed.set()


@pytest.fixture
def endless() -> Endless:
    return Endless()


@pytest.fixture
async def running(endless: Endless) -> AsyncIterator[tuple[int, uvicorn.Server]]:
    """A server on a free port, in this loop, that answers with the endless source."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await EventStream(endless.events(), clock=SystemClock())(scope, receive, send)

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        served: Any = RequestId(app)
        config = uvicorn.Config(
            served, http=BoundedHttp, ws="none", lifespan="off", log_config=None, loop="asyncio"
        )
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        yield listening.getsockname()[1], server
        server.should_exit = True
        await asyncio.wait_for(serving, PATIENCE)


async def test_an_event_is_on_the_wire_before_the_next_one_exists(running):
    reader, writer = await asyncio.open_connection("127.0.0.1", running[0])
    writer.write(REQUEST)

    told = await asyncio.wait_for(reader.readuntil(b"data: 1\n\n"), PATIENCE)

    assert told.startswith(b"HTTP/1.1 200 OK")
    assert b"content-type: text/event-stream" in told
    writer.close()


async def test_a_lost_connection_closes_the_source(running, endless: Endless):
    reader, writer = await asyncio.open_connection("127.0.0.1", running[0])
    writer.write(REQUEST)
    await asyncio.wait_for(reader.readuntil(b"data: 1\n\n"), PATIENCE)

    writer.close()

    await asyncio.wait_for(endless.closed.wait(), PATIENCE)


async def test_a_server_that_stops_ends_its_streams_properly(running, endless: Endless):
    """It would wait for them until its grace is over, and then cut them."""
    port, server = running
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    await asyncio.wait_for(reader.readuntil(b"data: 1\n\n"), PATIENCE)

    server.should_exit = True

    rest = await asyncio.wait_for(reader.read(), PATIENCE)
    assert rest.endswith(b"0\r\n\r\n")
    assert endless.closed.is_set()
    writer.close()
