"""Streams of events on real connections, and how many of them there may be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from penstock.clock import SystemClock
from penstock.http.request_id import RequestId
from penstock.server.app import key_ring
from penstock.server.protocol import BoundedHttp
from penstock.web.sse import Event, EventStream
from penstock.web.streams import MOST_OF_A_KEY
from tests.conftest import ADMIN
from tests.server.asking import assert_problem
from tests.server.conftest import App
from tests.server.jobs import double, enqueue

PATIENCE = 60.0
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


class Watcher:
    """A caller of the application with an open event stream."""

    def __init__(self, app: App, token: str, path: str) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._left = asyncio.Event()
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {token}".encode())],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }
        self.served = asyncio.ensure_future(app.server(scope, self._receive, self._send))

    async def hang_up(self) -> None:
        self._left.set()
        await asyncio.wait_for(self.served, PATIENCE)

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status.set_result(message["status"])


async def test_a_key_with_too_many_streams_is_told_to_come_later_and_others_are_not(app: App):
    await app.runtime.jobs.pause("default")
    job = await enqueue(app, double, 1)
    path = f"/v1/jobs/{job.id}/events"
    watchers = [Watcher(app, ADMIN, path) for _ in range(MOST_OF_A_KEY)]
    for watcher in watchers:
        assert await asyncio.wait_for(watcher.status, PATIENCE) == 200

    refused = await app.client.get(path)
    token = (await app.client.post("/v1/keys", json={"name": "b", "role": "admin"})).json()["token"]
    watchers.append(Watcher(app, token, path))

    assert "event streams" in assert_problem(refused, 429)["detail"]
    assert int(refused.headers["retry-after"]) > 0
    assert await asyncio.wait_for(watchers[-1].status, PATIENCE) == 200
    for watcher in watchers:
        await watcher.hang_up()


async def test_a_key_that_is_revoked_is_not_accepted_any_more(app: App):
    ring = key_ring(app.runtime)
    made = await ring.create("watcher", actor="test", role="viewer")
    await ring.refresh()
    who, env = ring.verify(made.token), ring.verify(ADMIN)
    assert who is not None
    assert env is not None

    before = await ring.accepts(who)
    await ring.revoke(made.record.id, actor="test")

    after = [await ring.accepts(each) for each in (who, env)]
    assert (before, after) == (True, [False, True])
