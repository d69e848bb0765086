"""Refuses bodies that are too large, before they are parsed. Depth is the parsers' matter."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.errors import TooLarge
from penstock.http.asgi import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: TooLarge by Content-Length at once, and by counting where there is none.

    A body whose length is announced is not counted: the server reads no more than that. `larger`
    are paths with a bound of their own (a `*` in one stands for any text), `advice` says of paths
    what to do instead.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        larger: Mapping[str, int] | None = None,
        advice: Mapping[str, str] | None = None,
    ) -> None:
        self.app = app
        self._max_bytes = max_bytes
        self._larger = {path: size for path, size in (larger or {}).items() if "*" not in path}
        self._patterns = [
            (head, tail, size)
            for path, size in (larger or {}).items()
            for head, star, tail in [path.partition("*")]
            if star
        ]
        self._advice = dict(advice or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self._most(scope["path"]) if self._larger or self._patterns else self._max_bytes
        advice = self._advice.get(scope["path"], "") if self._advice else ""
        notes = scope.get("penstock")
        headers = (notes and notes["headers"]) or dict(scope["headers"])
        length = headers.get(b"content-length")
        # Where both headers are given, servers differ in which one they follow: then count.
        if length is None or not length.isdigit() or b"transfer-encoding" in headers:
            receive = _counted(receive, most, advice)
        elif len(length) > 18 or int(length) > most:
            raise _too_large(most, advice)
        await self.app(scope, receive, send)

    def _most(self, path: str) -> int:
        if path in self._larger:
            return self._larger[path]
        for head, tail, size in self._patterns:
            if path.startswith(head) and path.endswith(tail):
                return size
        return self._max_bytes


def _counted(receive: Receive, most: int, advice: str) -> Receive:
    read = 0

    async def receive_counted() -> Message:
        nonlocal read
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > most:
                raise _too_large(most, advice)
        return message

    return receive_counted


def _too_large(most: int, advice: str) -> TooLarge:
    more = f"; {advice}" if advice else ""
    return TooLarge(f"the body is larger than {most} bytes{more}", limit=most)
