"""What is split over several messages: `call me on`, `212 555`, `0134`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from penstock.pii.match import Match

_MOST_MESSAGES, _MOST_CHARACTERS = 15, 160
_MOST_BEFORE = 500  # characters of them together, with which something in the text may belong
_SHORT = 48  # characters of a message that may be a piece of an address
_MOST_HEAD = 400  # characters of the text itself that may continue what began before

Look = Callable[[str], list[Match]]


def find_split(text: str, history: Sequence[str], look: Look) -> Iterator[list[Match]]:
    """What `look` finds across the seams, as its part in `text`; one list per way to join them."""
    earlier = [message[-_MOST_CHARACTERS:] for message in history[-_MOST_MESSAGES:] if message]
    if not earlier or not text:
        return
    head = text[:_MOST_HEAD]
    spaced, *others = _joined(earlier, head)
    # What stands in the text alone counts as well: `my insta is` came before.
    yield [
        part
        for match in look(spaced + head)
        if match.end > len(spaced) and not match.is_intent
        for part in _part(match, spaced, look)
    ]
    for before in others:
        yield [
            part
            for match in look(before + head)
            if match.start < len(before) < match.end and not match.is_intent
            for part in _part(match, before, look)
        ]


def _part(match: Match, before: str, look: Look) -> Iterator[Match]:
    """The part of a match that stands behind `before`."""
    seam = len(before)
    if match.start >= seam:
        yield match._replace(start=match.start - seam, end=match.end - seam)
    elif not any(each.start == match.start for each in look(before)):
        # Else it had ended before, and what follows only looks as if it went on.
        rule, score = f"pii.{match.kind}.split", min(match.score, 0.9)
        yield Match(match.kind, 0, match.end - seam, score, rule)


def _joined(earlier: list[str], head: str) -> Iterator[str]:
    """The messages before as one text: with spaces, glued, and their digits alone."""
    yield " ".join(message.strip() for message in earlier)[-_MOST_BEFORE:] + " "
    short: list[str] = []
    for message in reversed(earlier):
        if len(message) > _SHORT:
            break
        short.insert(0, message.strip())
    glued = "".join(short)
    if short and len(head) <= _SHORT and ("@" in glued + head or any(map(str.isdigit, head))):
        yield glued
    pieces = ["".join(filter(str.isdigit, message)) for message in short]
    while pieces and not pieces[-1]:
        pieces.pop()
    if pieces and head[:1].isdigit():
        kept = [piece for piece in pieces if 0 < len(piece) < 7]
        if len(kept) == len(pieces) and sum(map(len, kept)) < 16:
            yield " ".join(kept) + " "
