"""What every database does, whichever it is: the methods that stores are written against.

Statements are plain SQL, written once: `?` or `:name` for parameters, booleans as true and false,
and what the two dialects do not share comes from `penstock.db.dialect`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NotRequired, Protocol, TypedDict

Dialect = Literal["sqlite", "postgresql"]
Durability = Literal["normal", "full"]
Params = Sequence[Any] | Mapping[str, Any]
Call = tuple[str, Params | list[Params] | None]
"""A statement and its parameters; a list of parameters runs it once for each."""
Statement = str | Call


KEPT: Final = 10  # connections of a pool that stay open
OVERFLOW: Final = 20  # and how many more there may be


class PoolUsage(TypedDict):
    """How many connections there are to PostgreSQL from this process."""

    used: int
    idle: int
    waiting: int  # callers that wait for one
    kept: int  # how many stay open when nobody needs them
    most: int


class DatabaseHealth(TypedDict):
    """What `Database.health` found; sizes in bytes."""

    writable: bool
    detail: str  # what is wrong and what to do; empty when nothing is
    path: str  # the file, or the address without its password
    size_bytes: int
    latency_seconds: float  # that the smallest write took
    integrity: str | None  # "ok" or the first damage; None when it was not asked for
    wal_bytes: NotRequired[int]  # SQLite
    free_bytes: NotRequired[int]  # SQLite
    version: NotRequired[str]  # PostgreSQL
    role: NotRequired[Literal["primary", "standby"]]  # PostgreSQL
    pool: NotRequired[PoolUsage]  # PostgreSQL


class Database(Protocol):
    """Keeps records. Raises StorageUnavailable, StorageFull or Conflict, with what to do."""

    @property
    def dialect(self) -> Dialect:
        """Which SQL it speaks, for what the two do not share."""
        ...

    async def write(self, *statements: Statement, serial: bool | None = None) -> int:
        """Run the statements as one transaction; the number of changed rows, after COMMIT.

        All or nothing. In a statement, `changes()` is how many rows the one before it changed.
        What several statements read while they write stays true until they are done, as if nobody
        else wrote meanwhile; `serial` asks the same for one, or says that it is not needed. A
        caller that is cancelled does not know: the write may happen.
        """
        ...

    def write_later(self, *statements: Statement) -> None:
        """Like `write` for what nobody waits for; a failure is logged."""
        ...

    async def row(self, sql: str, params: Params = ()) -> tuple[Any, ...] | None:
        """The first row, or None."""
        ...

    async def rows(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """All rows: for queries that an index answers."""
        ...

    async def scan(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """All rows of a query that looks at many and may take its time."""
        ...

    async def bulk(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Add many rows at once, all or none; how many."""
        ...

    async def health(self, *, check: bool = False) -> DatabaseHealth:
        """Whether records can be written now; `check` looks for damage as well."""
        ...

    async def aclose(self) -> None:
        """Write what waits, then close; may be called twice."""
        ...
