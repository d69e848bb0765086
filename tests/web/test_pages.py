from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.web.pages import Page, decode_cursor, encode_cursor


@given(st.tuples(st.integers(-(2**63), 2**63 - 1), st.text(max_size=100)))
def test_a_cursor_comes_back_as_it_was(position: tuple[int, str]) -> None:
    cursor = encode_cursor(position)

    assert decode_cursor(cursor, type=tuple[int, str]) == position
    assert cursor.isascii()
    assert "=" not in cursor


@given(st.text(max_size=60))
def test_garbage_is_bad_input_and_nothing_worse(text: str) -> None:
    with suppress(InvalidInput):
        number, name = decode_cursor(text, type=tuple[int, str])

        assert isinstance(number, int)
        assert isinstance(name, str)


@pytest.mark.parametrize("cursor", ["", "a", "!!!!", "ä", "A" * 2000, encode_cursor("other")])
def test_what_no_page_gave_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor cannot be read"):
        decode_cursor(cursor, type=tuple[int, str])


@pytest.mark.parametrize("position", [2**63, (2**64 - 1, "a"), -(2**63) - 0.5])
def test_a_number_that_no_database_can_compare_is_refused(position: object) -> None:
    kind = tuple[int, str] if isinstance(position, tuple) else int

    with pytest.raises(InvalidInput, match="cursor cannot be read"):
        decode_cursor(encode_cursor(position), type=kind)


def test_the_last_page_has_no_next() -> None:
    page = Page[int](items=[1, 2])

    assert page.model_dump() == {"items": [1, 2], "next": None}
