"""uvicorn's HTTP parser with bounds on what comes before a request is understood.

uvicorn bounds neither the size of a request's head nor the time it takes to arrive, so a caller
without a key could fill the memory or hold connections open for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 64 << 10  # bytes
PATIENCE = 20.0  # seconds for a whole head to arrive, and for the first byte

_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 28\r\nconnection: close\r\n\r\n"
    b"the head is beyond 64 kbytes"
)


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose request head is too large or too slow."""

    _head_bytes = 0
    _head_done = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(PATIENCE, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_done or self.transport.is_closing():
            return
        # Whole heads come in one piece nearly always: only the others are counted and timed.
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD:
            self.transport.write(_REFUSAL)
            self.transport.close()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(PATIENCE, self.transport.close)

    def on_message_begin(self) -> None:
        self._head_done = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._head_bytes = 0
        self._stop_waiting()
        super().on_headers_complete()

    def shutdown(self) -> None:
        """Begin to stop: end streams of events, which would hold the server up until its grace."""
        super().shutdown()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            scope: Any = cycle.scope  # uvicorn's type knows no extensions
            stop = scope.get("penstock", {}).get("stop")  # web/sse.py puts it there
            if stop is not None:
                stop()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
