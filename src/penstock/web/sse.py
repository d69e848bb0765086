"""Server-sent events: a response that stays open and tells what happens, until its source ends.

    return EventStream(events, clock=clock)      # events: AsyncIterator[Event]

A browser's EventSource connects again when a stream ends and says the last id it has seen; whoever
has nothing left to tell it answers 204, which stops it (`FINISHED`).
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Header
from starlette.responses import Response

from penstock.clock import Clock
from penstock.http.asgi import Receive, Scope, Send

HEARTBEAT: Final = 15.0  # seconds: proxies cut connections that are silent for 30 to 60
FINISHED: Final = 204
_COMMENT: Final = b":\n\n"

Work = asyncio.Future[Any]

LastEventId = Annotated[
    str | None,
    Header(description="The last event seen, as EventSource sends it."),
]

DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events until the end",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    FINISHED: {"description": "The caller has seen the last event."},
}
"""The `responses=` entry of a route that returns an EventStream."""


class Event(NamedTuple):
    """One event; without an `id` it gets its number in the stream, from 1."""

    name: str
    data: bytes  # JSON
    id: str = ""


class EventStream(Response):
    """Sends events as they come, a comment when nothing came for `heartbeat` seconds.

    Ends with its source, when the caller goes away, and when the server stops: each time the
    source is closed, so that what it holds is let go. An error of the source cuts the connection.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[Event],
        *,
        clock: Clock,
        heartbeat: float = HEARTBEAT,
        status_code: int = 200,  # FastAPI's document reads it from this signature
    ) -> None:
        self.status_code = status_code
        self.background = None
        # no-transform and nginx's own word: a proxy that buffers would hold the events back.
        self.init_headers({"cache-control": "no-store, no-transform", "x-accel-buffering": "no"})
        self._events = events
        self._clock = clock
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one caller."""
        stopping = asyncio.Event()
        notes = scope.get("penstock")
        if notes is not None:
            notes["stop"] = stopping.set  # for the server, which waits for open responses
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        telling = asyncio.ensure_future(self._tell(send))
        gone = asyncio.ensure_future(_gone(receive))
        await _first_of(telling, gone, asyncio.ensure_future(stopping.wait()))
        if not telling.cancelled():
            telling.result()
        # After a caller that left, servers drop this.
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, send: Send) -> None:
        number = 0
        coming = _next(self._events)
        try:
            while True:
                beat = asyncio.ensure_future(self._clock.sleep(self._heartbeat))
                await _first_of(coming, beat, keep=coming)
                if not coming.done():
                    await _write(send, _COMMENT)
                    continue
                event = coming.result()
                if event is None:
                    return
                number += 1
                await _write(send, encode(event, number=number))
                coming = _next(self._events)
        finally:
            await _end(coming)
            close = getattr(self._events, "aclose", None)
            if close is not None:
                await close()


def encode(event: Event, *, number: int = 0) -> bytes:
    r"""The bytes of one event.

    >>> encode(Event("job", b'{"done":1}', "7"))
    b'id: 7\nevent: job\ndata: {"done":1}\n\n'
    """
    data = b"\n".join(b"data: " + line for line in event.data.splitlines() or [b""])
    head = f"id: {event.id or number}\nevent: {event.name}\n"
    return head.encode() + data + b"\n\n"


async def _write(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _next(events: AsyncIterator[Event]) -> asyncio.Future[Event | None]:
    async def take() -> Event | None:
        return await anext(events, None)

    return asyncio.ensure_future(take())


async def _first_of(*works: Work, keep: Work | None = None) -> None:
    """Return when one has ended; the others are ended too, but for `keep`."""
    try:
        await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(*(work for work in works if work is not keep))


async def _end(*works: Work) -> None:
    """Cancel what is not done, and wait for it."""
    for work in works:
        work.cancel()
    await asyncio.wait(works)
