"""Payment cards (issuer, length, Luhn) and bank accounts (country, length, mod 97)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import accumulate, pairwise

from penstock.pii import digits as numbers
from penstock.pii.context import sense
from penstock.pii.digits import Run, Spoken
from penstock.pii.listed import listed
from penstock.pii.match import Match

_SHORTEST = 13
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # the sum of the digits of twice as much
_FORMS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 5), (6, 10), (6, 13), (8, 8)}
_ISSUERS: tuple[tuple[int, int, tuple[int, ...]], ...] = (  # first and last prefix, lengths
    (4, 4, (13, 16, 19)),  # Visa
    (51, 55, (16,)),  # Mastercard
    (2221, 2720, (16,)),
    (34, 34, (15,)),  # American Express
    (37, 37, (15,)),
    (6011, 6011, (16, 19)),  # Discover
    (644, 649, (16, 19)),
    (65, 65, (16, 19)),
    (300, 305, (14,)),  # Diners Club
    (3095, 3095, (14,)),
    (36, 36, (14,)),
    (38, 39, (14,)),
    (3528, 3589, (16,)),  # JCB
    (62, 62, (16, 17, 18, 19)),  # UnionPay
    (81, 81, (16, 17, 18, 19)),
    (2200, 2204, (16, 17, 18, 19)),  # Mir
    (508, 508, (16,)),  # RuPay
    (60, 60, (16,)),
    (82, 82, (16,)),
    (5018, 5018, (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    (5020, 5020, (13, 14, 15, 16, 17, 18, 19)),
    (5038, 5038, (13, 14, 15, 16, 17, 18, 19)),
    (5893, 5893, (13, 14, 15, 16, 17, 18, 19)),
    (6304, 6304, (13, 14, 15, 16, 17, 18, 19)),
    (6759, 6763, (13, 14, 15, 16, 17, 18, 19)),
)
_BY_PREFIX = {
    str(prefix): frozenset(lengths)
    for first, last, lengths in reversed(_ISSUERS)
    for prefix in range(first, last + 1)
}
_FIRST_DIGITS = frozenset("234568")
_CUE = re.compile(r"\b(?:cards?|visa|master ?card|amex|credit|debit|maestro|cc|cvv|pay)\b")
_DIGIT = re.compile(
    r"[0-9](?<=[a-z -].)(?:(?<=[a-z]{2}.)|(?<=[a-z]{2}[ -].))"
)  # the first of an account
_NO_SIGNS = str.maketrans("", "", " -.\n")
_AS_DIGITS = {ord("a") + at: str(at + 10) for at in range(26)}
_LENGTHS = {
    each[:2]: int(each[3:])
    for each in listed(
        """ad=24 ae=23 al=28 at=20 az=28 ba=20 be=16 bg=22 bh=22 bi=27 br=29 by=28 ch=21 cr=22 cy=28
    cz=24 de=22 dj=27 dk=18 do=28 ee=20 eg=29 es=24 fi=18 fk=18 fo=18 fr=27 gb=22 ge=22 gi=23
    gl=18 gr=27 gt=28 hr=21 hu=28 ie=22 il=23 iq=23 is=26 it=27 jo=30 kw=30 kz=20 lb=28 lc=32
    li=21 lt=20 lu=20 lv=21 ly=25 mc=27 md=24 me=22 mk=19 mn=20 mr=27 mt=31 mu=30 ni=28 nl=18
    no=15 om=23 pk=24 pl=28 ps=29 pt=25 qa=29 ro=24 rs=22 ru=33 sa=24 sc=31 sd=18 se=24 si=19
    sk=24 sm=27 so=23 st=25 sv=28 tl=23 tn=24 tr=26 ua=29 va=22 vg=24 xk=20 ye=30"""
    )
}


def find(lower: str, runs: list[Run]) -> Iterator[Match]:
    """Card numbers, bare or in groups."""
    for run in runs:
        places: list[tuple[int, int]] = []
        for first, last in _candidates(run):
            places = places or run.places(lower)
            yield from _judged(lower, places[first:last])


def _candidates(run: Run) -> Iterator[tuple[int, int]]:
    """The groups, from and up to, that make numbers as issuers give out, and check."""
    digits = run.digits
    if len(digits) < _SHORTEST:
        return
    ends = list(accumulate(run.lengths))
    groups = {end: count for count, end in enumerate(ends, 1)}
    sums: tuple[list[int], list[int]] | None = None
    done = 0
    for at, start in enumerate((0, *ends[:-1])):
        if at < done or digits[start] not in _FIRST_DIGITS:
            continue
        for length in _lengths(digits[start : start + 4]):
            end = start + length
            if end not in groups:
                continue
            sums = sums or _sums(digits)
            added = sums[end % 2]
            if (added[end] - added[start]) % 10 == 0:
                done = groups[end]
                yield at, done
                break


def find_spelled(spoken_numbers: list[Spoken]) -> Iterator[Match]:
    """Card numbers said in words."""
    for spoken in spoken_numbers:
        if is_card(spoken.digits):
            yield Match("card", spoken.start, spoken.end, 0.9, "pii.card.spelled")


def is_card(digits: str) -> bool:
    """Whether an issuer gives out such numbers, and the last digit checks."""
    length = len(digits)
    return length in _lengths(digits[:4]) and _sums(digits)[length % 2][-1] % 10 == 0


@cache
def _lengths(start: str) -> tuple[int, ...]:
    """How long the cards are that begin with these four digits."""
    found = (_BY_PREFIX.get(start[:size], frozenset[int]()) for size in (1, 2, 3, 4))
    return tuple(sorted(frozenset[int]().union(*found)))


def _sums(digits: str) -> tuple[list[int], list[int]]:
    """What the digits so far come to for a check digit (Luhn), made once for all parts.

    Every other digit counts twice: those at even places in the first list, at odd in the second.
    A part that ends before an even place checks by the first, else by the second.
    """
    numbers = list(map(int, digits))
    even, odd = numbers[:], numbers
    even[::2] = map(_DOUBLED.__getitem__, numbers[::2])
    odd[1::2] = map(_DOUBLED.__getitem__, numbers[1::2])
    return list(accumulate(even, initial=0)), list(accumulate(odd, initial=0))


def _judged(lower: str, groups: list[tuple[int, int]]) -> Iterator[Match]:
    start, end = groups[0][0], groups[-1][1]
    if not numbers.stands_alone(lower, start, end):
        return
    if len({digit for a, b in groups for digit in lower[a:b]}) < 2:
        return
    lengths = tuple(b - a for a, b in groups)
    between = {lower[a[1] : b[0]] for a, b in pairwise(groups)}
    ordinary = len(lengths) == 1 or lengths in _FORMS or set(lengths) in ({1}, {2})
    if not (ordinary and len(between) < 2) and not _CUE.search(lower, max(0, start - 40), start):
        return  # a row of a table checks one time in ten
    score = 1.0 if lengths in _FORMS or len(lengths) == 1 else 0.9
    if len(lengths) == 1 and sense(lower, start, end) == "other":
        score = 0.6
    spelled = lengths.count(1) * 2 > len(lengths) > 1
    yield Match("card", start, end, score, "pii.card.spelled" if spelled else "pii.card")


def find_accounts(lower: str) -> Iterator[Match]:
    """IBANs, with or without spaces."""
    for found in _DIGIT.finditer(lower):
        # Two letters, then the two digits that check, perhaps with a space between.
        at = found.start()
        start = at - 2 - (lower[at - 1] in " -")
        length = _LENGTHS.get(lower[start : start + 2])
        if length is None or (start and lower[start - 1].isalnum()):
            continue
        account = _account(length).match(lower, start)
        if account and _checks(account[0].translate(_NO_SIGNS)):
            yield Match("iban", start, account.end(), 1.0, "pii.iban")


@cache
def _account(length: int) -> re.Pattern[str]:
    """So many letters and digits with single signs between them, the third and fourth digits."""
    sign = r"[ \-.\n]?"
    return re.compile(rf"[a-z]{{2}}{sign}\d{sign}\d(?:{sign}[a-z0-9]){{{length - 4}}}(?![a-z0-9])")


def _checks(account: str) -> bool:
    return int((account[4:] + account[:4]).translate(_AS_DIGITS)) % 97 == 1
