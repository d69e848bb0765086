"""The ASGI interface in types, as far as the middleware needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Notes = dict[str, Any]


def fresh_notes(
    request_id: str | None = None,
    trace_id: str | None = None,
    headers: dict[bytes, bytes] | None = None,
) -> Notes:
    """What the parts of one request tell each other, in `scope["penstock"]`.

    `headers` are the request's, where RequestId read them; `stages` are seconds by name, printed as
    Server-Timing; `principal` is set by authentication; `route` by endpoints that no router knows;
    `status` and `complete` tell how far the response got, where Timing or Problems watch it;
    `id_header` is for Timing to send.
    """
    return {
        "request_id": request_id,
        "trace_id": trace_id,
        "headers": headers,
        "stages": {},
        "principal": None,
        "route": None,
        "id_header": None,
        "complete": False,
    }
