"""Moves the records of an embedded installation into PostgreSQL: all of them, or none.

    SQLite, one read transaction ── COPY ──> PostgreSQL, one transaction ── read back, compared ──>
    COMMIT

What is compared is the number of rows of each table and a sum over the hashes of its rows, which
does not depend on their order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
from asyncpg import Connection
from sqlalchemy import Boolean, Float, LargeBinary, Table, Text

from penstock.db import migrate
from penstock.db.connecting import connect
from penstock.db.location import Location, dsn, shown
from penstock.db.postgres_faults import fault
from penstock.db.postgres_tables import LOCK, revision
from penstock.db.tables import ROW_NUMBERS, metadata
from penstock.db.translate import NUL, STAND_IN
from penstock.errors import Conflict, StorageUnavailable

AT_ONCE: Final = 50  # rows that are read back together: some hold a megabyte
_MODULUS: Final = 1 << 128


class Copied(NamedTuple):
    """What became of a table."""

    table: str
    rows: int
    checksum: str  # equal in both databases
    replaced: int  # texts in which a NUL, which PostgreSQL cannot hold, became U+2400


class Result(NamedTuple):
    """What was copied; `is_behind` when the source was written to meanwhile."""

    tables: list[Copied]
    is_behind: bool


class Checksum:
    """Counts rows and adds up their hashes."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, row: Sequence[Any]) -> None:
        """Count a row in."""
        encoded = msgspec.msgpack.encode(row)
        self._sum += int.from_bytes(blake2b(encoded, digest_size=16).digest(), "big")
        self.rows += 1

    def __str__(self) -> str:
        return f"{self._sum % _MODULUS:032x}"


async def copy(
    source: Location, target: str, *, replace: bool = False, tell: Callable[[Copied], None]
) -> Result:
    """Copy all tables of `source` into the database at `target`, whose tables are made already.

    Raises Conflict when the target has rows, unless they are to be replaced, and StorageUnavailable
    when one of the two cannot be used or is not what was written to it.
    """
    where = shown(target)
    reader = sqlite3.connect(source.sqlite_uri, uri=True, isolation_level=None)
    with closing(reader):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # now it has begun
        before = _data_version(reader)
        try:
            connection = await connect(dsn(target))
            try:
                async with connection.transaction():
                    await _prepare(connection, where, replace=replace)
                    copied = []
                    for table in metadata.sorted_tables:
                        copied.append(await _copy_table(reader, connection, table, where))
                        tell(copied[-1])
                    await connection.execute("ALTER TABLE audit_entries ENABLE TRIGGER USER")
            finally:
                connection.terminate()
        except Exception as error:
            raise fault(error, where) from error
        reader.execute("ROLLBACK")
        return Result(copied, _data_version(reader) != before)


async def _prepare(connection: Connection[Any], where: str, *, replace: bool) -> None:
    """Keep others out until the end, and see that the tables are empty."""
    await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})", timeout=None)
    found = await revision(connection)
    if found != migrate.HEAD:
        raise StorageUnavailable(
            f"{where} has revision {found}, this version writes {migrate.HEAD}; "
            "run: penstock db upgrade"
        )
    names = [table.name for table in metadata.sorted_tables]
    await connection.execute(f"LOCK TABLE {', '.join(names)} IN EXCLUSIVE MODE", timeout=None)
    await connection.execute("ALTER TABLE audit_entries DISABLE TRIGGER USER")
    if replace:
        await connection.execute(f"TRUNCATE {', '.join(names)} RESTART IDENTITY", timeout=None)
        return
    for name in names:
        if await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {name})"):
            raise Conflict(
                f"the table {name} of {where} has rows already; "
                "name an empty database, or replace everything there with --replace"
            )


async def _copy_table(
    reader: sqlite3.Connection, connection: Connection[Any], table: Table, where: str
) -> Copied:
    columns = _columns(table)
    listed = ", ".join(columns)
    rows = _Rows(reader.execute(f"SELECT {listed} FROM {table.name} ORDER BY rowid"), table)
    await connection.copy_records_to_table(
        table.name, records=iter(rows), columns=columns, timeout=None
    )
    back = Checksum()
    async for row in connection.cursor(f"SELECT {listed} FROM {table.name}", prefetch=AT_ONCE):
        back.add(tuple(row))
    if (rows.sent.rows, str(rows.sent)) != (back.rows, str(back)):
        raise StorageUnavailable(
            f"the table {table.name} of {where} is not what was written to it ({back.rows} of "
            f"{rows.sent.rows} rows); nothing was copied: check that server, then repeat"
        )
    await _number_on(connection, table)
    return Copied(table.name, back.rows, str(back), rows.replaced)


class _Rows:
    """The rows of a table as PostgreSQL takes them, added up as they go by."""

    def __init__(self, rows: Iterator[tuple[Any, ...]], table: Table) -> None:
        self.sent = Checksum()
        self.replaced = 0
        self._rows = rows
        self._kinds = [_kind(table, name) for name in _columns(table)]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for row in self._rows:
            fitting = tuple(map(self._fit, self._kinds, row))
            self.sent.add(fitting)
            yield fitting

    def _fit(self, kind: type, value: Any) -> Any:
        """SQLite keeps what it is given; PostgreSQL wants what the column says."""
        if value is None:
            return None
        if kind is str and isinstance(value, str) and NUL in value:
            self.replaced += 1
            return value.replace(NUL, STAND_IN)
        if type(value) is kind:
            return value
        if kind is bytes:
            return str(value).encode()
        return kind(value)


def _kind(table: Table, name: str) -> type:
    if name == "rowid":
        return int
    match table.c[name].type:
        case Boolean():
            return bool
        case Float():
            return float
        case LargeBinary():
            return bytes
        case Text():
            return str
        case _:
            return int


def _columns(table: Table) -> list[str]:
    numbered = ["rowid"] if table.name in ROW_NUMBERS else []
    return [*numbered, *table.c.keys()]


async def _number_on(connection: Connection[Any], table: Table) -> None:
    """Let the next row get the number after the highest."""
    for name in _columns(table):
        sequence = await connection.fetchval(
            "SELECT pg_get_serial_sequence($1, $2)", table.name, name
        )
        if sequence is not None:
            await connection.execute(
                f"SELECT setval($1::text::regclass, coalesce(max({name}), 0) + 1, false) "
                f"FROM {table.name}",
                sequence,
            )


def _data_version(reader: sqlite3.Connection) -> int:
    """A number that changes when another connection has written."""
    return int(reader.execute("PRAGMA data_version").fetchone()[0])
