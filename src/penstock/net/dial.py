"""Dials URLs that came from outside: images to look at, webhooks to call.

    Guard.check ─► connect to a checked address ─► TLS for the name ─► HTTP/1.1 ─► bounded body
         ▲                                                                  │
         └───────────────────────── each redirect ◄─────────────────────────┘

A connection is opened to the addresses that the guard has just checked and to nothing else: the
name is not looked up a second time, no proxy of the environment is asked, no connection is kept for
the next caller. h11 (which uvicorn brings) speaks the protocol over a plain asyncio stream; an HTTP
client library would resolve, redirect and decompress by itself, which are the three things that
must not happen here unseen.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

import msgspec

from penstock.errors import BlockedAddress, FetchFailed, TooLarge
from penstock.net.guard import Guard, Target, Unresolved

if TYPE_CHECKING:
    import h11

TIMEOUT: Final = 10.0  # seconds for everything: names, redirects, the whole body
CONNECT_TIMEOUT: Final = 4.0  # seconds for one address, so that a dead one leaves time for the next
ADDRESSES: Final = 4  # how many of a name's addresses are tried
AGENT: Final = "penstock"

_CHUNK = 65_536
_LONGEST_HEAD = 32_768  # bytes of status line and headers
_EARLY = 16  # informational answers (1xx) that are passed over
_TURNS = 64
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ALWAYS: Final = frozenset(
    {"host", "connection", "accept-encoding", "content-length", "transfer-encoding"}
)
_TO_STRANGERS: Final = frozenset({"accept", "accept-language", "content-type", "user-agent"})

_REASONS: Final = {
    errno.ECONNREFUSED: "refused the connection",
    errno.ECONNRESET: "broke the connection",
    errno.EPIPE: "broke the connection",
    errno.ENETUNREACH: "cannot be reached",
    errno.EHOSTUNREACH: "cannot be reached",
    errno.ETIMEDOUT: "does not answer",
}


class Fetched(msgspec.Struct, frozen=True):
    """What an address answered."""

    status: int
    headers: Mapping[str, str]  # names in lower case, repeated ones joined by ", "
    body: bytes
    url: str  # after redirects


class _Asked(msgspec.Struct, frozen=True):
    """What is sent, as it stands after the redirects so far."""

    method: str
    headers: Mapping[str, str]
    body: bytes


class Dialler:
    """Fetches what the guard lets through.

    `tls` verifies certificates; by default against the system's authorities.
    """

    def __init__(
        self, guard: Guard, *, timeout: float = TIMEOUT, tls: ssl.SSLContext | None = None
    ) -> None:
        self.guard = guard
        self._timeout = timeout
        self._tls = tls

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109 - one deadline for every redirect
        redirects: int = 0,
        cut: bool = False,
    ) -> Fetched:
        """Ask one URL; the answer is returned whatever its status.

        With `redirects` left, a redirect is followed: checked like the first URL, never from https
        to http. With none allowed it is an answer like others. A body over `max_bytes` raises
        TooLarge as soon as that is known, or is cut there with `cut`: with 0 the headers alone are
        waited for. Raises BlockedAddress for what may not be dialled, FetchFailed for a name
        without an address and for what does not answer within `timeout` seconds.
        """
        asked = _Asked(method.upper(), _lowered(headers), body or b"")
        limit = self._timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                return await self._follow(
                    url, asked, max_bytes=max_bytes, redirects=redirects, cut=cut
                )
        except TimeoutError as error:
            raise FetchFailed(f"no complete answer within {limit:g} s") from error

    async def _follow(
        self, url: str, asked: _Asked, *, max_bytes: int, redirects: int, cut: bool
    ) -> Fetched:
        target = await self._check(url)
        for left in range(redirects, -1, -1):
            fetched = await self._ask(target, asked, max_bytes=max_bytes, cut=cut)
            place = fetched.headers.get("location")
            if redirects == 0 or fetched.status not in _REDIRECTS or place is None:
                return fetched
            if left:
                following = await self._check(urljoin(target.url, place))
                if (target.scheme, following.scheme) == ("https", "http"):
                    raise BlockedAddress(f"{target.host} leads from https to http")
                asked = _redirected(asked, fetched.status, stranger=_strange(target, following))
                target = following
        raise FetchFailed(f"{target.host} redirects again after {redirects} redirects")

    async def _check(self, url: str) -> Target:
        """Where to dial; a name without an address is like one that does not answer."""
        try:
            return await self.guard.check(url)
        except Unresolved as error:
            raise FetchFailed(error.detail) from error

    async def _ask(self, target: Target, asked: _Asked, *, max_bytes: int, cut: bool) -> Fetched:
        import h11

        tls = await self._context() if target.scheme == "https" else None
        reader, writer = await _connect(target, tls)
        talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        try:
            # Not drained: an address may answer, and hang up, before it has read everything.
            writer.write(_request(talk, target, asked))
            head = await _head(talk, reader)
            names = _names(head)
            if asked.method != "HEAD" and not (cut and max_bytes == 0):
                _check_body(target, names, max_bytes=None if cut else max_bytes)
            body = await _body(talk, reader, target, max_bytes=max_bytes, cut=cut)
        except h11.RemoteProtocolError as error:
            raise FetchFailed(f"{target.host} does not speak HTTP as it should") from error
        except OSError as error:
            raise FetchFailed(f"{target.host} {_reason(error)}") from error
        finally:
            writer.transport.abort()  # nothing is reused, and closing politely can hang
        return Fetched(head.status_code, names, body, target.url)

    async def _context(self) -> ssl.SSLContext:
        if self._tls is None:  # reads some 150 certificates: tens of milliseconds
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls


async def _connect(
    target: Target, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the first of the checked addresses that takes one."""
    reason = "has no address"
    for address in target.addresses[:ADDRESSES]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await asyncio.open_connection(
                    address,
                    target.port,
                    ssl=tls,
                    server_hostname=target.host if tls else None,
                    flags=socket.AI_NUMERICHOST,  # an address is never looked up
                )
        except ssl.SSLError as error:  # another address has the same certificate
            raise FetchFailed(f"{target.host}: {_untrusted(error)}") from error
        except TimeoutError:
            reason = "does not answer"
        except OSError as error:
            reason = _reason(error)
    raise FetchFailed(f"{target.host} {reason}")


