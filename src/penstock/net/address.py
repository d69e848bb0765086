"""Addresses of servers with a password in them: whether they can be read, and how they are shown.

A password with / ? # or @ in it (`openssl rand -base64` makes them) ends the host's part of a URL
too early: what is left of it would be taken for a path and be printed as one. So an address that
cannot be read for certain is refused, and none of it is shown but its scheme.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

HIDDEN: Final = "..."

UNREADABLE: Final = (
    "the address cannot be read: its name or password has a character that means something in a "
    "URL; write it percent-encoded: %2F for /, %3F for ?, %23 for #, %40 for @"
)

NO_PLACE: Final = (
    "the address cannot be read: its port is no number from 1 to 65535, or its host no host; "
    "write host:port, with [::1] for an IPv6 address, and :password@ before it if there is one"
)

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
# One or several hosts, as PostgreSQL takes them.
_HOST: Final = r"(?:\[[0-9A-Fa-f:.%]*\]|[^\[\]:,]*)(?::\d{0,5})?"
_HOSTS: Final = re.compile(rf"{_HOST}(?:,{_HOST})*", re.ASCII)
_PORT: Final = re.compile(r":(\d+)(?=,|$)", re.ASCII)
_PORTS: Final = range(1, 65_536)


def is_readable(url: str) -> bool:
    """Whether name and password of an address end where they should. Of a file's it is not asked.

    An @ behind the host's part is how the rest of a password looks there.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "@" not in url and "=" not in url
    if not _SCHEME.fullmatch(scheme):
        return False
    try:
        netloc = urlsplit(url).netloc
    except ValueError:
        return False
    host = netloc.rpartition("@")[2]
    return "@" not in rest[len(netloc) :] and _HOSTS.fullmatch(host) is not None


def fault(url: str) -> str:
    """Why no server can be asked at an address, and what to write; empty where one can.

    Quotes nothing: what stands where a port should may be a password.
    """
    _, separator, rest = url.partition("://")
    if not is_readable(url):
        try:
            netloc = urlsplit(url).netloc
        except ValueError:
            return UNREADABLE if "@" in url else NO_PLACE
        # Behind the last @ stands no password.
        return UNREADABLE if not separator or "@" in rest[len(netloc) :] else NO_PLACE
    ports = _PORT.findall(urlsplit(url).netloc.rpartition("@")[2]) if separator else []
    return "" if all(int(port) in _PORTS for port in ports) else NO_PLACE


def shown(url: str, *, user: bool = False) -> str:
    """An address for logs and errors: without password and options, with the name if `user`.

    What cannot be read is not guessed: of that, only the scheme is told.
    """
    scheme, separator, _ = url.partition("://")
    if not is_readable(url):
        return f"{scheme}://{HIDDEN}" if separator and _SCHEME.fullmatch(scheme) else HIDDEN
    if not separator:
        return url
    parts = urlsplit(url)
    who, at, host = parts.netloc.rpartition("@")
    name = f"{who.partition(':')[0]}{at}" if user else ""
    return f"{scheme}://{name}{host}{parts.path}"
