"""Many who watch the same thing are one reader; and there are not too many of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.errors import RateLimited
from penstock.web.principal import Principal
from penstock.web.sse import Event
from penstock.web.streams import Streams

PATIENCE = 60.0
ANNA, BEN = [Principal(f"key_{name}", name, "viewer") for name in ("anna", "ben")]


class Source:
    """Events that a test hands in, and how often it was opened and let go."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
        self.opened = 0
        self.closed = 0

    async def __call__(self) -> AsyncIterator[Event]:
        self.opened += 1
        try:
            while event := await self.coming.get():
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed += 1

    async def tell(self, *data: bytes) -> None:
        for each in data:
            await self.coming.put(Event("job", each))


class Response:
    """One open response; `began` holds its first message."""

    def __init__(self, streams: Streams, who: Principal, source: Source) -> None:
        self._left = asyncio.Event()
        self.began: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        stream = streams.open(who, "topic", source)
        self.served = asyncio.ensure_future(stream({}, self._receive, self._send))

    async def hang_up(self) -> None:
        self._left.set()
        await asyncio.wait_for(self.served, PATIENCE)

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if not self.began.done():
            self.began.set_result(message)


@pytest.fixture
def source() -> Source:
    return Source()


def make(**bounds: Any) -> Streams:
    return Streams(clock=ManualClock(), is_allowed=lambda who: True, **bounds)


async def soon(events: AsyncIterator[Event]) -> bytes:
    return (await asyncio.wait_for(anext(events), PATIENCE)).data


async def test_all_who_follow_a_topic_hear_of_one_source(source: Source):
    streams = make()
    followers = [streams.follow("topic", source) for _ in range(50)]
    await source.tell(b"1")

    heard = [await soon(follower) for follower in followers]

    assert heard == [b"1"] * 50
    assert source.opened == 1


async def test_who_comes_later_is_told_how_it_is(source: Source):
    streams = make()
    first = streams.follow("topic", source)
    await source.tell(b"1")
    await soon(first)

    assert await soon(streams.follow("topic", source)) == b"1"


async def test_many_changes_in_a_moment_are_told_as_one(source: Source):
    follower = make(spacing=0.05).follow("topic", source)
    await source.tell(*[str(number).encode() for number in range(100)])

    heard = [await soon(follower)]
    while heard[-1] != b"99":
        heard.append(await soon(follower))

    assert len(heard) == 2


async def test_the_end_is_told_at_once_and_to_everybody(source: Source):
    streams = make(spacing=3600.0)
    followers = [streams.follow("topic", source) for _ in range(3)]
    await source.tell(b"1")
    for follower in followers:
        await soon(follower)

    await source.tell(b"2", b"the end")
    await source.coming.put(None)

    assert [await soon(follower) for follower in followers] == [b"the end"] * 3
    assert [await anext(follower, None) for follower in followers] == [None] * 3


async def test_a_source_that_fails_fails_for_everybody(source: Source):
    streams = make()
    followers = [streams.follow("topic", source) for _ in range(2)]
    listening = [asyncio.ensure_future(soon(follower)) for follower in followers]

    await source.coming.put(ValueError("broken"))

    for each in listening:
        with pytest.raises(ValueError, match="broken"):
            await each


async def test_the_source_is_let_go_when_the_last_one_leaves(source: Source):
    streams = make()
    first, second = [streams.follow("topic", source) for _ in range(2)]
    await source.tell(b"1")
    await soon(first)
    await soon(second)

    await first.aclose()
    still = source.closed
    await second.aclose()

    assert (still, source.closed) == (0, 1)


async def test_a_topic_whose_source_ended_is_opened_anew(source: Source):
    streams = make()
    await source.tell(b"1")
    await source.coming.put(None)
    first = streams.follow("topic", source)
    await soon(first)

    await source.tell(b"again")

    assert await soon(streams.follow("topic", source)) == b"again"
    assert source.opened == 2


@pytest.mark.parametrize("bounds", [{"most_of_a_key": 2}, {"most": 3}], ids=["key", "process"])
async def test_more_streams_than_the_bound_are_refused_until_one_ends(
    source: Source, bounds: dict[str, int]
):
    streams = make(**bounds)
    open_ = [Response(streams, ANNA, source) for _ in range(2)]
    open_.append(Response(streams, BEN, source))
    for each in open_:
        await asyncio.wait_for(each.began, PATIENCE)

    with pytest.raises(RateLimited) as refused:
        await Response(streams, ANNA, source).served
    await open_[0].hang_up()
    again = Response(streams, ANNA, source)

    assert refused.value.retry_after > 0
    assert (await asyncio.wait_for(again.began, PATIENCE))["status"] == 200
    for each in (*open_[1:], again):
        await each.hang_up()
    assert source.closed == source.opened
