"""What the prescreen finds, in disguise and beside look-alikes, and where it says it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.words.lexicon import Lexicon, Term, load_lexicon
from penstock.words.prescreen import Prescreen, Screening
from penstock.words.views import Alphabet

ALPHABET = Alphabet()
INNOCENT = (Path(__file__).parent / "innocent.txt").read_text("utf-8").splitlines()

CYRILLIC = str.maketrans("aceiopsxyhkmtbdnujqrw", "асеіорѕхуһкмтЬԁпцјԛгш")
GREEK = str.maketrans("abeiknoptuvxyw", "αβεικηορτυνχγω")
LEET = str.maketrans("oieast", "013457")


def fullwidth(word: str) -> str:
    return "".join(chr(ord(each) + 0xFEE0) for each in word)


def maths(word: str) -> str:
    return "".join(chr(0x1D41A + ord(each) - 97) for each in word)


def circled(word: str) -> str:
    return "".join(chr(0x24D0 + ord(each) - 97) for each in word)


def after_each(mark: str) -> Callable[[str], str]:
    return lambda word: "".join(each + mark for each in word)


def repeated(word: str) -> str:
    place = max(word.rfind(vowel) for vowel in "aeiou")
    return word[:place] + word[place] * 6 + word[place + 1 :]


def starred(word: str) -> str:
    place = next(index for index in range(1, len(word)) if word[index] in "aeiou")
    return word[:place] + "*" + word[place + 1 :]


DISGUISES: dict[str, Callable[[str], str]] = {
    "fullwidth": fullwidth,
    "maths": maths,
    "circled": circled,
    "accents": after_each("\u0301"),
    "struck": after_each("\u0336"),
    "zero width": "\u200b".join,
    "soft hyphen": "\u00ad".join,
    "bidi": lambda word: f"\u202a{word[:2]}\u202c\u200f{word[2:]}",
    "cyrillic": lambda word: word.translate(CYRILLIC),
    "greek": lambda word: word.translate(GREEK),
    "leet": lambda word: word.translate(LEET),
    "repeats": repeated,
    "spaced": " ".join,
    "dotted": ".".join,
    "starred": starred,
    "mixed case": lambda word: "".join(
        each.upper() if index % 2 else each for index, each in enumerate(word)
    ),
}


@pytest.fixture(scope="module")
def prescreen() -> Prescreen:
    return Prescreen(load_lexicon())


@pytest.fixture(scope="module")
def disguisable() -> list[Term]:
    """Every fourth strong single word of the list that all the disguises can be put on."""
    words = [
        term
        for term in load_lexicon().terms
        if term.severity >= 0.6 and term.text.isascii() and term.text.isalpha()
        if len(term.text) > 3 and "s" not in term.flags
        if any(vowel in term.text[1:-1] for vowel in "aeiou")
    ]
    return words[::4]


def found(screening: Screening, text: str) -> list[tuple[str, str]]:
    return [(each.rule, text[each.start : each.end]) for each in screening.findings]


def test_words_in_sixteen_disguises_are_found(prescreen, disguisable):
    tried, missed = 0, []
    for term in disguisable:
        for name, disguise in DISGUISES.items():
            text = f"well {disguise(term.text)} there"
            tried += 1
            hits = prescreen.screen(text).findings
            if not any(hit.category == term.category and hit.score >= 0.4 for hit in hits):
                missed.append((term.rule, name))

    assert len(disguisable) >= 40
    assert len(missed) <= 0.03 * tried, missed


SEPARATORS = (
    [chr(code) for code in (*range(1, 9), 11, 12, *range(14, 32), *range(0x7F, 0xA0))]
    + list("\u2028\u2029\ufffc\u115f\u1160\u3164\uffa0\u2800\ue000\U000f0000\u0640\u07fa\u30fb")
    + list("\\`=°:;,/<>[](){}\"~^%#&*_-.!?@$+|'’´·•…🔥€†™"[:-2])
    + list("™\u02d0\u1806\ufeff\u061c")
)


@pytest.mark.parametrize("separator", SEPARATORS, ids=lambda each: f"{ord(each):x}")
def test_one_separator_in_a_word_or_many_hide_nothing(prescreen, separator):
    for text in (f"go, mor{separator}on, go", f"a {separator.join('moron')} too"):
        assert "harassment" in prescreen.screen(text).scores, text


def test_no_separator_hides_the_word_behind_it(prescreen):
    visible = [each for each in SEPARATORS if ALPHABET.words(f"a{each}b") == b"a b"]

    assert len(visible) > 40
    for separator in visible:
        assert "harassment" in prescreen.screen(f"you{separator}moron").scores, separator


def test_disguised_words_are_shown_where_they_stand(prescreen):
    for name, disguise in DISGUISES.items():
        word = disguise("moron")
        text = f"é 😀 you {word}, right"

        spans = [text[each.start : each.end] for each in prescreen.screen(text).findings]

        assert spans == [word.lstrip("\u202a")], name


@pytest.mark.parametrize("sentence", INNOCENT)
def test_innocent_sentences_raise_no_strong_alarm(prescreen, sentence):
    strong = [each.rule for each in prescreen.screen(sentence).findings if each.score >= 0.6]

    assert strong == []


def test_there_are_enough_innocent_sentences():
    assert len(set(INNOCENT)) >= 300


def test_one_lexicon_finds_whole_words_and_phrases_only():
    terms = [
        Term("cat", "profanity", 0.3, "t.1"),
        Term("black cat", "profanity", 0.9, "t.2"),
        Term("猫", "profanity", 0.6, "t.3"),
    ]
    prescreen = Prescreen(Lexicon.from_terms(terms))
    text = "Concatenate cats; a BLACK -- cat, cat. 黒猫です"

    assert found(prescreen.screen(text), text) == [
        ("t.2", "BLACK -- cat"),
        ("t.1", "cat"),
        ("t.3", "猫"),
    ]


def test_a_finding_inside_a_stronger_one_of_its_category_is_dropped():
    terms = [Term("bad", "hate", 0.6, "t.1"), Term("very bad", "hate", 0.9, "t.2")]
    terms += [Term("bad", "profanity", 0.3, "t.3")]

    screening = Prescreen(Lexicon.from_terms(terms)).screen("a very bad thing")

    assert [each.rule for each in screening.findings] == ["t.2", "t.3"]
    assert screening.scores == {"hate": 0.9, "profanity": 0.3}


def test_terms_in_other_scripts_are_found_in_any_case():
    prescreen = Prescreen(Lexicon.from_terms([Term("дурак", "harassment", 0.6, "t.1")]))

    for text in ("Ты дурак!", "ДУРАК", "ну ты и дура\u0301к"):
        assert [each.rule for each in prescreen.screen(text).findings] == ["t.1"], text


def test_a_foreign_word_that_looks_like_a_term_is_left_alone():
    prescreen = Prescreen(Lexicon.from_terms([Term("cop", "profanity", 0.9, "t.1")]))

    assert prescreen.screen("Весь сор вынесли из избы").findings == ()
    assert len(prescreen.screen("what a сор that was").findings) == 1


def test_each_finding_names_the_view_that_showed_it(prescreen):
    text = "moron m0ron mo-ron m*ron m o r o n"

    screening = prescreen.screen(text)

    assert screening.views == ("plain", "folded", "joined", "masked", "spelled")


@pytest.mark.parametrize(
    ("text", "certain"),
    [
        ("go kill yourself", "violation"),
        ("GO K1LL Y0URSELF", "violation"),
        ("k i l l  y o u r s e l f", "violation"),
        ("#killyourself", "violation"),
        ("please don't kill yourself", None),
        ("he told me to kill yourself", None),
        ("kill yourself laughing", None),
        ("you idiot", None),
        ("a fine day", None),
    ],
)
def test_certain_is_what_a_rule_of_severity_one_says_unqualified(prescreen, text, certain):
    assert prescreen.screen(text).certain == certain


def test_advice_against_a_call_is_worth_nothing(prescreen):
    assert max(prescreen.screen("please never kill yourself").scores.values()) <= 0.1


def test_reported_speech_is_left_to_people(prescreen):
    scores = prescreen.screen('She wrote that he said "i will slit your throat" to her').scores

    assert scores["harassment/threatening"] == 0.4


@pytest.mark.parametrize(
    "text",
    [
        "send nudes, you are 14 years old",
        "nudes of my classmate in 8th grade",
        "a schoolgirl and porn",
        "porn with a 13yo",
    ],
)
def test_an_explicit_term_near_a_minors_age_is_sexual_minors(prescreen, text):
    assert prescreen.screen(text).scores["sexual/minors"] >= 0.9


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("Police arrested a man for sending nudes to a 14 year old", 0.4),
        ("How to protect children from porn: advice of a charity", 0.4),
        ("The child sat down. " + "The weather was fine and the road was long. " * 3 + "porn", 0.0),
        ("a 45 year old who likes porn", 0.0),
        ("the child learned about the sex of snails", 0.0),
    ],
)
def test_protection_and_distance_lower_sexual_minors(prescreen, text, most):
    assert prescreen.screen(text).scores.get("sexual/minors", 0.0) <= most


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00",
        "\ud800",
        "\udfff moron \ud800",
        "😀" * 50,
        "ש" * 50,
        "\u202e\u202d",
        "*" * 99,
    ],
)
def test_odd_texts_are_screened(prescreen, text):
    screening = prescreen.screen(text)

    assert len(screening.findings) == ("moron" in text)


def test_the_same_text_gives_the_same_screening(prescreen):
    text = "You m0ron, f**k off! Śend nüdes, kill yourself"

    again = Prescreen(load_lexicon()).screen(text)

    assert prescreen.screen(text) == again
    assert again.version == prescreen.version


def test_the_version_follows_the_lexicon(prescreen):
    other = Prescreen(Lexicon.from_terms([Term("word", "profanity", 0.3, "t.1")]))

    assert other.version != prescreen.version


@pytest.mark.parametrize(
    "unit",
    ["f u c k ", "f**k ", "a-b.c ", "aaaaaaaa", "k1ll ", "moron, said the child ", "f.u.c.k  "],
)
def test_a_large_text_is_seen_to_its_end(prescreen, unit):
    text = unit * (200_000 // len(unit)) + " kill yourself"

    screening = prescreen.screen(text)

    assert screening.scores["harassment"] >= 0.4
    assert len(screening.findings) <= 500


@given(st.lists(st.sampled_from(["ab", "ba", "a", "abab", "ba ab", "-", ", ", ".\n"]), max_size=20))
@settings(max_examples=300, deadline=None)
def test_the_plain_view_agrees_with_looking_word_by_word(pieces):
    """The simple version of the matcher: split into words, compare at every place."""
    terms = ["ab", "abab ba", "ba ab a"]
    prescreen = Prescreen(Lexicon.from_terms(Term(t, "hate", 0.9, f"t.{t[-1]}") for t in terms))
    text = " ".join(pieces)

    screening = prescreen.screen(text)
    seen = zip(screening.findings, screening.views, strict=True)
    shown = {(each.start, each.end) for each, view in seen if view == "plain"}

    words = [(found[0], found.start(), found.end()) for found in re.finditer(r"[a-z]+", text)]
    expected = set()
    for term in terms:
        count = term.count(" ") + 1
        for first in range(len(words) - count + 1):
            run = words[first : first + count]
            if [word for word, _, _ in run] == term.split():
                expected.add((run[0][1], run[-1][2]))
    inner = {(a, b) for a, b in expected for c, d in expected - {(a, b)} if c <= a and b <= d}
    assert expected - inner <= shown <= expected


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_spans_lie_inside_the_text(text):
    prescreen = Prescreen(Lexicon.from_terms([Term(t, "hate", 0.9, "t.1") for t in "aeost17д"]))

    for each in prescreen.screen(text).findings:
        assert 0 <= each.start < each.end <= len(text)
