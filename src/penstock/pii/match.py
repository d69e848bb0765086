"""What a detector reports, and how a text is shown without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol, cast

from penstock.errors import InvalidInput

Kind = Literal["email", "phone", "card", "iban", "ip", "social", "address"]

KINDS: tuple[Kind, ...] = ("email", "phone", "card", "iban", "ip", "social", "address")

_INTENT = ".intent"


class Match(NamedTuple):
    """One place where something personal stands."""

    kind: Kind
    start: int  # code points of the text that was given, an invisible character counts
    end: int
    score: float  # 1.0 certain, 0.9 spelled out, 0.5 an intention without a value
    rule: str  # what found it, as in "pii.phone.spelled"; never the text itself

    @property
    def is_intent(self) -> bool:
        """Whether it only asks for something personal, or announces it."""
        return self.rule.endswith(_INTENT)


class Span(Protocol):
    """Anything with a place: a Match, a Finding of a judge, a hit of a list."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


def mask(text: str, spans: Iterable[Span | tuple[int, int]], sign: str = "*") -> str:
    """Give `text` with every span covered by `sign`, as long as before.

    Spans may overlap, touch, come in any order and reach beyond the text.
    """
    if len(sign) != 1:
        raise InvalidInput(f"the sign to mask with is one character, not {len(sign)}")
    parts: list[str] = []
    done = 0
    for start, end in _in_order(spans, len(text)):
        if end <= done:
            continue
        start = max(start, done)
        parts.append(text[done:start])
        parts.append(sign * (end - start))
        done = end
    parts.append(text[done:])
    return "".join(parts)


def _in_order(spans: Iterable[Span | tuple[int, int]], length: int) -> Iterator[tuple[int, int]]:
    places = [_place(span) for span in spans]
    for start, end in sorted(places):
        start, end = max(0, start), min(end, length)
        if start < end:
            yield start, end


def _place(span: Span | tuple[int, int]) -> tuple[int, int]:
    if hasattr(span, "start"):
        placed = cast(Span, span)
        return placed.start, placed.end
    start, end = span
    return start, end
