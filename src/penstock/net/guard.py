"""Which addresses a URL from outside may make this machine dial (SSRF).

    parse strictly -> port and name rules -> resolve once -> every address public -> pinned Target

The caller dials one of `Target.addresses` and never resolves again, so that a name cannot answer
differently the second time (DNS rebinding), and passes every redirect through the same `check`.
Nothing here opens a connection.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import quote

import msgspec

from penstock.errors import BlockedAddress

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
Address = IPv4Address | IPv6Address

PORTS: Final = (80, 443, 8080, 8443)
RESOLVE_TIMEOUT: Final = 5.0  # seconds
LONGEST_URL: Final = 8192

# Not globally reachable by the IANA special-purpose registries, plus multicast and 6to4 relays.
# Listed here, since the meaning of ipaddress' `is_global` differs between Python's patch releases.
_CLOSED_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
_UNICAST_V6: Final = IPv6Network("2000::/3")  # everything public is in here ...
_CLOSED_V6: Final = tuple(  # ... but for IETF protocols with Teredo, documentation and 6to4
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<place>[^/?#]*)(?P<path>[^#]*)(?:#.*)?"
)
_PLACE = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")


class Unresolved(BlockedAddress):
    """The name has no address at present: nothing to dial, though nothing speaks against it."""


class Target(msgspec.Struct, frozen=True):
    """A URL that may be dialled, at one of these addresses and no other."""

    url: str  # canonical: ASCII host, no fragment
    scheme: str
    host: str  # for the Host header and the certificate
    port: int
    addresses: tuple[str, ...]
    trusted: bool = False  # on the allow list by name and port


class Guard:
    """Decides about URLs.

    `allow` names `host:port` pairs that may be dialled whatever their address is and port; it is
    for test rigs and for upstreams inside the house.
    """

    def __init__(
        self,
        *,
        ports: Iterable[int] = PORTS,
        allow: Iterable[str] = (),
        resolver: Resolver | None = None,
    ) -> None:
        self._ports = frozenset(ports)
        self._allowed = frozenset(name.lower() for name in allow)
        self._resolve = resolver or resolve

    async def check(self, url: str) -> Target:
        """Return where the URL may be dialled; BlockedAddress with the reason when nowhere.

        Of a name without an address it is Unresolved: the next time there may be one.
        """
        scheme, host, port, path = _parsed(url)
        trusted = f"{host}:{port}" in self._allowed
        if not trusted:
            self._check_place(host, port)
        addresses = await self._addresses(host, port)
        if not trusted and not all(map(is_public, addresses)):
            # The address itself is not told: it would map the inner network for the caller.
            raise _inside(host, port)
        shown = host if port == (443 if scheme == "https" else 80) else f"{host}:{port}"
        plain = tuple(str(_unmapped(address)) for address in addresses)
        bare = host.strip("[]")
        return Target(f"{scheme}://{shown}{path or '/'}", scheme, bare, port, plain, trusted)

    def _check_place(self, host: str, port: int) -> None:
        if port not in self._ports:
            known = ", ".join(map(str, sorted(self._ports)))
            raise BlockedAddress(
                f"port {port} may not be dialled: it is none of {known}, and "
                f"PENSTOCK_ALLOW_PRIVATE does not name {host}:{port}"
            )
        if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, whatever DNS says
            raise _inside(host, port)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        if host.startswith("["):
            return [IPv6Address(host[1:-1])]
        number = _ipv4(host)
        if number is not None:
            return [number]
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT):
                found = [ip_address(address) for address in await self._resolve(host, port)]
        except (OSError, ValueError, TimeoutError) as error:
            raise Unresolved(f"the name {host} could not be resolved") from error
        if not found:
            raise Unresolved(f"the name {host} has no address")
        return found


async def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, by the system's resolver, without blocking the loop."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: Address) -> bool:
    """Whether an address is reachable from everywhere, looking inside mapped and NAT64 ones."""
    address = _unmapped(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    closed = any(address in network for network in _CLOSED_V6)
    return address in _UNICAST_V6 and not closed


def _inside(host: str, port: int) -> BlockedAddress:
    return BlockedAddress(
        f"{host} is not a public address, and PENSTOCK_ALLOW_PRIVATE does not name {host}:{port}"
    )


def _parsed(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path; strict, since parsers that differ are the attack."""
    if len(url) > LONGEST_URL:
        raise BlockedAddress(f"the URL is longer than {LONGEST_URL} characters")
    if "\\" in url or any(sign <= " " or "\x7f" <= sign <= "\xa0" for sign in url):
        raise BlockedAddress("the URL contains a space, a control character or a backslash")
    whole = _URL.fullmatch(url)
    if whole is None:
        raise BlockedAddress("the URL must be of the form http://host/path")
    scheme = whole["scheme"].lower()
    if scheme not in ("http", "https"):
        raise BlockedAddress(f"only http and https may be dialled, not {scheme[:20]}")
    if "@" in whole["place"]:
        raise BlockedAddress("the URL contains credentials")
    place = _PLACE.fullmatch(whole["place"])
    if place is None:
        raise BlockedAddress("the URL has no valid host and port")
    port = int(place["port"]) if place["port"] else (443 if scheme == "https" else 80)
    host = _literal(place["v6"]) if place["v6"] else _name(place["name"])
    path = quote(whole["path"], safe="%/:?[]@!$&'()*+,;=~-._", errors="replace")
    return scheme, host, port, path


def _literal(text: str) -> str:
    try:
        return f"[{IPv6Address(text)}]"
    except ValueError as error:
        raise BlockedAddress("the URL's IPv6 address is not valid") from error


def _name(text: str) -> str:
    """The ASCII name to look up; IDNA turns look-alike digits and dots into real ones first."""
    try:
        name = text.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError as error:
        raise BlockedAddress("the URL's host is not a valid name") from error
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise BlockedAddress("the URL's host is not a valid name")
    number = _ipv4(name)
    return name if number is None else str(number)


def _ipv4(name: str) -> IPv4Address | None:
    """The address that a name in numbers means to inet_aton: 127.1, 0x7f000001, 0177.0.0.1."""
    parts = name.split(".")
    if not _NUMBER.fullmatch(parts[-1]):
        return None
    try:
        *first, last = [_number(part) for part in parts]
        if len(first) > 3 or any(part > 255 for part in first) or last >= 256 ** (4 - len(first)):
            raise ValueError(name)
    except ValueError as error:
        raise BlockedAddress("the URL's host is a number, but no address") from error
    return IPv4Address(sum(part << (24 - 8 * at) for at, part in enumerate(first)) + last)


def _number(part: str) -> int:
    if not _NUMBER.fullmatch(part):
        raise ValueError(part)
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8) if part.startswith("0") else int(part)


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
