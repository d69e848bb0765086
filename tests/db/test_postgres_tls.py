"""TLS to a real PostgreSQL: what is agreed on, what is refused, and in which words."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from benchmarks.rigs.certificates import Authority
from benchmarks.rigs.servers import PostgresServer, Tls
from penstock.db import migrate, open_database, postgres_tables
from penstock.db.connecting import connect
from penstock.db.copying import copy
from penstock.db.location import Location, dsn
from penstock.db.postgres_tls import version
from penstock.errors import ConfigurationError, PenstockError, StorageUnavailable

OwnPostgres = Callable[..., PostgresServer]

SECRET = "open-sesame"


async def spoken(url: str) -> str:
    """Which TLS is agreed on."""
    connection = await connect(dsn(url))
    try:
        return version(connection)
    finally:
        await connection.close()


async def told(url: str) -> str:
    """What is wrong, without the address."""
    with pytest.raises(PenstockError) as caught:
        await postgres_tables.stored(url)
    assert SECRET not in caught.value.detail
    kind = StorageUnavailable if "cannot be used" not in caught.value.detail else ConfigurationError
    assert isinstance(caught.value, kind)
    return caught.value.detail.partition("/postgres")[2].lstrip("' ")


async def test_a_server_that_takes_nobody_without_tls(
    own_postgres: OwnPostgres, authority: Authority, stranger: Authority
) -> None:
    server = own_postgres("fsync=off", tls=Tls.of(authority))
    named = server.url.replace("penstock@", f"penstock:{SECRET}@")
    bare = named.partition("?")[0]
    trusted = str(authority.ca)

    for url in (
        *(named, bare, f"{bare}?sslmode=require", named.replace("verify-full", "verify-ca")),
        f"{bare}?ssl=require".replace("postgresql:", "postgresql+asyncpg:"),
    ):
        assert (await spoken(url)).startswith("TLS"), url
    assert await told(f"{bare}?sslmode=disable") == (
        "takes nobody without TLS from here; "
        "put ?sslmode=verify-full&sslrootcert=/path/ca.pem into DATABASE_URL"
    )
    for url in (
        named.replace(trusted, str(stranger.ca)),
        named.replace(trusted, "system"),
        f"{bare}?sslmode=require&sslrootcert={stranger.ca}",  # as libpq: verify-ca
    ):
        words = await told(url)
        assert words.startswith("shows a certificate that is not trusted (self-signed")
        assert words.endswith("signed it in DATABASE_URL: ?sslrootcert=/path/ca.pem")
    assert await told(named.replace(trusted, "/gone.pem")) == (
        "cannot be asked: /gone.pem cannot be read (No such file or directory); "
        "correct DATABASE_URL"
    )
    assert "sslrootcert=/path/ca.pem, or sslrootcert=system" in await told(
        f"{bare}?sslmode=verify-full"
    )
    assert "one of disable, prefer, require" in await told(f"{bare}?sslmode=on")
    assert await told(f"{bare}?sslmod=require") == (
        "does not know an option that DATABASE_URL has behind the ?; correct it"
    )


async def test_a_server_that_asks_for_a_certificate_and_has_one_of_another_name(
    own_postgres: OwnPostgres, authority: Authority, stranger: Authority
) -> None:
    server = own_postgres("fsync=off", tls=Tls.of(authority, "other.example", clients=True))
    named = server.url.replace("verify-full", "verify-ca")
    without = named.partition("&sslcert")[0]
    theirs = stranger.issue("client", file="client")

    assert (await spoken(named)).startswith("TLS")
    assert await told(server.url) == (
        "shows a certificate of another name (IP address mismatch, certificate is not valid for "
        "'127.0.0.1'); write the name that its certificate has into DATABASE_URL"
    )
    assert await told(without) == (
        "asks for a certificate of the client; "
        "put sslcert=/path/client.pem&sslkey=/path/client.key into DATABASE_URL"
    )
    foreign = await told(f"{without}&sslcert={theirs.certificate}&sslkey={theirs.key}")
    assert "sslcert=/path/client.pem&sslkey=/path/client.key" in foreign  # why may be lost


async def test_a_server_without_tls_is_not_spoken_to_where_tls_is_asked_for(
    postgres, authority: Authority
) -> None:
    assert await spoken(postgres.url) == ""
    for asked in ("sslmode=require", f"sslmode=verify-full&sslrootcert={authority.ca}"):
        with pytest.raises(StorageUnavailable) as caught:
            await postgres_tables.stored(f"{postgres.url}?{asked}")
        assert "speaks no TLS, which sslmode in DATABASE_URL asks for" in caught.value.detail


async def test_tables_records_and_a_copy_go_over_the_same_address(
    own_postgres: OwnPostgres, authority: Authority, tmp_path: Path
) -> None:
    server = own_postgres("fsync=off", tls=Tls.of(authority, clients=True))
    url = server.database()
    source = Location(tmp_path / "penstock.db")
    migrate.upgrade(source.url)
    with closing(sqlite3.connect(source.path)) as raw, raw:
        raw.execute("CREATE TABLE IF NOT EXISTS unrelated (id INTEGER)")

    assert postgres_tables.upgrade(url)
    assert not postgres_tables.upgrade(url)
    result = await copy(
        Location(source.path, read_only=True), url, replace=True, tell=lambda _: None
    )
    async with aclosing(open_database(url, folder=tmp_path)) as opened:
        assert await opened.row("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == (
            True,
        )
        server.kill()
        server.start()
        assert await opened.row("SELECT 1") == (1,)
        assert (await opened.health())["writable"]

    assert len(result.tables) > 5
