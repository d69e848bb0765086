r"""Patterns over keys.

`*` is any characters, `?` one, `[a-z]` one of a set, `[!a]` one outside it, and `\` quotes. The
language is that of Redis' SCAN, so that one pattern means the same on every tier.

Matching never goes back: what stands between two `*` has one length, so the first place where it
fits is as good as any other. The time is at most that of pattern times key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from penstock.errors import InvalidInput

MAX_PATTERN = 10_000  # characters; SQLite takes 50,000 bytes, of which one may need four

_SPECIAL = re.compile(r"([*?\[\]\\])")
_TOKEN = re.compile(r"\\(.)|\[([!^]?)((?:\\.|(?>[^\]\\]+))+)\]|(.)", re.DOTALL)
_MEMBER = re.compile(r"(\\.|.)(?:-(\\.|.))?", re.DOTALL)


def escape(text: str) -> str:
    """Quote what a pattern would read as more than itself."""
    return _SPECIAL.sub(r"\\\1", text)


def check(pattern: str) -> None:
    """Refuse, before any tier is asked, what a tier could not read.

    Raises InvalidInput, which says what is wrong with the pattern.
    """
    if len(pattern) > MAX_PATTERN:
        raise InvalidInput(f"a pattern has at most {MAX_PATTERN} characters, not {len(pattern)}")
    try:
        pattern.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the pattern is no Unicode text: it holds a lone surrogate") from error
    matcher(pattern)


def matcher(pattern: str) -> Callable[[str], object]:
    """A test that is true for keys that match the whole pattern; raises InvalidInput."""
    regex, *rest = _parts(pattern)
    if rest:
        *middle, last = rest
        # Atomic groups: a part that was found is not looked for again further on.
        regex += "".join(f"(?>.*?{part})" for part in middle if part) + f".*{last}"
    return re.compile(regex, re.DOTALL).fullmatch


def as_glob(pattern: str) -> str:
    """The same pattern in the words of SQLite's GLOB, which has no quoting but `[*]`."""
    return "".join(_as_glob(pattern))


def _parts(pattern: str) -> list[str]:
    """What stands between the `*`, as regexes that match one length each."""
    parts = [""]
    for quoted, negated, members, plain in _TOKEN.findall(pattern):
        if plain == "*":
            parts.append("")
        elif members:
            parts[-1] += f"[{'^' if negated else ''}{_members(members)}]"
        else:
            parts[-1] += "." if plain == "?" else re.escape(quoted or plain)
    return parts


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
    regex = ""
    for first, last in _MEMBER.findall(members):
        low, high = first[-1], last[-1:]  # without the quoting backslash
        if high and high < low:
            raise InvalidInput(
                f"the range {low}-{high} in the pattern runs backwards: write {high}-{low}"
            )
        regex += re.escape(low) + (f"-{re.escape(high)}" if high else "")
    return regex


def _glob_members(members: str) -> str:
    """GLOB knows no quoting in a set: `]` must stand first and `^` must not."""
    literal = re.sub(r"\\(.)", r"\1", members, flags=re.DOTALL)
    if "]" in literal:
        literal = "]" + literal.replace("]", "")
    if literal.startswith("^"):
        literal = literal[1:] + "^" if len(literal) > 1 else literal
    return literal