def _request(talk: h11.Connection, target: Target, asked: _Asked) -> bytes:
    import h11

    _, _, rest = target.url.partition("://")
    place, slash, path = rest.partition("/")
    if not slash:  # a query straight behind the host
        place, _, query = rest.partition("?")
        path = f"?{query}"
    headers = {
        "user-agent": AGENT,
        "accept": "*/*",
        **{name: value for name, value in asked.headers.items() if name not in _ALWAYS},
        "accept-encoding": "identity",  # what is small on the wire may be huge in memory
        "connection": "close",
    }
    if asked.body or asked.method in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(len(asked.body))
    request = h11.Request(
        method=asked.method, target=f"/{path}", headers=[("host", place), *headers.items()]
    )
    parts = [talk.send(request), talk.send(h11.Data(asked.body)), talk.send(h11.EndOfMessage())]
    return b"".join(part for part in parts if part)


async def _head(talk: h11.Connection, reader: asyncio.StreamReader) -> h11.Response:
    import h11

    early = 0
    while early < _EARLY:
        event = talk.next_event()
        if event is h11.NEED_DATA:
            talk.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            return event
        elif isinstance(event, h11.InformationalResponse):
            early += 1
        else:
            break
    raise h11.RemoteProtocolError("no answer")


async def _body(
    talk: h11.Connection,
    reader: asyncio.StreamReader,
    target: Target,
    *,
    max_bytes: int,
    cut: bool,
) -> bytes:
    import h11

    body = bytearray()
    for turn in count(1):
        if cut and len(body) >= max_bytes:
            break
        event = talk.next_event()
        if event is h11.NEED_DATA:
            talk.receive_data(await reader.read(_CHUNK))
        elif not isinstance(event, h11.Data):
            break
        else:
            body += event.data
        if len(body) > max_bytes and not cut:
            raise _too_large(target, max_bytes)
        if turn % _TURNS == 0:  # a body in chunks of one byte must not hold the event loop
            await asyncio.sleep(0)
    return bytes(body[:max_bytes])


def _check_body(target: Target, names: Mapping[str, str], *, max_bytes: int | None) -> None:
    """Refuse a body that is announced as one that cannot be taken."""
    encoding = names.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise FetchFailed(f"{target.host} sends {encoding[:20]!r}, though asked not to compress")
    length = names.get("content-length", "0")
    if max_bytes is not None and length.isdecimal() and int(length) > max_bytes:
        raise _too_large(target, max_bytes)


def _too_large(target: Target, max_bytes: int) -> TooLarge:
    return TooLarge(f"the answer of {target.host} is larger than {max_bytes} bytes")


def _redirected(asked: _Asked, status: int, *, stranger: bool) -> _Asked:
    """What is sent to where a redirect leads (RFC 9110, 15.4), without secrets for strangers."""
    becomes_get = status == 303 or (status in (301, 302) and asked.method == "POST")
    if becomes_get and asked.method not in ("GET", "HEAD"):
        kept = {name: value for name, value in asked.headers.items() if name != "content-type"}
        asked = _Asked("GET", kept, b"")
    if stranger:
        known = {name: value for name, value in asked.headers.items() if name in _TO_STRANGERS}
        asked = msgspec.structs.replace(asked, headers=known)
    return asked


def _strange(one: Target, other: Target) -> bool:
    return (one.scheme, one.host, one.port) != (other.scheme, other.host, other.port)


def _lowered(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}


def _names(head: h11.Response) -> dict[str, str]:
    names: dict[str, str] = {}
    for raw, value in head.headers:
        name, text = raw.decode("ascii"), value.decode("latin-1")
        names[name] = f"{names[name]}, {text}" if name in names else text
    return names


def _reason(error: OSError) -> str:
    """Words for what happened; the error's own text names the address."""
    return _REASONS.get(error.errno or 0, "broke the connection")


def _untrusted(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return "TLS could not be agreed on"
