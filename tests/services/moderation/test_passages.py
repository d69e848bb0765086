from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.services.moderation.passages import MOST_PASSAGES, Comment, Passage


def cut(source: str, passage: Passage) -> str:
    """What stands in the source at a passage's UTF-16 offsets."""
    units = source.encode("utf-16-le")
    return units[2 * passage.begin : 2 * passage.end].decode("utf-16-le")


def test_sentences_lie_where_perspective_s_documentation_has_them() -> None:
    comment = Comment("What kind of idiot name is foo? Sorry, I like your name.")

    places = [(part.begin, part.end) for part in comment.sentences()]

    assert places == [(0, 31), (32, 56)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Mr. Smith paid 3.50 at a.shop. Fine!", ["Mr. Smith paid 3.50 at a.shop.", "Fine!"]),
        ('"Really?" he said. Yes…', ['"Really?"', "he said.", "Yes…"]),
        ("one\ntwo\n\n three ", ["one", "two", "three"]),
        ("J. R. left. Good!!!", ["J. R. left.", "Good!!!"]),
        ("本当？はい。", ["本当？", "はい。"]),
        ("no end", ["no end"]),
        (" \n ", []),
    ],
)
def test_a_text_is_cut_into_sentences(text: str, sentences: list[str]) -> None:
    assert [part.text for part in Comment(text).sentences()] == sentences


def test_offsets_are_utf_16_code_units() -> None:
    source = "😀😀 hi. You 😀 fool!"

    parts = Comment(source).sentences()

    assert [(part.begin, part.end) for part in parts] == [(0, 8), (9, 21)]
    assert [cut(source, part) for part in parts] == [part.text for part in parts]
    assert Comment(source).whole.end == 21


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_sentence_stands_in_the_text(source: str) -> None:
    comment = Comment(source)

    parts = comment.sentences()

    assert all(cut(source, part) == part.text for part in parts)
    assert "".join("".join(part.text.split()) for part in parts) == "".join(source.split())
    assert cut(source, comment.whole) == source


def test_of_html_the_visible_text_is_read() -> None:
    source = (
        "<p>You <b>id</b>iot &amp; fool.</p><script>let x = 'a. b'</script>I &lt;3 it<!-- no -->"
    )

    comment = Comment(source, is_html=True)

    assert comment.text.split("\n") == ["", "You idiot & fool.", "I <3 it"]
    assert [cut(source, part) for part in comment.sentences()] == [
        "You <b>id</b>iot &amp; fool.",
        "I &lt;3 it",
    ]


@pytest.mark.parametrize("source", ["1 < 2 & 3 > 2", "a <3 b", "AT&T; &unknown; &#x110000;"])
def test_what_is_no_markup_stays(source: str) -> None:
    assert Comment(source, is_html=True).text.startswith(source[:3])


def test_a_plain_text_keeps_its_signs() -> None:
    assert Comment("<b>hi</b> &amp;").text == "<b>hi</b> &amp;"


@given(st.text("<>!-/abp&;#1 .\n\"'", max_size=200))
def test_any_html_is_read_and_every_place_is_in_it(source: str) -> None:
    comment = Comment(source, is_html=True)

    for part in comment.sentences():
        assert 0 <= part.begin < part.end <= len(source)


def test_a_comment_of_many_sentences_has_a_bounded_number_of_passages() -> None:
    source = "No way! " * 2_500

    parts = Comment(source).sentences()

    assert len(parts) <= MOST_PASSAGES
    assert (parts[0].begin, parts[-1].end) == (0, len(source) - 1)


@pytest.mark.parametrize(
    "unit", [".", "<", "<a", "&", "a. ", "<script>", "<!--", "! ", "&amp;", "Mr.", "</style "]
)
def test_a_hostile_text_is_read_at_a_glance(unit: str) -> None:
    """In the square of its length this would take an hour."""
    source = unit * (400_000 // len(unit))

    parts = Comment(source, is_html=True).sentences()

    assert len(parts) <= MOST_PASSAGES
