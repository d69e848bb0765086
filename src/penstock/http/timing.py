"""Measures every request: headers for the caller, metrics for the operator, a line when it failed.

Reads the route after the inner application found it, and never matches again: matching twice is
what makes other metrics middleware cost a microsecond per registered route.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from penstock.clock import Clock, SystemClock
from penstock.http.asgi import ASGIApp, Message, Notes, Receive, Scope, Send, fresh_notes
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Counter, Histogram, Metrics

DURATION: Final = "http_server_request_duration_seconds"
REQUESTS: Final = "http_server_requests_total"
ACTIVE: Final = "http_server_active_requests"

CLIENT_CLOSED: Final = 499  # nobody sees it on the wire: the caller left before the answer began

_METHODS = frozenset(
    ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "QUERY")
)

_log = get_logger(__name__)


class Timing:
    """ASGI middleware: `Server-Timing` and `X-Response-Time`, and metrics by method, route, status.

    A duration ends when the last byte is handed to the server; what an application does
    afterwards is not the caller's wait. A route nobody knows has the label "".
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, clock: Clock | None = None) -> None:
        self.app = app
        self._metrics = metrics
        self._monotonic = (clock or SystemClock()).monotonic
        self._active = metrics.bound_gauge(ACTIVE)
        self._bound: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._verbose = _log.is_enabled_for(logging.DEBUG)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        monotonic = self._monotonic
        started = monotonic()
        notes = scope.get("penstock") or scope.setdefault("penstock", fresh_notes())
        notes["status"] = status = 0  # of the response; Problems reads it too
        finished = False

        def send_timed(message: Message) -> Any:
            nonlocal status, finished
            kind = message["type"]
            if kind == "http.response.start":
                notes["status"] = status = message["status"]
                headers = [*message.get("headers", ()), *_headers(notes, monotonic() - started)]
                # Copied, since an endpoint may send the same constant message every time.
                message = {**message, "headers": headers}
            elif not message.get("more_body") and not finished and kind in _LAST:
                notes["complete"] = finished = True
                # Before the byte leaves, so that whoever has the answer finds it counted.
                self._record(scope, status, monotonic() - started)
            return send(message)

        self._active.value += 1
        try:
            await self.app(scope, receive, send_timed)
        except Exception:
            status = status or 500
            raise
        finally:
            self._active.value -= 1
            if not finished:
                self._record(scope, status or CLIENT_CLOSED, monotonic() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope["penstock"]["route"]
        key = (scope["method"], route_of(scope) if route is None else route, status)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bind(*key)
        bound[0].value += 1
        bound[1].record(seconds)
        if status >= 500 or self._verbose:
            _tell(key, seconds)

    def _bind(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        known = method if method in _METHODS else "_OTHER"
        labels = {"method": known, "route": route, "status": str(status)}
        counter = self._metrics.counter(REQUESTS, **labels)
        bound = (counter, self._metrics.histogram(DURATION, **labels))
        # Not kept for invented methods and overflowing routes: their number has no end.
        if known == method and dict(counter.labels) == labels:
            self._bound[method, route, status] = bound
        return bound


_NOTHING: Final[dict[str, Any]] = {}
_LAST = frozenset(("http.response.body", "http.response.pathsend", "http.response.zerocopysend"))


def route_of(scope: Scope) -> str:
    """The template of the route that served this request, its mounts included; "" if none did."""
    route = scope.get("route")
    if route is None:
        return ""
    # FastAPI leaves the prefixes of included routers out of `route.path`, but not out of this.
    included = scope.get("fastapi", _NOTHING).get("effective_route_context")
    path: str = getattr(included or route, "path", "")
    mounted = scope.get("root_path", "")
    if mounted:
        mounted = str(mounted).removeprefix(scope.get("app_root_path", mounted))
        # Starlette names the mount itself until a route inside it is found.
        return mounted if hasattr(route, "routes") else mounted + path
    return path


def _headers(notes: Notes, seconds: float) -> tuple[tuple[bytes, bytes], ...]:
    total = b"%.3f" % (seconds * 1000.0)
    told = b"total;dur=" + total
    if notes["stages"]:
        steps = [f"{name};dur={spent * 1000.0:.3f}" for name, spent in notes["stages"].items()]
        told = ", ".join(steps).encode() + b", " + told
    named = notes["id_header"]
    timed = ((b"server-timing", told), (b"x-response-time", total + b"ms"))
    return timed if named is None else (named, *timed)


def _tell(key: tuple[str, str, int], seconds: float) -> None:
    method, route, status = key
    tell = _log.warning if status >= 500 else _log.debug
    tell("http.request", method=method, route=route, status=status, duration_seconds=seconds)
