"""Texts made to be slow: every trigger repeated, mixed and crowded, digits in every grouping."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count, islice

_DIGITS = "0123456789"

REPEATED: dict[str, str] = {
    # digits, in every grouping
    "digits 1 spaced": "5 ",
    "digits 1 dashed": "5-",
    "digits 1 dotted": "5.",
    "digits 1 slashed": "5/",
    "digits 1 underscored": "5_",
    "digits 1 starred": "5*",
    "digits 1 piped": "5 | ",
    "digits 1 comma": "5,",
    "digits 1 in brackets": "(5)",
    "digits 1 in brackets, two": "(5) (3) ",
    "digits 1 opened": "(5",
    "digits 1 closed": "5)",
    "digits 2 spaced": "41 ",
    "digits 2 mixed": "41 5-",
    "digits 3 spaced": "212 ",
    "digits 3 dashed": "555-",
    "digits 4 spaced": "4111 ",
    "digits 4 more": "4532 7153 ",
    "digits 5 spaced": "98765 ",
    "digits 7 spaced": "5550134 ",
    "digits 8": "20794609 ",
    "digits 10 bare": "2125550134 ",
    "digits 10 lined": "9876543210\n",
    "digits 11 zero": "07912345678 ",
    "digits one long": "5",
    "digits one long of two": "41",
    "digits one long of ten": "2345678901",
    # telephone numbers
    "american": "212-555-0134 ",
    "american, bracketed": "(212) 555-0134 ",
    "american, no such": "(999) 999-9999 ",
    "american, chained": "212-555-0134-",
    "american, almost": "212-555-013 ",
    "american, glued": "212 555 0134212 ",
    "plus": "+",
    "plus digit": "+1",
    "plus spaced": "+4 ",
    "plus number": "+442079460958 ",
    "plus numbers": "+44 20 7946 0958 ",
    "plus without space": "+442079460958",
    "plus zeros": "+0 0",
    "double zero": "00",
    "double zero number": "0049 30 901820 ",
    "zeros spaced": "00 1 ",
    "011": "011 44 20 7946 0958 ",
    "011s": "011",
    "british": "020 7946 0958 ",
    "french": "06 12 34 56 78 ",
    "french, dotted": "06.12.34.56.78 ",
    "indian": "98765 43210 ",
    "russian": "8 (912) 345-67-89 ",
    "spanish": "612 345 678 ",
    "said": "call 2125550134 ",
    "said, seven": "call 555-0134 ",
    "said and other": "tel order ",
    # dates, decimals, versions
    "dates": "2024-01-15 ",
    "dates, chained": "2024-01-15-",
    "dates, short": "1/1/24/",
    "decimals": "1.5 ",
    "thousands": "1.000.000 ",
    "versions": "1.1.1.1 ",
    "versions, chained": "1.1.1.1.",
    "dotted quads": "203.0.113.9 ",
    "quads, spelled": "1 dot ",
    "quads, bracketed": "1[.]",
    "quads, open": "1 [.] 1 ( . ) ",
    "brackets": "1 [ ",
    # cards and accounts
    "cards": "4111 1111 1111 1111 ",
    "cards, bare": "4111111111111111 ",
    "cards, almost": "4111 1111 1111 1112 ",
    "cards, chained": "4111111111111111",
    "cards in ones": "4 1 1 1 1 1 1 1 ",
    "cards in twos": "41 11 11 ",
    "cards, dashed": "4-",
    "iban": "GB82 WEST 1234 5698 7654 32 ",
    "iban, almost": "GB82 WEST 1234 5698 7654 33 ",
    "iban, started": "de89 3704 ",
    "iban, letters": "gb82west",
    "iban, country": "gb1 ",
    "iban, long": "mt84 malt 0110 0001 2345 mtlc ast0 01s ",
    "iban, ones": "d e 8 9 ",
    "iban, pairs": "gb 82 ",
    # machines
    "colons": ":",
    "colons and letters": "a:",
    "six": "2001:db8::8a2e:370:7334 ",
    "six, chained": "2001:db8:",
    "six, pairs": "::1 ",
    "six, hex": "f::",
    # mail
    "at": "@",
    "at letter": "a@",
    "at name": "@a",
    "at twice": "@a@a",
    "at dots": "a@a.",
    "at, domain": "@a.a.a.a.a.a.",
    "at, long": "a@" + "b" * 60 + ".",
    "at spaced": " @ ",
    "at letters spaced": "a @ b . c ",
    "at spelled": "a at b dot c ",
    "at bracket": "a[at]b",
    "at bracket, spaced": "[ at ] ",
    "at brackets": "(at)[at]{at}<at>*at*_at_-at-~at~ ",
    "mail": "jack@example.com ",
    "mail, spelled": "john at gmail dot com ",
    "mail, underscores": "john underscore ",
    "mail, joined": "a (dot) b (dot) ",
    "mail, provider": "gmail ",
    "mail, providers": "at gmail ",
    "mail, glued": "atgmaildotcom",
    "mail, dots": "dot ",
    "dots": " . ",
    "dots in brackets": "[.](.){.}",
    "dashes": "a-",
    "tildes": "~ ",
    "mail, left": "a.",
    "mail, words": "a.b@c dot dot ",
    "mail, single": "a b ",
    "mail, at words": "at at at ",
    "mail, arroba": "arroba ",
    # social
    "links": "t.me/abc ",
    "links, host": "t.me",
    "links, hosts": "instagram.com",
    "links, wa": "wa.me/12125550134 ",
    "links, tumblr": "a.tumblr.com ",
    "links, tumblrs": "tumblr.com",
    "slash": "dot gg slash ",
    "slashes": "/",
    "slashes, dotted": "./ . / ",
    "spelled host": "instagram dot com slash ",
    "discord": "discord gg / a",
    "discords": "discord ",
    "discord dots": "d1scord dot ",
    "insta": "insta ",
    "insta is": "my insta is a_b ",
    "insta named": "my insta is ",
    "insta near": "a_b on insta ",
    "instas": "insta",
    "snap": "snap: ",
    "snaps": "sn@p ",
    "on": "on ig ig:",
    "add me on": "add me on me on ",
    "telegrams": "tele gram ",
    "mentions": "@jack ",
    "mentions of insta": "@jack insta ",
    "mentions with servers": "@a@b.c.d ",
    "mentions in code": "@cached\n",
    "mentions of defs": "@cached \n def ",
    "mentions, dotted": "@a.b.c ",
    "mentions, long": "@" + "a" * 30 + " ",
    "phrases": "dm me ",
    "phrases, more": "call me at ",
    # words for numbers
    "five": "five ",
    "fives": "five",
    "ones": "one",
    "ohs": "oh ",
    "os": "o ",
    "numbers": "five one two ",
    "numbers, tens": "twenty five ",
    "numbers, double": "double ",
    "numbers and digits": "five 5 ",
    "numbers, hundred": "hundred ",
    "numbers, spanish": "cinco ",
    # letters for digits
    "leet": "o1 ",
    "leet, dense": "0o",
    "leet, groups": "2l2-5S5-o134 ",
    "leet, ones": "o 1 l ",
    "leet, letters": "oilsbz",
    "leet, long": "0oilsbz0 ",
    "leet, bracketed": "(0o1",
    # addresses
    "street": "12 main street ",
    "streets": "12 street ",
    "street, named": "12 a b ",
    "street, numbers": "1 2 street ",
    "street, almost": "12 a b c d streets ",
    "street, city": "12 main st, new york, ny 10118 ",
    "street, nw": "1 n.w. a ",
    "street, word": "street ",
    "rue": "12 rue de la ",
    "rues": "12 rue a ",
    "german": "berliner str. 12 ",
    "germans": "str. 1 ",
    "german, word": "weg 1",
    "german, long": "a" * 40 + "weg 1 ",
    "german, hyphens": "a-weg 1 ",
    "calle": "calle ",
    "calles": "calle a b c ",
    "calle, de": "calle de la ",
    "via": "via a ",
    "box": "p.o. box ",
    "boxes": "po box 1 ",
    "box, digits": "o box 1 1 1 ",
    "postfach": "postfach 1",
    "postcodes": "NW1 6XE ",
    "postcodes, almost": "N1 1",
    # characters
    "invisible": "\u200b1",
    "invisible at": "\u200b@",
    "accents": "é",
    "cyrillic": "о",
    "styled": "𝟓 ",
    "wide": "５",
    "arabic": "٥ ",
    "emoji": "😀",
    "astral digits": "😀5 ",
    "blank": " ",
    "lines": "\n",
    "nul": "\0",
    "letters": "a",
    "capitals": "A",
    "sharp": "ß1 ",
    "dotted capital": "İ",
    "surrogate": "\ud800",
    "ideographs": "漢字",
    "syllables": "한국",
    "private": "\ue000\ue001",
    "unassigned": "\u0378",
    "keycaps": "5️⃣",
    # spam
    "exclaims": "!",
    "exclaims apart": "! ",
    "dollars": "$1 ",
    "dollar": "$",
    "rockets": "🚀",
    "shouts": "AAA ",
    "shouts, five": "AAA BBB CCC DDD EEE a ",
    "shouts, glued": "AAA!",
    "http": "http://a ",
    "http, long": "http://" + "a" * 80,
    "https": "https://",
    "www": "www.",
    "www, letters": "www.abc",
    "sentences": "a long sentence. ",
    "marks": "a.",
    "pieces": "\n",
    "same": "a" * 24 + " ",
    "same, marks": "!!!! ?",
    "bitcoin": "bitcoin ",
    "prize": "claim your prize ",
    "commas": "$1,1",
    "money": "$1,000 ",
    "click": "click here ",
}
"""A name for each piece that is repeated."""


def texts(length: int) -> Iterator[tuple[str, str]]:
    """Every hostile text of a length, and what it is called."""
    return ((name, text(name, length)) for name in NAMES)


def text(name: str, length: int) -> str:
    """One hostile text."""
    piece = REPEATED.get(name)
    if piece:
        return (piece * (length // len(piece) + 1))[:length]
    return "".join(islice(_VARIED[name](random.Random(name)), length))[:length]


def _number(chance: random.Random, length: int) -> str:
    return "".join(chance.choices(_DIGITS, k=length))


def _groups(chance: random.Random, sizes: tuple[int, ...], signs: str) -> Iterator[str]:
    while True:
        yield _number(chance, chance.choice(sizes)) + chance.choice(signs)


def _calls(chance: random.Random) -> Iterator[str]:
    for at in count():
        yield f"+{at % 990 + 10}{_number(chance, 8)} "


def _americans(chance: random.Random) -> Iterator[str]:
    while True:
        yield f"{chance.randrange(200, 1000)} {chance.randrange(200, 1000)} {_number(chance, 4)} "


def _halves(chance: random.Random) -> Iterator[str]:
    while True:
        yield f"{_number(chance, 4)} {_number(chance, 4)}, "


def _thirds(chance: random.Random) -> Iterator[str]:
    while True:
        yield f"{chance.randrange(100, 999)} 345 {_number(chance, 3)}, "


def _zero_led(chance: random.Random) -> Iterator[str]:
    while True:
        yield f"0{_number(chance, chance.randrange(7, 12))} "


def _cards(chance: random.Random) -> Iterator[str]:
    while True:
        yield " ".join((f"4{_number(chance, 3)}", *(_number(chance, 4) for _ in range(3)), ""))


def _accounts(chance: random.Random) -> Iterator[str]:
    while True:
        country = chance.choice(("gb", "de", "mt", "no", "fr", "sc"))
        yield f"{country}{_number(chance, 2)} {_number(chance, chance.randrange(4, 30))} "


def _scattered(chance: random.Random, signs: str) -> Iterator[str]:
    while True:
        yield chance.choice(signs) + chance.choice(signs)


def _characters(chance: random.Random, first: int, last: int) -> Iterator[str]:
    while True:
        yield chr(chance.randrange(first, last))


def _crowd(chance: random.Random) -> Iterator[str]:
    pieces = list(REPEATED.values())
    while True:
        yield chance.choice(pieces) + "  "


_VARIED = {
    "any digits": lambda chance: _groups(chance, (1, 2, 3, 4, 5, 7, 10), " -.()/"),
    "any digits in twos": lambda chance: _groups(chance, (2,), " "),
    "any digits in threes": lambda chance: _groups(chance, (3,), " "),
    "any digits in threes and fours": lambda chance: _groups(chance, (3, 4), " -"),
    "any digits in fours": lambda chance: _groups(chance, (4,), " "),
    "any digits in fives": lambda chance: _groups(chance, (5,), " "),
    "any digits in tens": lambda chance: _groups(chance, (10,), "  "),
    "any digits in elevens": lambda chance: _groups(chance, (11,), "  "),
    "any ten digits, called": lambda chance: (f"tel {_number(chance, 10)} " for _ in count()),
    "any eight digits": _halves,
    "any nine digits": _thirds,
    "any in brackets": lambda chance: _groups(chance, (1,), "()"),
    "every country": _calls,
    "every area": _americans,
    "every zero": _zero_led,
    "every card": _cards,
    "every account": _accounts,
    "signs": lambda chance: _scattered(chance, "()[]{}<>*_-~.@ 0123456789"),
    "signs and letters": lambda chance: _scattered(chance, "@.:/ -_oilsbza4"),
    "brackets and digits": lambda chance: _scattered(chance, "(5)4 "),
    "every character": lambda chance: _characters(chance, 0x80, 0x11FFF),
    "every rare character": lambda chance: _characters(chance, 0x12000, 0x110000),
    "mixed": _crowd,
}

NAMES = (*REPEATED, *_VARIED)
