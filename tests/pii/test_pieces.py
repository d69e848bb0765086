from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from penstock.pii.pieces import Nearby, around

PLACES = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 9))).map(
    lambda places: sorted(((at, at + size) for at, size in places), key=lambda place: place[1])
)


@given(places=PLACES, before=st.integers(0, 40), after=st.integers(0, 40))
def test_every_character_near_a_place_is_in_one_piece(places, before, after) -> None:
    pieces = around(places, before=before, after=after, length=320)

    covered = [at for first, last in pieces for at in range(first, last)]
    assert len(covered) == len(set(covered))
    assert set(covered) == {
        at for start, end in places for at in range(max(0, start - before), min(320, end + after))
    }


def test_what_is_near_lies_wholly_within() -> None:
    near = Nearby(re.compile("[a-z]+"), "12 main street 3", [(0, 16)], only={"street"})

    assert near.is_within(0, 16)
    assert near.is_within(8, 14)
    assert not near.is_within(9, 16)
    assert not near.is_within(0, 13)
