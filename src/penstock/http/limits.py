"""Refuses bodies that are too large, before they are parsed. Depth is the parsers' matter."""

from __future__ import annotations

from penstock.errors import TooLarge
from penstock.http.asgi import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: TooLarge by Content-Length at once, and by counting where there is none.

    A body whose length is announced is not counted: the server reads no more than that.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        notes = scope.get("penstock")
        headers = (notes and notes["headers"]) or dict(scope["headers"])
        length = headers.get(b"content-length")
        # Where both headers are given, servers differ in which one they follow: then count.
        if length is None or not length.isdigit() or b"transfer-encoding" in headers:
            receive = self._counted(receive)
        elif len(length) > 18 or int(length) > self._max_bytes:
            raise self._too_large()
        await self.app(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        read = 0

        async def receive_counted() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > self._max_bytes:
                    raise self._too_large()
            return message

        return receive_counted

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._max_bytes} bytes", limit=self._max_bytes)
