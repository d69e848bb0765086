"""What texts cost that are made to be slow: work is counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from penstock import pii
from penstock.pii import find
from penstock.pii.finder import finder
from penstock.pii.stepwise import INLINE, in_steps
from penstock.services.moderation import spam
from tests.pii import hostile

MOST_CALLS = 8  # functions and methods called per character
MOST_SPAM_CALLS = 5


class Work:
    """Counts what is called, patterns that are tried among it."""

    def __init__(self) -> None:
        self.calls = 0
        self.questions = 0  # of the library of numbering plans

    def count(self, frame: FrameType, event: str, _: object) -> None:
        if event in ("call", "c_call"):
            self.calls += 1
            self.questions += event == "call" and "phonenumbers" in frame.f_code.co_filename


def work(done: Callable[[], object]) -> Work:
    done()  # what is looked up once is looked up
    counted = Work()
    before = sys.getprofile()
    sys.setprofile(counted.count)
    try:
        done()
    finally:
        sys.setprofile(before)
    return counted


@pytest.fixture(scope="module", autouse=True)
def plans() -> None:
    pii.warm()


@pytest.mark.parametrize("name", hostile.NAMES)
def test_hostile_texts_cost_no_more_work_per_character(name: str) -> None:
    for length in (INLINE, 3 * INLINE):
        text = hostile.text(name, length)

        counted = work(lambda text=text: find(text))

        assert counted.calls <= MOST_CALLS * length
        assert counted.questions == 0


@pytest.mark.parametrize("name", hostile.NAMES)
def test_judging_spam_costs_no_more_work_per_character(name: str) -> None:
    text = hostile.text(name, 2 * INLINE)
    matches = find(text)

    assert work(lambda: spam.judge(text, matches)).calls <= MOST_SPAM_CALLS * len(text)


@pytest.mark.parametrize("name", hostile.NAMES)
def test_no_step_looks_at_more_than_may_be_looked_at_at_once(name: str) -> None:
    read = finder()
    handed: list[int] = []
    text = hostile.text(name, 3 * INLINE)

    def look(cased: str) -> list[pii.Match]:
        handed.append(len(cased))
        return read._read(cased, pii.KINDS)

    found = [match for step in in_steps(text, read._looks, look) for match in step]

    assert max(handed, default=0) <= INLINE
    assert all(0 <= match.start < match.end <= len(text) for match in found)


def test_a_history_made_to_be_slow_is_read_in_part() -> None:
    text = hostile.text("mixed", INLINE)
    earlier = [hostile.text("mixed", 4 * INLINE)] * 40

    assert work(lambda: find(text, history=earlier)).calls <= MOST_CALLS * 4 * INLINE


@pytest.mark.parametrize(
    ("before", "wanted", "kind"),
    [
        ("4 " * 6_000 + "a ", "4111 1111 1111 1111", "card"),
        ("101 345 678, " * 400, "612 345 678", "phone"),
        ("gb82 west 1234 5698 7654 33, " * 400, "GB82 WEST 1234 5698 7654 32", "iban"),
        ("(5)" * 3_000 + "a ", "+442079460958", "phone"),
        ("./ . / " * 800, "t[.]me/foo_bar", "social"),
    ],
)
def test_nothing_hides_behind_what_is_slow(before: str, wanted: str, kind: str) -> None:
    text = before + wanted

    assert [text[match.start : match.end] for match in find(text, kinds=[kind])] == [wanted]


def test_a_text_of_every_rare_character_fills_no_memory() -> None:
    looks = finder()._looks
    before = len(looks)

    find("".join(map(chr, range(0x3400, 0xA000))) + "".join(map(chr, range(0xAC00, 0xF900))))
    find("".join(map(chr, range(0x20000, 0x24000))) + "".join(map(chr, range(0xF0000, 0xF4000))))

    assert len(looks) - before < 1_000
