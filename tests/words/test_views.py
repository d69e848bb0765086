"""Readings of disguised text, and the way back to the original."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.words import views
from penstock.words.views import Alphabet

ALPHABET = Alphabet()


def words(text: str) -> str:
    return ALPHABET.words(text).decode()


@pytest.mark.parametrize(
    ("shown", "read"),
    [
        ("Plain, Text!", "plain text"),
        ("ｆｕｌｌｗｉｄｔｈ", "fullwidth"),
        ("𝐛𝐨𝐥𝐝 𝓈𝒸𝓇𝒾𝓅𝓉 𝕕𝕠𝕦𝕓𝕝𝕖", "bold script double"),
        ("ⓒⓘⓡⓒⓛⓔⓓ 🅽🅴🅶 🆂🆀 🄱🄾🅇", "circled neg sq box"),
        ("⒫⒜⒭⒠⒩", "paren"),
        ("ѕсоре", "scope"),
        ("Ηοтеι", "hotei"),
        ("sᴍᴀʟʟ ᴄᴀᴘs", "small caps"),
        ("àccénts s̶t̶r̶u̶c̶k̶", "accents struck"),
        ("ze\u200bro wi\u200ddth so\u00adft bi\u202edi", "zero width soft bidi"),
        ("øre łódź straße ﬁne œuvre", "ore lodz strasse fine oeuvre"),
        ("trade™mark ½ 2²", "trade mark 2"),
        ("٣ apples", "3 apples"),
        ("\ud800lone\udfff\x00nul", "lone nul"),
        ("con\x01trol\x7fs \x9cand\ttabs", "controls and tabs"),
        ("كتــاب ta\u0640twe\u07fael", "كتاب tatweel"),
        ("fill\u3164er\uffa0s \u2028and \ue000more", "fill er s and more"),
        ("ꭱꮃ ᎡᎳ ᏧᏴ ᗷᗩᗪ ⲃⲁⲇ", "rw rw db bad baⲇ"),
        ("ｆ＊ｃｋ．", "f ck"),
        ("你好world你", "你 好 world 你"),
        ("🇫🇷 flags", "f r flags"),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_the_plain_view_reads_what_is_meant(shown, read):
    assert words(shown) == read


def test_vowel_signs_are_part_of_their_word():
    assert words("कि") != words("का")


@pytest.mark.parametrize(
    ("shown", "folded"),
    [("1d10t", "idiot"), ("$h!t", "shit"), ("idiooooot", "idiot"), ("a55h0le!", "ashoie")],
)
def test_the_folded_view_undoes_leet_and_repeats(shown, folded):
    assert ALPHABET.read(shown).folded().data.strip().decode() == folded
    assert views.fold(b"asshole") == b"ashoie"


@pytest.mark.parametrize(
    ("seen", "term", "expected"),
    [
        (b"1d10t", b"idiot", True),
        (b"idiooot", b"idiot", True),
        (b"asssholeee", b"asshole", True),
        (b"k1ll", b"kill", True),
        (b"idiot", b"idiot", False),  # nothing to undo: the plain view's business
        (b"idioot", b"idiot", False),  # two letters are spelling
        (b"as", b"ass", False),
        (b"aaas", b"ass", False),
        (b"455", b"ass", False),  # a number
        (b"fiip", b"flip", False),
        (b"80085", b"boobs", False),
    ],
)
def test_a_fold_counts_only_when_something_was_undone(seen, term, expected):
    assert views.undisguises(seen, term) is expected


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("Nothing to undo here, is there? No (really).", set()),
        ("It costs 45 euros.", set()),
        ("1d10t", {"folded"}),
        ("sh!t happens", {"folded", "tokens"}),
        ("f**k", {"tokens"}),
        ("id.iot", {"tokens"}),
        ("i d i o t", {"spelled"}),
        ("id/iot", {"marked"}),
        ("don't, who're, he'll say: \"why\" (so)...", set()),
    ],
)
def test_only_texts_that_show_a_disguise_get_more_views(text, signs):
    assert ALPHABET.read(text).signs == signs


def test_tokens_are_words_with_marks_inside():
    text = "Well, f**k (id.iot) end. Stop? 'sh-it' x"

    tokens = [span.letters for span in ALPHABET.read(text).tokens()]

    assert tokens == [b"f**k", b"id.iot", b"sh-it"]


def test_words_that_signs_cut_are_put_together():
    text = "see (id=iot)! 'sh/i:t' who're rock'n'roll id'iot \x0bbad\x0bword"
    reading = ALPHABET.read(text)

    words = [(text[span.start : span.end], span.letters) for span in reading.marked()]

    assert sorted(words) == [
        ("bad\x0bword", b"badword"),
        ("id'iot", b"idiot"),
        ("id=iot", b"idiot"),
        ("rock'n'roll", b"rocknroll"),
        ("sh/i:t", b"shit"),
    ]


def test_spelled_words_are_cut_at_wider_gaps():
    text = "so k i l l  t i m e ok"

    runs = [[piece.letters for piece in run] for run in ALPHABET.read(text).spelled()]

    assert runs == [[b"kill", b"time"]]


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_read_and_leads_back(text):
    reading = ALPHABET.read(text)
    folded = reading.folded()

    assert len(reading.plain_origin) == len(reading.plain)
    assert len(folded.origin) == len(folded.data)
    for token in reading.tokens():
        assert reading.lower[token.start : token.end] == token.letters
    for place in range(len(reading.raw)):
        start, end = reading.original(place, place + 1)
        assert 0 <= start < end <= len(text)


@given(st.text(alphabet="aAbZ09 .-*!@é😀ж\u0301\u200b", max_size=40), st.integers(0, 39))
@settings(max_examples=300, deadline=None)
def test_a_word_leads_back_to_where_it_stood(noise, at):
    before, after = noise[:at], noise[at:].lstrip("\u0301\u200b")
    text = f"{before} find {after}"

    reading = ALPHABET.read(text)
    found = reading.plain.find(b" find ")
    first, last = reading.plain_origin[found + 1], reading.plain_origin[found + 4]

    start, end = reading.original(int(first), int(last) + 1)
    assert text[start:end] == "find"


def test_the_span_of_a_struck_word_takes_its_last_mark_along():
    text = "a w\u0336o\u0336w\u0336 b"
    reading = ALPHABET.read(text)

    assert reading.original(2, 5) == (2, 8)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("plain ascii", 0.0),
        ("Café Łódź übermäßig — “quoted” 😀", 0.0),
        ("Tiếng Việt", 0.0),
        ("Привет", 1.0),
        ("你好", 1.0),
        ("привет hello!", 6 / 11),
        ("😀", 0.0),
    ],
)
def test_the_share_of_foreign_letters(text, share):
    assert views.foreign_share(text) == pytest.approx(share, abs=0.01)


def test_the_table_of_characters_is_bounded():
    alphabet = Alphabet()

    alphabet.read("".join(map(chr, range(0x100, 0x20000))))

    assert len(alphabet) <= 20_000
    assert alphabet.words("𝐛") == b"b"
