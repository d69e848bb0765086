r"""Patterns over keys.

`*` is any characters, `?` one, `[a-z]` one of a set, `[!a]` one outside it, and `\` quotes. The
language is that of Redis' SCAN, so that one pattern means the same on every tier.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_SPECIAL = re.compile(r"([*?\[\]\\])")
_TOKEN = re.compile(r"\\(.)|\[([!^]?)((?:\\.|[^\]\\])+)\]|(.)", re.DOTALL)


def escape(text: str) -> str:
    """Quote what a pattern would read as more than itself."""
    return _SPECIAL.sub(r"\\\1", text)


def matcher(pattern: str) -> Callable[[str], object]:
    """A test that is true for keys that match the whole pattern."""
    return re.compile("".join(_as_regex(pattern)), re.DOTALL).fullmatch


def as_glob(pattern: str) -> str:
    """The same pattern in the words of SQLite's GLOB, which has no quoting but `[*]`."""
    return "".join(_as_glob(pattern))


def _as_regex(pattern: str) -> Iterator[str]:
    for quoted, negated, members, plain in _TOKEN.findall(pattern):
        if quoted:
            yield re.escape(quoted)
        elif members:
            yield f"[{'^' if negated else ''}{_members(members)}]"
        else:
            yield {"*": ".*", "?": "."}.get(plain) or re.escape(plain)


def _as_glob(pattern: str) -> Iterator[str]:
    for quoted, negated, members, plain in _TOKEN.findall(pattern):
        literal = quoted or (plain if plain == "[" else "")
        if literal:
            yield f"[{literal}]" if literal in "*?[" else literal
        elif members:
            yield f"[{'^' if negated else ''}{_glob_members(members)}]"
        else:
            yield plain


def _members(members: str) -> str:
    """A set's members for a regex: ranges stay, everything else is literal."""
    return re.sub(r"\\(.)|([\[\]^&~|])", lambda m: "\\" + (m[1] or m[2]), members, flags=re.DOTALL)


def _glob_members(members: str) -> str:
    """GLOB knows no quoting in a set: `]` must stand first and `^` must not."""
    literal = re.sub(r"\\(.)", r"\1", members, flags=re.DOTALL)
    if "]" in literal:
        literal = "]" + literal.replace("]", "")
    if literal.startswith("^"):
        literal = literal[1:] + "^" if len(literal) > 1 else literal
    return literal
