"""Gives every request an id, keeps the trace it belongs to, and starts the notes about it.

The id is in `scope["penstock"]`, in the context variable that every log line reads, and in the
`X-Request-ID` header of every response, errors included. Outermost of the middleware.
"""

from __future__ import annotations

import re
from itertools import count
from random import getrandbits
from typing import Any

from penstock.clock import Clock, SystemClock
from penstock.http.asgi import ASGIApp, Message, Receive, Scope, Send, fresh_notes
from penstock.http.timing import Timing
from penstock.observe.logging import request_id, trace_id

_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,128}")
# W3C Trace Context, section 3.2: version ff and all-zero ids are invalid.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)


class RequestId:
    """ASGI middleware: takes a valid `X-Request-ID` over, else makes a short id in order of time.

    Puts the notes of the request there, `scope["penstock"]`: see `asgi.fresh_notes`.
    """

    def __init__(self, app: ASGIApp, *, clock: Clock | None = None) -> None:
        self.app = app
        # Timing changes the same message: one wrapper around `send` for both saves 2 us.
        self._named_by_timing = isinstance(app, Timing)
        # Start of this process and its count: formatting the time for each request costs 2 us.
        started = int((clock or SystemClock()).now() * 1000)
        self._process = b"%x%05x" % (started, getrandbits(20))
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        if given is None or not _ACCEPTED.fullmatch(given):
            given = b"%b-%07x" % (self._process, next(self._numbers))
        name = given.decode("ascii")
        parent = headers.get(b"traceparent")
        trace = _trace(parent) if parent is not None else None
        notes = scope["penstock"] = fresh_notes(name, trace, headers)
        header = (b"x-request-id", given)
        if self._named_by_timing:
            notes["id_header"] = header
        else:
            send = _named(send, header)
        named = request_id.set(name)
        traced = trace_id.set(trace) if trace is not None else None
        try:
            await self.app(scope, receive, send)
        finally:
            request_id.reset(named)
            if traced is not None:
                trace_id.reset(traced)


def _named(send: Send, header: tuple[bytes, bytes]) -> Send:
    def send_named(message: Message) -> Any:
        if message["type"] == "http.response.start":
            # Copied, since an endpoint may send the same constant message every time.
            message = {**message, "headers": [*message.get("headers", ()), header]}
        return send(message)

    return send_named


def _trace(parent: bytes) -> str | None:
    parsed = _TRACEPARENT.fullmatch(parent)
    return parsed[1].decode("ascii") if parsed is not None else None
