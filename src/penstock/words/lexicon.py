"""The words that moderation looks for, with what each speaks for and how strongly.

`lexicon.tsv` is the built-in list: rule, category, severity, flags and text, tab-separated. It is
a block list for trust and safety, so it has to hold the words it looks for. Slurs stand in ROT13
(flag `r`) so that nobody meets them by browsing; logs and results name rules (`hate.017`) only.

Severity says what one hit is worth without any context:

    1.0   a violation by itself: an explicit threat, a call to suicide, an attack with a slur
    0.9   strong: slurs, explicit terms, offers of crime
    0.6   depends on context: insults, sexual slang, drug names
    0.3   mild: everyday profanity, words with a harmless sense

Left out or kept low: anatomy and medicine, neutral or reclaimed names of groups, words whose
first sense is harmless (the wall, the bird, the first name). Harmless phrases that contain a
listed word are listed as `@allow` and win over it.

Flags: `r` text is ROT13; `x` explicit, counts towards sexual/minors beside a word for a minor's
age; `s` strict, found in plain view only because its disguises are everyday text. In the file
`{a|b}` stands for each of its parts, so that one rule holds the forms of a phrase.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

import msgspec

from penstock.errors import ConfigurationError
from penstock.providers.provider import CATEGORIES

CONTEXTS = ("@allow", "@minor", "@protective", "@report", "@negation")
"""Rows that are no findings but change those near them; `contexts` says how."""

_FLAGS = frozenset("rxs")
_COLUMNS = 5
_BRACES = re.compile(r"\{([^{}]*)\}")
_MOST_FORMS = 1000
_LONGEST = 200  # characters; longer is a text, not a term


class Term(msgspec.Struct, frozen=True):
    """A word or phrase to look for."""

    text: str
    category: str
    severity: float  # 0..1
    rule: str  # named in results instead of the text
    flags: str = ""


class Lexicon:
    """A checked list of terms and contexts; equal lists have equal versions."""

    def __init__(self, terms: tuple[Term, ...], contexts: tuple[Term, ...]) -> None:
        self.terms = terms
        self.contexts = contexts
        self.version = _digest((*terms, *contexts))

    @classmethod
    def from_terms(cls, terms: Iterable[Term]) -> Lexicon:
        """Check terms from anywhere; a bad one raises ConfigurationError with its position."""
        return _checked((f"term {number}", term) for number, term in enumerate(terms, 1))


def load_lexicon(path: Path | None = None) -> Lexicon:
    """Read a file of terms, the built-in one without a path; an error names the line."""
    source = path or resources.files("penstock.words").joinpath("lexicon.tsv")
    name = path.name if path else "lexicon.tsv"
    try:
        content = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the lexicon {name} cannot be read: {error}") from error
    return _checked(_rows(content, name))


def _checked(placed: Iterable[tuple[str, Term]]) -> Lexicon:
    seen: dict[tuple[str, str], str] = {}
    terms: list[Term] = []
    contexts: list[Term] = []
    for place, term in placed:
        _check(place, term)
        key = (" ".join(term.text.casefold().split()), term.category)
        if key in seen:
            raise ConfigurationError(
                f"{place}: rule {term.rule} repeats the text of {seen[key]} in {term.category}"
            )
        seen[key] = place
        (contexts if term.category in CONTEXTS else terms).append(term)
    return Lexicon(tuple(terms), tuple(contexts))


def _rows(content: str, name: str) -> Iterator[tuple[str, Term]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        place = f"{name} line {number}"
        columns = line.rstrip("\r").split("\t")
        if len(columns) != _COLUMNS:
            raise ConfigurationError(f"{place}: {len(columns)} columns, expected {_COLUMNS}")
        rule, category, severity, flags, text = columns
        try:
            value = float(severity)
        except ValueError:
            raise ConfigurationError(f"{place}: severity {severity!r} is not a number") from None
        if "r" in flags:
            text = codecs.decode(text, "rot13")
        for form in _forms(text, place):
            yield place, Term(form, category, value, rule, flags)


def _forms(template: str, place: str) -> list[str]:
    """Write out `{a|b}`: at most 1,000 forms, each once, in order."""
    parts = _BRACES.split(template)
    if any(brace in part for part in parts for brace in "{}"):
        raise ConfigurationError(f"{place}: a brace is not closed, or stands inside another")
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    if math.prod(map(len, choices)) > _MOST_FORMS:
        raise ConfigurationError(f"{place}: more than {_MOST_FORMS} forms in one rule")
    return list(dict.fromkeys(" ".join("".join(c).split()) for c in itertools.product(*choices)))


def _check(place: str, term: Term) -> None:
    """Refuse what could never match or would not be understood; never quotes the text."""
    problem = None
    if term.category not in CATEGORIES and term.category not in CONTEXTS:
        problem = f"no category is called {term.category!r}; known: {', '.join(CATEGORIES)}"
    elif not 0.0 <= term.severity <= 1.0:
        problem = f"severity {term.severity} is not between 0 and 1"
    elif not term.rule or not term.rule.isprintable() or " " in term.rule:
        problem = f"rule {term.rule!r} is empty or holds spaces"
    elif unknown := set(term.flags) - _FLAGS:
        problem = f"unknown flags {''.join(sorted(unknown))!r}; known: rxs"
    elif not any(character.isalnum() for character in term.text):
        problem = f"the text of rule {term.rule} holds no letter or digit"
    elif len(term.text) > _LONGEST:
        problem = f"the text of rule {term.rule} is longer than {_LONGEST} characters"
    if problem:
        raise ConfigurationError(f"{place}: {problem}")


def _digest(terms: tuple[Term, ...]) -> str:
    fields = sorted((t.rule, t.category, t.severity, t.flags, t.text) for t in terms)
    return hashlib.sha256(msgspec.msgpack.encode(fields)).hexdigest()[:16]
