"""Who asks: nothing behind this middleware runs without a key, nor beyond the key's limits.

    token -> KeyRing.verify -> Principal in scope["penstock"]
          -> limits, budget of what starts work -> application
    none or wrong -> public path, or local caller with authentication off, or 401 (repeated: 429)

It stands before the cache and the hot routes, so a remembered answer needs a live key and counts
against its limit like any other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

from penstock.clock import Clock
from penstock.errors import (
    PenstockError,
    RateLimited,
    StorageError,
    StorageUnavailable,
    Unauthorized,
)
from penstock.http.asgi import ASGIApp, Receive, Scope, Send
from penstock.hub.hub import Hub
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.server.keys import KeyRing
from penstock.server.limits import WINDOW, Limiter
from penstock.usage.budgets import Budgets
from penstock.web.principal import Principal, RouteLimit

_log = get_logger(__name__)

Mode = Literal["on", "off"]

PUBLIC: Final = frozenset(
    (
        *("/", "/health", "/api/health", "/livez", "/readyz", "/docs", "/docs/", "/openapi.json"),
        "/$discovery/rest",  # Google's clients read it before they have anything to ask
    )
)
KEY_IN_QUERY: Final = "/v1alpha1/"  # and nowhere else: addresses are logged on their way
GOOGLE_PATHS: Final = (KEY_IN_QUERY, "/$discovery/")  # where Google's clients send one
ANONYMOUS: Final = Principal("anonymous", "anonymous", "admin")
FAILURES: Final = 30  # wrong keys a minute and address that are answered with 401

_NO_KEY = "send an API key: `Authorization: Bearer <key>`"
_NOT_LOCAL = (
    f"authentication is off for direct calls from this machine only, not through a proxy, "
    f"under another host name or from a web page elsewhere; {_NO_KEY}"
)
_WRONG_KEY = "the API key is unknown, revoked or expired; check it or ask for another one"


class Auth:
    """ASGI middleware inside `RequestId` and `Problems`.

    `public` paths are served without a key; one that ends with "/" stands for everything below it,
    the root only for itself. `default_rate`, `routes` and `budgets` are `Limiter`'s.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        hub: Hub,
        clock: Clock,
        mode: Mode = "on",
        default_rate: int = 0,
        routes: Sequence[RouteLimit] = (),
        budgets: Budgets | None = None,
        public: Collection[str] = PUBLIC,
        metrics: Metrics | None = None,
    ) -> None:
        self.app = app
        self._keys = keys
        self._limiter = Limiter(
            hub=hub,
            clock=clock,
            default_rate=default_rate,
            routes=routes,
            budgets=budgets,
            metrics=metrics,
        )
        self._off = mode == "off"
        self._public = frozenset(public)
        self._public_below = tuple(path for path in public if path.endswith("/") and path != "/")
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._not_http(scope, receive, send)
            return
        notes = scope["penstock"]
        headers: Mapping[bytes, bytes] = notes["headers"]
        principal = await self._authenticate(scope, headers)
        notes["principal"] = principal
        if principal is None:
            await self.app(scope, receive, send)
            return
        await self._limiter.serve(self.app, principal, scope, receive, send)

    async def _not_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":  # there are none, and none can slip in unauthenticated
            await send({"type": "websocket.close", "code": 1008})

    async def _authenticate(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Principal | None:
        """The caller; None on public paths. Raises Unauthorized, RateLimited or StorageError."""
        token = _token(headers)
        if scope["path"].startswith(GOOGLE_PATHS):
            in_query = _google_token(scope, headers)
            token = in_query if token is None else token
        trouble: PenstockError = Unauthorized(_NO_KEY)
        if token is not None:
            try:
                if self._keys.stale:
                    await self._keys.refresh()
                principal = self._keys.verify(token)
            except StorageError as error:
                # The details name paths of this machine, and nobody knows yet who asks.
                _log.error("auth.keys_unreadable", detail=error.detail)
                trouble = StorageUnavailable("keys cannot be checked now; see the server's log")
            else:
                if principal is not None:
                    return principal
                trouble = Unauthorized(_WRONG_KEY)
        if scope["method"] == "OPTIONS" or self._is_public(scope["path"]):
            return None
        if self._off:
            if _is_local(scope, headers):
                return ANONYMOUS
            if token is None:
                trouble = Unauthorized(_NOT_LOCAL)
        raise await self._refusal(trouble, scope, guessed=token is not None)

    def _is_public(self, path: str) -> bool:
        if path in self._public:
            return True
        # Whoever comes later may resolve "..", and would be somewhere else then.
        return path.startswith(self._public_below) and ".." not in path

    async def _refusal(
        self, trouble: PenstockError, scope: Scope, *, guessed: bool
    ) -> PenstockError:
        """`trouble`, or RateLimited for an address that keeps trying keys.

        A right key is never refused for what others behind the same address do.
        """
        if not isinstance(trouble, Unauthorized):
            return trouble
        if self._metrics is not None:
            reason = "wrong_key" if guessed else "no_key"
            self._metrics.count("penstock_auth_failures_total", reason=reason)
        if not guessed:
            return trouble
        grant = await self._limiter.take(f"authfail:{_address(scope)}", FAILURES, WINDOW)
        if grant.allowed:
            return trouble
        return RateLimited(
            f"more than {FAILURES} requests with a wrong key in a minute from this address",
            retry_after=grant.retry_after,
        )


def _token(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key that was sent: `Authorization: Bearer` (RFC 6750), or `X-API-Key`."""
    given = headers.get(b"authorization")
    if given is not None:
        scheme, _, token = given.partition(b" ")
        if scheme.lower() == b"bearer":
            return token.strip()
    return headers.get(b"x-api-key")


def _google_token(scope: Scope, headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key where Google's clients put it: `X-Goog-Api-Key`, or `key` in the query.

    It is taken out of the query, so that nothing behind this, nor a log, can repeat it.
    """
    given = headers.get(b"x-goog-api-key")
    kept = []
    for part in bytes(scope.get("query_string", b"")).split(b"&"):
        name, _, value = part.partition(b"=")
        if unquote_to_bytes(name) == b"key":
            given = given or unquote_to_bytes(value.replace(b"+", b" "))
        else:
            kept.append(part)
    scope["query_string"] = b"&".join(kept)
    return given if given and scope["path"].startswith(KEY_IN_QUERY) else None


def _address(scope: Scope) -> str:
    """Whom wrong keys are counted against: an IPv4 address, or the /64 that an IPv6 host owns."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return host


def _is_local(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Whether someone on this machine calls directly.

    A proxy adds forwarding headers, or speaks HTTP/1.0 as nginx does unless told otherwise; a page
    that had its name rebound to 127.0.0.1 sends a foreign Host; a page elsewhere that posts to us
    sends its Origin or says that it is another site. A proxy that hides all that looks local.
    """
    client = scope.get("client")
    if client is None or not is_loopback(client[0]) or scope.get("http_version") == "1.0":
        return False
    if any(name in _FORWARDING or name.startswith(_FORWARDING_PREFIXES) for name in headers):
        return False
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not _LOCAL_HOST.fullmatch(hosts[0]):
        return False
    if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        return False
    origin = headers.get(b"origin")
    return origin is None or origin == b"http://" + hosts[0]


_LOCAL_HOST = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")
_FORWARDING_PREFIXES = (b"x-forwarded", b"cf-", b"x-envoy-", b"x-amzn-")
_FORWARDING = frozenset(
    (b"forwarded", b"x-real-ip", b"via", b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip")
)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, to call from or to listen on."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
