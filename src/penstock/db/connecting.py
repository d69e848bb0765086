"""Makes connections to PostgreSQL, all with the same session settings."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, Final

import asyncpg
from asyncpg import Connection
from asyncpg.exceptions import ConnectionDoesNotExistError

from penstock.db.location import shown
from penstock.db.postgres_faults import Unmet
from penstock.db.postgres_tls import terms_of
from penstock.errors import ConfigurationError
from penstock.net.tls import Ended, context

CONNECT_PATIENCE: Final = 5.0  # seconds
ANSWER_PATIENCE: Final = 10.0  # for one statement that does not say otherwise

_SETTINGS: Final = {
    "application_name": "penstock",
    "jit": "off",  # costs more than these statements do
    "idle_in_transaction_session_timeout": "60000",  # a process that froze holds no locks for ever
}


async def connect(dsn: str) -> Connection[Any]:
    """A connection to the database at `dsn`, as asyncpg reads it.

    Raises ConfigurationError for what is no address, Unmet, and what asyncpg raises.
    """
    try:
        async with asyncio.timeout(CONNECT_PATIENCE):
            return await _connect(dsn)
    except TimeoutError as error:
        raise Unmet(f"no connection within {CONNECT_PATIENCE:g} s") from error


async def _connect(dsn: str) -> Connection[Any]:
    terms = terms_of(dsn)
    trusted = None if terms is None else await asyncio.to_thread(context, terms)
    try:
        connection: Connection[Any] = await asyncpg.connect(
            dsn,
            ssl=trusted,
            timeout=2 * CONNECT_PATIENCE,  # the one around this is shorter
            command_timeout=ANSWER_PATIENCE,
            statement_cache_size=512,
            max_cached_statement_lifetime=0,
            server_settings=_SETTINGS,
        )
    except (ConnectionResetError, ConnectionDoesNotExistError) as error:
        if terms is None or not terms.certificate:
            raise
        raise Ended(str(error)) from error  # the alert that says why may be lost
    except ssl.SSLError:
        raise  # some of them are ValueErrors, too
    except (ValueError, OverflowError) as error:
        # Its own text may quote the password.
        raise ConfigurationError(
            f"the database URL {shown(dsn)!r} cannot be used; {_advice(str(error))}"
        ) from None
    try:
        watch(connection)
        # Sums of BIGINT are NUMERIC: they are numbers as SQLite gives them, not Decimals.
        await connection.set_type_codec(
            "numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text"
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


def _advice(text: str) -> str:
    if "root certificate file" in text:
        return (
            "its sslmode needs the file of the authority that signed the server's certificate: "
            "sslrootcert=/path/ca.pem, or sslrootcert=system"
        )
    if "`sslmode`" in text:
        return "its sslmode is one of disable, prefer, require, verify-ca, verify-full"
    return (
        "write postgresql://user:password@host:5432/name, with %40 for @ in a password, and "
        "nothing behind the ? that is not meant"
    )


def watch(connection: Connection[Any]) -> None:
    """Let the kernel notice within seconds that the other end is gone without a word."""
    transport = connection._transport  # type: ignore[attr-defined]  # asyncpg hides it
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None or sock.family == socket.AF_UNIX:
        return
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 10),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 15_000),
    ):
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            sock.setsockopt(level, option, value)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
