"""The three writes of every job, many jobs to a statement.

A statement gives the interpreter's lock away once for every row that `executemany` takes, and gets
it back when the loop is willing: with a busy loop 500 rows cost 4 s, as one statement 20 ms. So
rows go out in statements of fixed sizes, filled up with rows that mean nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

_SIZES: Final = (1, 8, 64, 256)  # rows to a statement
LARGEST: Final = _SIZES[-1]

_COLUMNS: Final = (
    "id, task, queue, priority, state, attempt, max_attempts, run_at, created_at, started_at, "
    "deadline, worker, once, owner, batch_id, request_id, trace_id, arguments"
)
# fmt: off
NewRow = tuple[
    int, str, str, int, int, int, int, int, int, int,
    int, int, int, str, str, str, str, str,
]
_NOTHING: Final[NewRow] = (0, "", "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "", "", "", "", "")
# fmt: on
EndRow = tuple[int, int, int, str]  # id, finished_at, expires_at, result
_NO_END: Final[EndRow] = (0, 0, 0, "")


def _values(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


_INSERT: Final = f"INSERT INTO job ({_COLUMNS}) "
INSERT_KEYED: Final = (
    f"INSERT INTO job ({_COLUMNS}, key) VALUES {_values(len(_NOTHING) + 1, 1)} "
    "ON CONFLICT DO NOTHING"
)
_INSERTS: Final = {
    n: _INSERT
    + (
        f"VALUES {_values(len(_NOTHING), n)}"
        if n == 1
        else f"SELECT * FROM (VALUES {_values(len(_NOTHING), n)}) WHERE column1 > 0"
    )
    for n in _SIZES
}
_CLAIMS: Final = {
    n: "UPDATE job SET state = 1, attempt = attempt + 1, worker = ?, started_at = ?, once = ? "
    f"WHERE state = 0 AND id IN ({', '.join('?' * n)})"
    for n in _SIZES
}
_CLAIMED: Final = "SELECT id FROM job WHERE state = 1 AND worker = ? AND started_at = ?"
_COMPLETES: Final = {
    n: "UPDATE job SET state = 2, finished_at = column2, expires_at = column3, result = column4 "
    f"FROM (VALUES {_values(len(_NO_END), n)}) "
    "WHERE id = column1 AND state = 1 AND worker = ?"
    for n in _SIZES
}


def insert(connection: sqlite3.Connection, rows: Sequence[NewRow]) -> None:
    """Add jobs that have no key."""
    for part, size in _parts(rows):
        params = _filled(part, size, _NOTHING)
        connection.execute(_INSERTS[size], params)


def claim(
    connection: sqlite3.Connection,
    numbers: Sequence[int],
    *,
    worker: int,
    now: int,
    once: bool = False,
) -> set[int]:
    """Make ready jobs running ones of `worker`; returns those that are not ready any more."""
    changed = 0
    for part, size in _parts(numbers):
        params = [worker, now, once, *part, *[0] * (size - len(part))]
        changed += connection.execute(_CLAIMS[size], params).rowcount
    if changed == len(numbers):
        return set()
    marks = ", ".join("?" * len(numbers))
    held = connection.execute(f"{_CLAIMED} AND id IN ({marks})", (worker, now, *numbers)).fetchall()
    return set(numbers).difference(number for (number,) in held)


def complete(connection: sqlite3.Connection, rows: Sequence[EndRow], *, worker: int) -> int:
    """Store the results of jobs that ended well; how many were still this worker's."""
    changed = 0
    for part, size in _parts(rows):
        params: list[Any] = _filled(part, size, _NO_END)
        params.append(worker)
        changed += connection.execute(_COMPLETES[size], params).rowcount
    return changed


def _parts(rows: Sequence[Any]) -> Iterable[tuple[Sequence[Any], int]]:
    count = len(rows)
    if count == 1:
        yield rows, 1
        return
    for start in range(0, count, LARGEST):
        part = rows[start : start + LARGEST]
        yield part, next(size for size in _SIZES if size >= len(part))


def _filled(part: Sequence[tuple[Any, ...]], size: int, nothing: tuple[Any, ...]) -> list[Any]:
    params = list(chain.from_iterable(part))
    params += nothing * (size - len(part))
    return params
