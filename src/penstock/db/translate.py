"""Statements written for SQLite, as PostgreSQL reads them.

SQL is written once, with `?` or `:name` for its parameters. PostgreSQL wants `$1`, `$2`, ... , and
has no `changes()`: there it is a parameter too, filled in with the number of rows that the
statement before it changed. Quoted text, quoted names, comments and `::casts` stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

NUL: Final = "\0"
STAND_IN: Final = "\N{SYMBOL FOR NULL}"
"""What PostgreSQL is given for NUL, the one character that its texts cannot hold."""

_TOKENS = re.compile(
    r"""
      '(?:[^']|'')*'                        # text
    | "(?:[^"]|"")*"                        # a name
    | --[^\n]*
    | /\*.*?\*/
    | \$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$
    | ::
    | (?P<changes>\bchanges\(\s*\))
    | (?P<mark>\?)
    | :(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_CHANGES: Final = 0  # no parameter has a number or a name like this one


class Translated(NamedTuple):
    """A statement in PostgreSQL's form, and where each of its parameters comes from."""

    sql: str
    names: tuple[str | int, ...]  # of `$1`, ...: a name, a place counted from 1, or `changes()`
    marks: int  # how many `?` there are

    def bind(self, params: Sequence[Any] | Mapping[str, Any] | None, changed: int = 0) -> list[Any]:
        """The values of `$1`, ... in their order; `changed` is what `changes()` is."""
        if not isinstance(params, Mapping) and len(params or ()) != self.marks:
            raise ValueError(
                f"the statement takes {self.marks} parameters, {len(params or ())} were given"
            )
        values = [
            changed if name == _CHANGES else params[name if isinstance(name, str) else name - 1]  # type: ignore[index]
            for name in self.names
        ]
        return without_nul(values)


def without_nul(values: list[Any]) -> list[Any]:
    """`values` with a stand-in for NUL in texts, so that what has one is kept and found again."""
    for place, value in enumerate(values):
        if isinstance(value, str) and NUL in value:
            values[place] = value.replace(NUL, STAND_IN)
    return values


@lru_cache(maxsize=2048)
def translate(sql: str) -> Translated:
    """Read a statement once; the same name is the same parameter wherever it stands."""
    names: list[str | int] = []
    marks = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal marks
        if found["mark"]:
            marks += 1
            names.append(marks)
            return f"${len(names)}"
        if found["changes"]:
            names.append(_CHANGES)
            return f"CAST(${len(names)} AS BIGINT)"
        name = found["name"]
        if not name:
            return found[0]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return Translated(_TOKENS.sub(replace, sql), tuple(names), marks)
