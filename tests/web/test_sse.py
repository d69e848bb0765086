from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.web.sse import Event, EventStream

PATIENCE = 60.0


class Caller:
    """One open response: what was sent, and the way to hang up."""

    def __init__(self, events: AsyncIterator[Event], clock: ManualClock, **more: Any) -> None:
        self.scope: dict[str, Any] = {"type": "http", "penstock": {}}
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._left = asyncio.Event()
        response = EventStream(events, clock=clock, **more)
        self.served = asyncio.ensure_future(response(self.scope, self._receive, self.sent.put))

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.sent.get(), PATIENCE)

    async def body(self) -> bytes:
        return (await self.next())["body"]

    async def hang_up(self) -> None:
        self._left.set()
        await asyncio.wait_for(self.served, PATIENCE)

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}


class Source:
    """Events that a test hands in; `closed` tells when nobody listens any more."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[Event | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def events(self) -> AsyncIterator[Event]:
        try:
            while event := await self.coming.get():
                yield event
        finally:
            self.closed.set()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def caller(source: Source, clock: ManualClock) -> AsyncIterator[Caller]:
    caller = Caller(source.events(), clock)
    yield caller
    caller.served.cancel()
    await asyncio.wait((caller.served,))


async def test_the_head_leaves_before_the_first_event_and_forbids_buffering(caller):
    start = await caller.next()

    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-store, no-transform"
    assert headers[b"x-accel-buffering"] == b"no"
    assert b"content-length" not in headers


async def test_events_have_ids_names_and_data(caller, source):
    await caller.next()

    await source.coming.put(Event("job", b"one"))
    await source.coming.put(Event("job", b"two\nlines", "last"))

    assert await caller.body() == b"id: 1\nevent: job\ndata: one\n\n"
    assert await caller.body() == b"id: last\nevent: job\ndata: two\ndata: lines\n\n"


async def test_the_response_ends_with_its_source(caller, source):
    await caller.next()

    await source.coming.put(None)

    assert await caller.next() == {"type": "http.response.body", "body": b"", "more_body": False}
    await asyncio.wait_for(caller.served, PATIENCE)


async def test_a_silent_source_is_kept_alive_by_comments(caller, source, clock):
    await caller.next()
    for _ in range(2):
        await settled()
        clock.advance(15.0)

        assert await caller.body() == b":\n\n"

    await source.coming.put(Event("job", b"1"))
    assert b"data: 1" in await caller.body()


async def test_a_caller_that_hangs_up_closes_the_source(caller, source):
    await caller.next()
    await source.coming.put(Event("job", b"1"))
    await caller.next()

    await caller.hang_up()

    await asyncio.wait_for(source.closed.wait(), PATIENCE)


async def test_a_server_that_stops_ends_the_response(caller, source):
    """Otherwise it would wait for open streams until its grace is over."""
    await caller.next()

    caller.scope["penstock"]["stop"]()

    assert (await caller.next())["more_body"] is False
    await asyncio.wait_for(caller.served, PATIENCE)
    assert source.closed.is_set()


async def test_a_cancelled_response_closes_the_source_and_stays_cancelled(caller, source):
    await caller.next()
    await settled()

    caller.served.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(caller.served, PATIENCE)
    assert source.closed.is_set()


async def test_a_source_that_fails_cuts_the_response(clock):
    async def failing() -> AsyncIterator[Event]:
        yield Event("job", b"1")
        raise ValueError("broken")

    caller = Caller(failing(), clock)

    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(caller.served, PATIENCE)
    assert [(await caller.next())["type"] for _ in range(2)][1] == "http.response.body"
    assert caller.sent.empty()


@pytest.mark.parametrize("asks", [False, True], ids=["knows", "asks the database"])
async def test_a_stream_ends_at_the_heartbeat_after_its_key_was_revoked(source, clock, asks):
    allowed = True

    async def asked():
        await asyncio.sleep(0)
        return allowed

    caller = Caller(source.events(), clock, is_allowed=asked if asks else lambda: allowed)
    await caller.next()
    await source.coming.put(Event("job", b"1"))
    assert b"data: 1" in await caller.body()
    await settled()

    allowed = False
    clock.advance(15.0)

    assert (await caller.next())["more_body"] is False
    await asyncio.wait_for(source.closed.wait(), PATIENCE)


async def test_a_busy_stream_has_its_heartbeat_too(caller, source, clock):
    await caller.next()
    for number in range(2):
        await source.coming.put(Event("job", str(number).encode()))
        assert b"data" in await caller.body()
        await settled()
        clock.advance(7.5)

    assert await caller.body() == b":\n\n"


async def settled() -> None:
    """Until everything that can go on without new events has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)
