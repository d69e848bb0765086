"""TLS to PostgreSQL, spelled as libpq spells it: `?sslmode=verify-full&sslrootcert=/path/ca.pem`.

asyncpg reads the files anew, on the loop, for every connection. Where an authority is named, that
is done here, once; it understands the rest itself (https://www.postgresql.org/docs/current/libpq-ssl.html).
"""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from asyncpg import Connection

from penstock.net.tls import Spelling, Terms

SPELLING: Final = Spelling("sslrootcert", "sslcert", "sslkey", "DATABASE_URL")
SYSTEM: Final = "system"  # as libpq 16 calls the authorities that the machine trusts

_CHECKED: Final = ("require", "verify-ca", "verify-full")
_OTHERS: Final = (
    "sslcrl",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)


def terms_of(dsn: str) -> Terms | None:
    """What an address says of TLS; None where asyncpg sees to it."""
    given = dict(parse_qsl(urlsplit(dsn).query))
    mode, authorities = given.get("sslmode"), given.get("sslrootcert")
    if mode not in _CHECKED or not authorities or any(name in given for name in _OTHERS):
        return None
    return Terms(
        authorities="" if authorities == SYSTEM else authorities,
        certificate=given.get("sslcert", ""),
        key=given.get("sslkey", ""),
        password=given.get("sslpassword", ""),
        # The system's authorities sign for everybody: without the name, nothing would be checked.
        check_name=mode == "verify-full" or authorities == SYSTEM,
    )


def is_unchecked(dsn: str) -> bool:
    """Whether TLS is asked for, and whoever answers is believed."""
    given = dict(parse_qsl(urlsplit(dsn).query))
    return given.get("sslmode") == "require" and "sslrootcert" not in given


def version(connection: Connection[Any]) -> str:
    """Which TLS a connection speaks; empty for none."""
    transport = connection._transport  # type: ignore[attr-defined]  # asyncpg hides it
    spoken: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return (spoken.version() or "TLS") if spoken is not None else ""
