"""TLS to Redis, spelled the same for every client in this project.

    rediss://:password@host:6379/0?ssl_ca_certs=/etc/penstock/ca.pem

redis-py, kombu and Celery's result back end each read such options in a way of their own, and kombu
checks no certificate when it finds none. So they are read here, and given to each as it takes them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from penstock.errors import ConfigurationError
from penstock.extras import extra
from penstock.net.address import shown
from penstock.net.tls import Spelling, Terms, context

with extra("redis"):
    from redis.asyncio import Connection as AsyncConnection
    from redis.connection import Connection

SCHEME: Final = "rediss"
SPELLING: Final = Spelling("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "REDIS_URL")

_TEXTS: Final = {
    "ssl_ca_certs": "authorities",
    "ssl_ca_path": "folder",
    "ssl_certfile": "certificate",
    "ssl_keyfile": "key",
    "ssl_password": "password",
}
_VERIFY: Final = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_REQUIRED,  # a client always gets the server's: it is the same
    "none": ssl.CERT_NONE,
}
_SWITCH: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_KNOWN: Final = (*_TEXTS, "ssl_cert_reqs", "ssl_check_hostname")


def split(url: str) -> tuple[str, Terms | None]:
    """The address without the options of TLS, and what they say; None where TLS is not spoken.

    Raises ConfigurationError for options that are none, or that mean nothing where they stand.
    """
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    given = {name: value for name, value in options if name.startswith("ssl")}
    rest = urlencode([(name, value) for name, value in options if name not in given])
    bare = urlunsplit(parts._replace(query=rest)) if given else url
    if parts.scheme == SCHEME:
        return bare, _read(given, url)
    if given:
        name = next(iter(given))
        raise ConfigurationError(
            f"{shown(url)!r} has the option {name} and speaks no TLS; write rediss://"
        )
    return url, None


def _read(given: Mapping[str, str], url: str) -> Terms:
    if unknown := [name for name in given if name not in _KNOWN]:
        raise ConfigurationError(
            f"{shown(url)!r} has the option {unknown[0]}, which nobody reads; "
            f"known: {', '.join(_KNOWN)}"
        )
    verify = given.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    check_name = given.get("ssl_check_hostname", "true").lower()
    if verify not in _VERIFY:
        raise ConfigurationError(f"{shown(url)!r}: ssl_cert_reqs is one of required, none")
    if check_name not in _SWITCH:
        raise ConfigurationError(f"{shown(url)!r}: ssl_check_hostname is one of true, false")
    if given.get("ssl_keyfile") and not given.get("ssl_certfile"):
        raise ConfigurationError(f"{shown(url)!r} has ssl_keyfile; add its ssl_certfile")
    return Terms(
        **{part: given[name] for name, part in _TEXTS.items() if name in given},
        verify=_VERIFY[verify],
        check_name=_SWITCH[check_name],
    )


def for_celery(url: str) -> tuple[str, dict[str, Any] | None]:
    """The address as Celery is given it, and its `broker_use_ssl` or `redis_backend_use_ssl`."""
    bare, terms = split(url)
    if terms is None:
        return bare, None
    found: dict[str, Any] = {
        "ssl_cert_reqs": terms.verify,
        "ssl_check_hostname": terms.check_name,
    }
    found |= {name: value for name, part in _TEXTS.items() if (value := getattr(terms, part))}
    if terms.certificate:
        found["ssl_password"] = terms.password  # without one, OpenSSL asks on the terminal
    return bare, found


class SecureConnection(AsyncConnection):
    """One connection of a loop's; redis-py's own makes its context on the loop, each time anew."""

    def __init__(self, *, tls: Terms, **options: Any) -> None:
        super().__init__(**options)
        self._terms = tls
        self._context: ssl.SSLContext | None = None

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            self._context = await asyncio.to_thread(context, self._terms)
            await super()._connect()  # type: ignore[no-untyped-call]

    async def disconnect(self, nowait: bool = False, *how: Any, **why: Any) -> None:
        """End it at once: to wait for the server's farewell is to wait for one that is away."""
        writer: asyncio.StreamWriter | None = self._writer
        if writer is not None:
            writer.transport.abort()
        await super().disconnect(nowait, *how, **why)

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._context}


class SecureConnectionOfThreads(Connection):
    """The same for threads."""

    def __init__(self, *, tls: Terms, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._terms = tls

    def _connect(self) -> socket.socket:
        made = context(self._terms)
        plain: socket.socket = super()._connect()  # type: ignore[no-untyped-call]
        try:
            plain.settimeout(self.socket_connect_timeout)  # the handshake is more than an answer
            secure = made.wrap_socket(plain, server_hostname=self.host)
            secure.settimeout(self.socket_timeout)
        except BaseException:
            plain.close()
            raise
        return secure
