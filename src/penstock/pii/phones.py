"""Which runs of digits are telephone numbers.

The form decides what a run may be, the library of numbering plans whether such a number exists,
the words in front how sure that is.
Without a country code a number is read as North American, or, behind a 0, as one of a few
countries by its length: which of them it is does not matter here, only that it is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.pii import digits as numbers
from penstock.pii.context import Sense, sense
from penstock.pii.digits import Run, Spoken
from penstock.pii.match import Match
from penstock.pii.plans import Plans

_PLUS = re.compile(r"(?<![\w+])(?:\+|00|011[ -]?)[ .-]?[(]?[1-9](?:[ .\-/()]{0,3}\d){6,14}(?!\d)")
_NANP = re.compile(
    r"(?<!\d)(?:1[ .\-/]{0,3})?\(?[2-9]\d\d\)?([ .\-/_*|~•]{0,3})[2-9]\d\d"
    r"([ .\-_*|~•]{0,3})\d{4}(?!\d)"
)
_DECIMAL = re.compile(r"\+?\d+\.\d+")
_PLAIN = frozenset((" ", "-"))
_NUMBERS_OF_OTHERS = frozenset(
    ((3, 2, 4), (5, 4), (4, 4, 4, 4), (8, 6), (8, 4), (4, 6, 5))  # of groups, by their lengths
)
_GROUP = re.compile(r"[0-9]+")
_ITALY = 39  # keeps the 0 behind the country code
_BY_LENGTH = {  # country codes that are tried for a number with a leading 0
    8: (49,),
    9: (32, 46, 41, 49),
    10: (33, 44, 61, _ITALY),
    11: (44, 49, 81, 91),
    12: (49, 43),
}


class Phones:
    """Finds telephone numbers among the runs of one text after another."""

    def __init__(self) -> None:
        self._known: Plans | None = None

    @property
    def plans(self) -> Plans:
        """The numbering plans, read when they are first needed."""
        if self._known is None:
            self._known = Plans()
        return self._known

    def find(self, lower: str, runs: list[Run]) -> Iterator[Match]:
        """Numbers written in digits."""
        search = _Search(self.plans, lower)
        for run in runs:
            yield from search.among(run)

    def find_spelled(self, lower: str, spoken_numbers: list[Spoken]) -> Iterator[Match]:
        """Numbers in words."""
        search = _Search(self.plans, lower)
        for spoken in spoken_numbers:
            score = search.spelled(spoken.digits, spoken.start, spoken.end)
            if score and spoken.ones * 2 >= len(spoken.digits) - 2:
                yield Match("phone", spoken.start, spoken.end, score, "pii.phone.spelled")

    def find_lettered(self, lower: str, data: bytes) -> Iterator[Match]:
        """Numbers with letters as digits; `data` is `lower` in UTF-8."""
        for run in numbers.lettered(lower, data):
            score = _Search(self.plans, lower).lettered(run)
            if score:
                start = run.start - (lower[run.start - 1 : run.start] == "(")
                yield Match("phone", start, run.end, score, "pii.phone.spelled")


class _Search:
    """Questions about the runs of one text."""

    def __init__(self, plans: Plans, lower: str) -> None:
        self._plans, self._lower = plans, lower
        self._is_valid = plans.has
        self._sensed: tuple[int, int, Sense] = (0, 0, "")

    def among(self, run: Run) -> Iterator[Match]:
        done = run.start
        if self._lower[max(0, run.start - 2) : run.start].strip(" (")[-1:] == "+" or (
            run.digits[0] == "0"
        ):
            for found in _PLUS.finditer(self._lower, max(0, run.start - 3), run.end):
                score = self._international(found[0], found.start(), found.end())
                if score:
                    yield Match("phone", found.start(), found.end(), score, "pii.phone")
                    done = found.end()
        opened = done == run.start and self._lower[done - 1 : done] == "("
        for found in _NANP.finditer(self._lower, done - opened, run.end):
            if found.start() and self._lower[found.start() - 1] == "+":
                continue
            score = self._american(found, run)
            if score:
                yield Match("phone", found.start(), found.end(), score, "pii.phone")
                done = found.end()
        if done == run.start and len(run.digits) <= 15:
            yield from self._whole(run)

    def _sense(self, start: int, end: int) -> Sense:
        """What words say of a piece; the same one is often asked about twice."""
        if self._sensed[:2] != (start, end):
            self._sensed = start, end, sense(self._lower, start, end)
        return self._sensed[2]

    def spelled(self, digits: str, start: int, end: int) -> float:
        """Digits that were said in words."""
        if len(digits) > 15 or numbers.is_counting(digits):
            return 0.0
        sensed = sense(self._lower, start, end)
        return 0.0 if sensed == "other" else 0.9

    def lettered(self, run: Run) -> float:
        """Digits of which some were written as letters."""
        digits, sensed = run.digits, sense(self._lower, run.start, run.end)
        if sensed == "other" or numbers.is_counting(digits) or not _is_even(run):
            return 0.0
        if not numbers.stands_alone(self._lower, run.start, run.end):
            return 0.0
        if self.is_national(digits) and (len(run.lengths) > 1 or digits[0] != "0"):
            return 0.9
        return 0.8 if sensed == "phone" and len(digits) <= 15 else 0.0

    def is_national(self, digits: str) -> bool:
        """Whether ten or eleven digits are a number that exists, or a made-up 555 one."""
        if len(digits) == 11 and digits[0] == "1":
            digits = digits[1:]
        if len(digits) == 10 and digits[0] in "23456789" and digits[3] in "23456789":
            return "555" in (digits[:3], digits[3:6]) or self._is_valid(1, digits)
        return self._is_zero_led(digits)

    def _international(self, shown: str, start: int, end: int) -> float:
        digits = "".join(_GROUP.findall(shown.replace("(0)", "")))
        if _DECIMAL.fullmatch(shown) or (shown[1] == " " and self._sense(start, end) != "phone"):
            return 0.0
        plus = shown[0] == "+"
        if not plus:
            digits = digits[3:] if shown.startswith("011") else digits[2:]
            if not numbers.stands_alone(self._lower, start, end):
                return 0.0
        if self._lower[end : end + 1].isalnum() or not 8 <= len(digits) <= 15:
            return 0.0
        for length in (1, 2, 3):
            code = int(digits[:length])
            if self._plans.is_code(code):
                rest = digits[length:]
                if self._is_valid(code, rest):
                    return 1.0 if plus else 0.9
                if plus and (code != 1 or len(rest) == 10):
                    return 0.9
        return 0.0

    def _american(self, found: re.Match[str], run: Run) -> float:
        start, end = found.span()
        if not numbers.stands_alone(self._lower, start, end):
            return 0.0
        shown = found[0]
        sensed = self._sense(start, end)
        bracketed = "(" in shown
        if sensed == "other" and not bracketed:
            return 0.0
        digits = "".join(_GROUP.findall(shown))
        if not found[1] and not found[2] and not bracketed:
            return self._bare(digits, sensed)
        whole = (found[1] or bracketed) and found[2]
        if sensed != "other":
            if len(digits) == 11 and shown[1].isdigit():
                return 0.0  # `1987 236 1661` is no `1 987 236 1661`
            if not whole:
                lone = run.start >= start - 1 and run.end <= end
                return 0.9 if sensed == "phone" else 0.6 if lone else 0.0
        if self._is_american(digits):
            return 0.8 if sensed == "other" else 1.0
        if sensed == "other":
            return 0.0
        return 0.6 if found[2] == " " and not sensed else 0.9

    def _bare(self, digits: str, sensed: Sense) -> float:
        """Ten or eleven digits with nothing between them."""
        if sensed == "phone":
            return 0.95 if self._is_american(digits) else 0.7
        return 0.7 if not numbers.is_counting(digits) and self._is_american(digits) else 0.0

    def _is_american(self, digits: str) -> bool:
        return not digits.startswith("214748364") and self.is_national(digits)  # 2 ** 31

    def _whole(self, run: Run) -> Iterator[Match]:
        lower, digits = self._lower, run.digits
        if _is_something_else(run) or not _is_even(run):
            return
        start = run.start - (lower[run.start - 1 : run.start] == "(")
        if not numbers.stands_alone(lower, start, run.end):
            return
        if lower[start - 2 : start].strip() == "+":
            return
        sensed = self._sense(start, run.end)
        if sensed == "other":
            return
        is_spaced = run.is_spaced
        rule = "pii.phone.spelled" if is_spaced else "pii.phone"
        score = self._spaced(digits, sensed) if is_spaced else self._grouped(run, sensed)
        if score:
            yield Match("phone", start, run.end, score, rule)

    def _spaced(self, digits: str, sensed: Sense) -> float:
        if numbers.is_counting(digits):
            return 0.0
        if sensed == "phone" or self.is_national(digits):
            return 0.9
        return 0.6 if len(digits) <= 11 and len(set(digits)) > 3 else 0.0

    def _grouped(self, run: Run, sensed: Sense) -> float:
        digits, lengths = run.digits, run.lengths
        said = sensed == "phone"
        if len(lengths) == 1 and numbers.is_counting(digits):
            return 0.0
        if len(lengths) > 1 and len(lengths) * 2 > len(digits):
            return 0.6 if said else 0.0  # `3-2 4-1 2-2` is a score
        if digits[0] == "0":
            if not self._is_zero_led(digits):
                return 0.6 if said else 0.0
            return 0.95 if said else 0.9 if len(lengths) > 1 else 0.7
        if lengths == (3, 4) and digits[0] in "23456789":
            if said or digits.startswith("555"):
                return 0.9
            return 0.7 if self._lower[run.start + 3] == "-" else 0.0
        form = self._in_a_known_form(run)
        if form:
            return 0.95 if said else form
        return 0.7 if said and not numbers.is_counting(digits) else 0.0

    def _in_a_known_form(self, run: Run) -> float:
        """Forms in which some countries write their numbers, without a 0 or a country code."""
        digits, lengths = run.digits, run.lengths
        match len(digits):
            case 8 if lengths in ((4, 4), (2, 2, 2, 2), (3, 2, 3)):
                known = self._is_valid(65, digits) or self._is_valid(45, digits)
                shown = self._lower[run.start : run.end]
                return 0.6 if known and not shown.strip("0123456789 ") else 0.0
            case 9 if lengths in ((3, 3, 3), (3, 2, 2, 2), (2, 3, 2, 2), (1, 4, 4)):
                known = self._is_valid(34, digits) or self._is_valid(48, digits)
                return 0.7 if known else 0.0
            case 10 if lengths in ((5, 5), (10,)):
                if any(each.strip(" -") for each in run.between):
                    return 0.0
                score = 0.8 if len(lengths) == 2 else 0.6
                return score if self._is_valid(91, digits) else 0.0
            case 11 if digits[0] in "78" and len(lengths) >= 4:
                return 0.9 if self._is_valid(7, digits[1:]) else 0.0
            case 10 | 11 if lengths[0] == 2 and self._lower[run.start - 1 : run.start] == "(":
                return 0.9 if self._is_valid(55, digits) else 0.0
            case 11 if lengths in ((3, 4, 4), (11,)):
                score = 0.9 if len(lengths) == 3 else 0.6
                return score if self._is_valid(86, digits) else 0.0
        return 0.0

    def _is_zero_led(self, digits: str) -> bool:
        if digits[:1] != "0" or digits[:2] == "00":
            return False
        for code in _BY_LENGTH.get(len(digits), ()):
            if self._is_valid(code, digits if code == _ITALY else digits[1:]):
                return True
        return False


def _is_even(run: Run) -> bool:
    """Whether the groups are set apart as in one number, and not as in a row of a table."""
    between = run.between
    if between <= _PLAIN:
        return True
    signs = {each.strip() for each in between} - {""}
    if any(" " in each and each.strip() in ("/", "|") for each in between):
        return False
    if "." in between and (len(between) > 1 or run.is_spaced):
        return False  # decimals, identifiers of objects
    return len(signs) <= (1 if run.is_spaced else 3)


def _is_something_else(run: Run) -> bool:
    """Years, prices in thousands, postal and social security numbers, versions."""
    digits, lengths, between = run.digits, run.lengths, run.between
    if len(lengths) == 1 or lengths in _NUMBERS_OF_OTHERS:
        return len(lengths) > 1 or _is_book(digits)
    if lengths == (3, 4) and _is_year(digits[3:]):
        return True
    if _is_year(digits) and set(lengths) == {4} and all(_is_year(year) for year in _fours(digits)):
        return True
    if len(between) == 1:
        (sign,) = between
        if sign == "_" or (sign == "." and len(lengths) == 2):
            return True  # a name, a decimal
        if sign in ". " and len(sign) == 1 and lengths[0] < 3 and set(lengths[1:]) == {3}:
            return True
        if sign == "." and len(lengths) <= 4 and max(lengths) <= 3:
            return True
    return _is_book(digits)


def _fours(digits: str) -> list[str]:
    return [digits[at : at + 4] for at in range(0, len(digits), 4)]


def _is_year(digits: str) -> bool:
    return digits[:2] in ("19", "20")


def _is_book(digits: str) -> bool:
    """ISBN of 13 digits, by its checksum."""
    if len(digits) != 13 or digits[:3] not in ("978", "979"):
        return False
    return sum(int(d) * (3 if at % 2 else 1) for at, d in enumerate(digits)) % 10 == 0
