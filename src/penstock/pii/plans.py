"""Which telephone numbers exist: the library's numbering plans, its own questions cut short.

It answers `is_valid_number` in 10 to 1,000 us: it makes an object per number, and compiles most
patterns anew. Here the patterns of a country code are compiled once and the answer is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

_KINDS = (  # of numbers, the commonest first
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "voip"),
    *("personal_number", "pager", "uan", "voicemail"),
)

_Form = tuple[frozenset[int], re.Pattern[str]]
"""Lengths that a number may have, none where any will do, and how it reads."""


class _Region(NamedTuple):
    leading: str | None  # how its numbers begin, where others have its code too
    starts: re.Pattern[str]
    general: _Form
    forms: tuple[_Form, ...]

    def has(self, national: str) -> bool:
        length = len(national)
        lengths, pattern = self.general
        if (lengths and length not in lengths) or not pattern.fullmatch(national):
            return False
        for lengths, pattern in self.forms:
            if (not lengths or length in lengths) and pattern.fullmatch(national):
                return True
        return False


class _Plan(NamedTuple):
    regions: tuple[_Region, ...]
    led: re.Pattern[str]  # the beginnings of all regions that have any
    others: tuple[_Region, ...]  # those that have none


class Plans:
    """The plans, read when they are first asked for. Safe to share between threads."""

    def __init__(self) -> None:
        import phonenumbers  # 30 ms, and most texts have no numbers

        self._library: Any = phonenumbers
        self._names: dict[int, tuple[str, ...]] = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
        self._plans: dict[int, _Plan] = {}

    def is_code(self, code: int) -> bool:
        """Whether a country, or a service of the whole world, has this code."""
        return code in self._names

    def has(self, code: int, national: str) -> bool:
        """Whether there is such a number: digits behind a country code."""
        if not national:
            return False
        plan = self._plans.get(code)
        if plan is None:
            plan = self._plans[code] = _plan(tuple(self._read(code)))
        if national[0] == "0":  # the library keeps one of several
            national = f"0{int(national)}"
        if len(plan.regions) == 1:
            return plan.regions[0].has(national)
        for region in plan.regions if plan.led.match(national) else plan.others:
            if region.starts.match(national) and (region.leading or region.has(national)):
                return region.has(national)
        return False

    def read_all(self) -> None:
        """Read the plans of all countries now: 0.3 s and 3 MB, else a few ms at each's first."""
        for code in self._names:
            self.has(code, "0")

    def _read(self, code: int) -> Iterator[_Region]:
        for name in self._names.get(code, ()):
            known = self._library.PhoneMetadata.metadata_for_region_or_calling_code(code, name)
            if known is not None:
                leading = known.leading_digits
                yield _Region(
                    leading,
                    re.compile(leading or ""),
                    next(_joined((known.general_desc,)), _NOTHING),
                    tuple(_joined(getattr(known, kind) for kind in _KINDS)),
                )


def _plan(regions: tuple[_Region, ...]) -> _Plan:
    leading = [region.leading for region in regions if region.leading]
    led = re.compile("|".join(leading) or _NEVER)
    return _Plan(regions, led, tuple(region for region in regions if not region.leading))


_NEVER = r"(?!)"
_NOTHING: _Form = (frozenset(), re.compile(_NEVER))


def _joined(kinds: Iterable[Any]) -> Iterator[_Form]:
    """One form for all kinds of numbers of the same lengths."""
    patterns: dict[frozenset[int], list[str]] = {}
    for kind in kinds:
        if kind is not None and kind.national_number_pattern:
            lengths = frozenset[int](kind.possible_length)
            patterns.setdefault(lengths, []).append(f"(?:{kind.national_number_pattern})")
    return ((lengths, re.compile("|".join(each))) for lengths, each in patterns.items())
