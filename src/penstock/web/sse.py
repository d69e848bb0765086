"""Server-sent events: a response that stays open and tells what happens, until its source ends.

    return EventStream(events, clock=clock)      # events: AsyncIterator[Event]

A browser's EventSource connects again when a stream ends and says the last id it has seen; whoever
has nothing left to tell it answers 204, which stops it (`FINISHED`).
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
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
    """Sends events as they come, and a comment every `heartbeat` seconds.

    Ends with its source, when the caller goes away, when the server stops, and at the heartbeat at
    which `is_allowed` says no: each time the source is closed, so that what it holds is let go. An
    error of the source cuts the connection. `place` is held meanwhile; what it raises when it is
    taken is the answer.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[Event],
        *,
        clock: Clock,
        heartbeat: float = HEARTBEAT,
        place: AbstractContextManager[None] | None = None,
        is_allowed: Callable[[], bool | Awaitable[bool]] = lambda: True,
        status_code: int = 200,  # FastAPI's document reads it from this signature
    ) -> None:
        self.status_code = status_code
        self.background = None
        # no-transform and nginx's own word: a proxy that buffers would hold the events back.
        self.init_headers({"cache-control": "no-store, no-transform", "x-accel-buffering": "no"})
        self._events = events
        self._clock = clock
        self._heartbeat = heartbeat
        self._place = place or nullcontext()
        self._is_allowed = is_allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one caller."""
        with self._place:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
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
        coming, beat = _next(self._events), self._beat()
        try:
            while True:
                await asyncio.wait((coming, beat), return_when=asyncio.FIRST_COMPLETED)
                if beat.done():
                    allowed = self._is_allowed()
                    if not (allowed if isinstance(allowed, bool) else await allowed):
                        return
                    await _write(send, _COMMENT)
                    beat = self._beat()
                    continue
                event = coming.result()
                if event is None:
                    return
                number += 1
                await _write(send, encode(event, number=number))
                coming = _next(self._events)
        finally:
            await _end(coming, beat)
            close = getattr(self._events, "aclose", None)
            if close is not None:
                await close()

    def _beat(self) -> Work:
        return asyncio.ensure_future(self._clock.sleep(self._heartbeat))


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


async def _first_of(*works: Work) -> None:
    """Return when one has ended; the others are ended too."""
    try:
        await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(*works)


async def _end(*works: Work) -> None:
    """Cancel what is not done, and wait for it."""
    for work in works:
        work.cancel()
    await asyncio.wait(works)
