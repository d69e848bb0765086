"""Where entries of user lists are found in a text, and what hits come to."""

from __future__ import annotations

import hashlib
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.lists.allowed import is_as_listed
from penstock.lists.entries import (
    LONGEST_VALUE,
    EntryKind,
    EntryRefused,
    EntryRules,
    NewEntry,
)
from penstock.lists.listed import (
    NOTHING,
    ListHit,
    ListKind,
    Match,
    weigh_image,
    weigh_text,
)
from penstock.lists.matcher import Index, Row
from penstock.lists.patterns import Patterns
from penstock.lists.words import Place
from penstock.words.budget import UNLIMITED, Budget, Overrun
from penstock.words.lexicon import Lexicon, Term
from penstock.words.prescreen import Prescreen
from penstock.words.views import Alphabet

RULES = EntryRules()
ALPHABET = Alphabet()
DISGUISED = ("b4dw0rd", "b a d w o r d", "b.a.d.w.o.r.d", "baaaadword", "bad-word", "badword99")


def index(*values: str, kind: EntryKind = "phrase", disguises: bool = True) -> Index:
    found = Index(ALPHABET)
    for id, value in enumerate(values):
        entry = RULES.check(kind, value)
        found.add(id, Row("list_1", entry.kind, entry.value, disguises))
    return found


def look(found: Index, text: str, budget: Budget = UNLIMITED) -> list[Place]:
    return list(found.find(text, ALPHABET.read(text), budget))


def places(
    entry: str, text: str, kind: EntryKind = "phrase", *, disguises: bool = True
) -> list[str]:
    """The pieces of `text` where an entry is found, as a list with these settings counts them."""
    found = look(index(entry, kind=kind, disguises=disguises), text)
    return sorted(
        {text[place.start : place.end] for place in found if disguises or not place.disguised}
    )


def hit(
    kind: ListKind, start: int = 0, end: int = 0, *, exact: bool = False, decided: int = 0
) -> Match:
    return Match(ListHit(f"list_{kind}", kind, kind, 1, start, end), exact, decided)


@pytest.mark.parametrize(
    ("entry", "text", "piece"),
    [
        ("word", "a Word.", "Word"),
        ("two words", "two\n words", "two\n words"),
        ("naïve", "so NAIVE", "NAIVE"),
        ("it's", "its", "its"),
        ("坏词", "我是坏词吗", "坏词"),
        ("カナ", "ハカナイ", "カナ"),
        ("สวย", "เธอสวยมาก", "สวย"),
        ("나쁜", "그나쁜말", "나쁜"),
        ("спам", "это Спам!", "Спам"),
        ("🖕", "so🖕🏽!", "🖕"),
        ("❤️", "I ❤ it", "❤"),
        ("❤", "I ❤️ it", "❤"),
        ("c++", "in C++?", "C++"),
        ("#tag", "a #Tag!", "#Tag"),
        ("$$$", "win $$$$", "$$$"),
        ("a b c d", "x a b c d y", "a b c d"),
    ],
)
def test_a_phrase_is_found_where_it_stands(entry: str, text: str, piece: str) -> None:
    assert piece in places(entry, text, disguises=False)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("word", "words sword swordfish"),
        ("two words", "two other words"),
        ("c++", "c and xc++"),
        ("#tag", "#tags tag"),
        ("pot", "рот открыт, говорит"),
    ],
)
def test_a_phrase_is_not_found_in_other_words(entry: str, text: str) -> None:
    assert places(entry, text) == []


@pytest.mark.parametrize(
    ("kind", "disguised"),
    [(kind, disguised) for kind in ("phrase", "wildcard") for disguised in DISGUISED]
    + [("phrase", "ba*word")],  # a masked letter could be any: only phrases know which
)
def test_disguises_are_undone_only_where_a_list_says_so(disguised: str, kind: EntryKind) -> None:
    entry = "badword" if kind == "phrase" else "badwor?"
    text = f"you {disguised} there"

    found = places(entry, text, kind)
    strict = places(entry, text, kind, disguises=False)

    assert found
    assert all(disguised.startswith(piece) for piece in found)
    assert strict == []


def test_words_with_signs_that_look_like_letters_are_not_what_they_fold_to() -> None:
    assert places("bit", "b1llion and 8 bill") == []
    assert places("word1", "word11 word12") == []
    assert places("covid19", "c0vid19") == ["c0vid19"]


@given(st.text(alphabet="abdikorstw 104-.*ä", max_size=40))
def test_phrases_are_found_where_the_prescreen_finds_them(text: str) -> None:
    """The automaton of the built-in terms is the oracle of the dictionaries."""
    terms = ("badword", "ask", "two words", "roots")
    prescreen = Prescreen(
        Lexicon(tuple(Term(t, f"{at}", 0.95, f"{at}") for at, t in enumerate(terms)), ())
    )

    expected = {(int(f.rule), f.start, f.end) for f in prescreen.screen(text).findings}
    found = {(place.id, place.start, place.end) for place in look(index(*terms), text)}

    assert expected <= found  # the prescreen leaves out what is inside of another
    outer = {
        (a, s, e)
        for a, s, e in found
        if not any(b == a and x <= s and e <= y and (s, e) != (x, y) for b, x, y in found)
    }
    assert outer <= expected


@pytest.mark.parametrize(
    ("wildcard", "text", "piece"),
    [
        ("bad*", "a badness", "badness"),
        ("bad*", "bad", "bad"),
        ("*ware", "malware!", "malware"),
        ("*ool*", "a wooly hat", "wooly"),
        ("f?ul", "foul", "foul"),
        ("f*k", "fk", "fk"),
        ("kill * now", "kill them now", "kill them now"),
        ("na?ve", "naïve", "naïve"),
        ("名?", "名前", "名前"),
    ],
)
def test_a_wildcard_stands_for_letters_of_words(wildcard: str, text: str, piece: str) -> None:
    assert places(wildcard, text, "wildcard") == [piece]


@pytest.mark.parametrize(
    ("wildcard", "text"),
    [("bad*", "unbad b ad"), ("f?ul", "ful fooul"), ("kill * now", "kill now, kill a b now")],
)
def test_a_wildcard_does_not_go_beyond_its_words(wildcard: str, text: str) -> None:
    assert places(wildcard, text, "wildcard") == []


def test_neighbours_that_share_a_space_are_both_found() -> None:
    found = look(index("b?d", kind="wildcard"), "bad bed bid")

    assert [(place.start, place.end) for place in found] == [(0, 3), (4, 7), (8, 11)]


def test_many_wildcards_with_one_beginning_are_all_found() -> None:
    found = index(*(f"in*{n:03}x" for n in range(300)), kind="wildcard")

    assert {place.id for place in look(found, "inner299x in000x")} == {0, 299}


@pytest.mark.parametrize(
    ("regex", "text", "piece"),
    [
        (r"(?i)buy\s+\d+", "BUY  12 now", "BUY  12"),
        (r"\d{3}", "ä 123 ü", "123"),
        ("ü+", "müüü", "üüü"),
        ("^a", "abc", "a"),
        ("cash", "ｃａｓｈ", "ｃａｓｈ"),
    ],
)
def test_a_regex_is_found_in_the_text_as_it_stands(regex: str, text: str, piece: str) -> None:
    assert places(regex, text, "regex") == [piece]


@pytest.mark.parametrize("disguised", DISGUISED)
def test_entries_that_exempt_are_not_found_in_disguise(disguised: str) -> None:
    found = Index(ALPHABET, exempts=True)
    found.add(1, Row("list_1", "phrase", "badword", True))
    found.add(2, Row("list_1", "wildcard", "badw?rd", True))
    found.add(3, Row("list_1", "regex", r"\bbadword\b", True))

    assert look(found, f"you {disguised} there") == []
    assert {place.id for place in look(found, "a badword")} == {1, 2, 3}


def test_a_search_ends_when_its_budget_is_spent() -> None:
    found = index("a", "a a", "a a a")

    with pytest.raises(Overrun):
        look(found, "a " * 10_000, Budget(1_000))


def test_many_places_of_one_pattern_are_told_by_the_first_of_them() -> None:
    found = index("[a-z]", "q", kind="regex")

    places = look(found, "abcd " * 1_000 + "q")

    assert {place.id for place in places} == {0, 1}
    assert len(places) < 100


def test_a_catastrophic_regex_is_harmless() -> None:
    found = index("(a+)+$", "(a|a)*b", "(x+x+)+y", kind="regex")
    began = time.process_time()

    assert look(found, "a" * 50_000 + "x" * 50_000) == []

    assert time.process_time() - began < 5


def test_patterns_that_fill_the_memory_of_their_automaton_are_found_all_the_same() -> None:
    many = Patterns(latin=False)
    for id in range(300):
        many.add(id, f"(?i)[a-z]{{1,40}}{id}[0-9a-f]{{30,60}}z")

    found = list(many.find(b"word299" + b"0" * 40 + b"z", UNLIMITED))

    assert {id for id, _ in found} >= {299}


def test_what_was_removed_is_not_found() -> None:
    values: list[tuple[EntryKind, str]] = [
        ("phrase", "word"),
        ("phrase", "🖕"),
        ("wildcard", "wor*"),
        ("wildcard", "w?d"),
        ("regex", "w.rd"),
        ("sha256", hashlib.sha256("word 🖕 wod".encode()).hexdigest()),
    ]
    found = Index(ALPHABET)
    for id, (kind, value) in enumerate(values):
        found.add(id, Row("list_1", kind, value, True))
    text = "word 🖕 wod"
    before = {place.id for place in look(found, text)}

    for id in range(len(values)):
        found.remove(id)

    assert before == set(range(len(values)))
    assert look(found, text) == []
    assert len(found) == found.count("list_1") == 0


def test_one_phrase_of_two_lists_is_two_hits() -> None:
    found = Index(ALPHABET)
    for id in (1, 2, 3):
        found.add(id, Row(f"list_{id}", "phrase", "word", True))
    found.remove(2)

    assert {place.id for place in look(found, "word")} == {1, 3}


def test_near_images_are_found_by_either_hash() -> None:
    rng = random.Random(1)
    pdq, phash = rng.randbytes(32), rng.randbytes(8)
    found = Index(ALPHABET)
    found.add(1, Row("list_1", "pdq", pdq.hex(), True))
    found.add(2, Row("list_1", "phash", phash.hex(), True))
    near = bytes([pdq[0] ^ 0xFF, pdq[1] ^ 0xFF, pdq[2] ^ 0xFF]) + pdq[3:]
    far = bytes(each ^ 0xFF for each in pdq[:8]) + pdq[8:]

    assert found.find_near("pdq", [far, near]) == [1]
    assert found.find_near("pdq", [far]) == []
    assert found.find_near("phash", [phash]) == [2]


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("phrase", " ", "is empty"),
        ("phrase", "\u200b", "no letter, digit or symbol"),
        ("phrase", ".", "no letter, digit or symbol"),
        ("phrase", "a" * (LONGEST_VALUE + 1), "longer than"),
        ("phrase", "a\x00b", "U+0000 at character 2"),
        ("phrase", "a\ud800", "U+D800"),
        ("phrase", "a " * 101, "more than 100 words"),
        ("wildcard", "*", "fewer than 2 letters"),
        ("wildcard", "a*", "fewer than 2 letters"),
        ("wildcard", "word", "use kind phrase"),
        ("regex", "(a(b", "missing )"),
        ("regex", "ok[z-a]", "at character 4: z-a"),
        ("regex", r"(a)\1", r"invalid escape sequence at character 4: \1"),
        ("regex", "(?=a)", "invalid perl operator"),
        ("regex", "a*", "empty"),
        ("regex", r"\b", "empty"),
        ("regex", "(?:[a-z]{100}){9}(?:[a-z]{100}){9}(?:\\pL{99}){9}", "pattern too large"),
        ("sha256", "abc", "64 hex digits"),
        ("pdq", "g" * 64, "64 hex digits"),
        ("phash", "0" * 64, "16 hex digits"),
        ("soundex", "a", "must be one of"),
    ],
)
def test_an_entry_that_could_not_be_matched_is_refused(kind: str, value: str, said: str) -> None:
    with pytest.raises(EntryRefused) as refused:
        RULES.check(kind, value)

    assert said in refused.value.detail


def test_an_entry_is_kept_in_one_form() -> None:
    assert RULES.check("phrase", "  Two \t words ", " a  note ") == NewEntry(
        "phrase", "Two words", "a note"
    )
    assert RULES.check("phash", "00FF" * 4).value == "00ff" * 4


@given(st.text(max_size=60), st.sampled_from(["phrase", "wildcard", "regex"]), st.text(max_size=60))
def test_whatever_is_taken_can_be_matched(value: str, kind: EntryKind, text: str) -> None:
    try:
        entry = RULES.check(kind, value)
    except EntryRefused:
        return
    found = Index(ALPHABET)
    found.add(1, Row("list_1", entry.kind, entry.value, True))

    for place in look(found, text + value):
        assert 0 <= place.start < place.end <= len(text + value)


def test_a_block_hit_rejects_and_a_review_hit_leaves_to_a_human() -> None:
    assert weigh_text([hit("block", 0, 1), hit("review", 2, 3)], "a b").decision == "rejected"
    assert weigh_text([hit("review", 2, 3)], "a b").decision == "review"
    assert weigh_text([], "a b") is NOTHING


def test_what_lies_inside_an_allowed_piece_does_not_count() -> None:
    listed = weigh_text([hit("block", 2, 4), hit("allow", 1, 5)], "x word y")

    assert listed.decision is None
    assert listed.exempt == ((1, 5),)


def test_what_overlaps_an_allowed_piece_counts() -> None:
    listed = weigh_text([hit("allow", 1, 5), hit("block", 4, 6), hit("allow", 0, 2)], "x word y")

    assert listed.decision == "rejected"
    assert listed.hits[0].list_kind == "block"


def test_an_allowed_text_is_approved_with_marks_around_it() -> None:
    assert weigh_text([hit("allow", 1, 3)], '"ok!').whole
    assert weigh_text([hit("allow", 0, 2)], "ok?").decision == "approved"
    assert weigh_text([hit("allow", 0, 2)], "ok 🖕").decision is None


@pytest.mark.parametrize(
    "around",
    ["\u200b", "\U000e0041", "\ue000", "\x01", "\u0378", "🖕", "\u2028", "!" * 21, "x", "=", "\\"],
)
def test_an_allowed_text_is_not_whole_with_anything_else_beside_it(around: str) -> None:
    text = f"ok{around}"

    assert not weigh_text([hit("allow", 0, 2)], text).whole


@pytest.mark.parametrize(
    ("value", "piece"),
    [
        ("two words", "Two,\n words"),
        ("café", "CAFE"),
        ("cafe", "café"),
        ("спам", "Спам"),
        ("坏词", "坏词"),
        ("हिन्दी", "हिन्दी"),
        ("it's", "it’s"),
        ("bad*", "badness"),
    ],
)
def test_what_is_allowed_is_exempt_as_it_is_usually_spelled(value: str, piece: str) -> None:
    assert is_as_listed(piece, value)


@pytest.mark.parametrize(
    ("value", "piece"),
    [
        ("two words", "two\u200b words"),
        ("two words", "two 🖕 words"),
        ("two words", "two\U000e0041words"),
        ("two words", "two\x01words"),
        ("badword", "bаdword"),  # with a Cyrillic letter
        ("badword", "ｂａｄｗｏｒｄ"),
        ("badword", "b\u0336a\u0336d\u0336word"),
        ("badword", "ʙadword"),
        ("спам", "cпам"),
    ],
)
def test_an_evasive_spelling_earns_no_exemption(value: str, piece: str) -> None:
    assert not is_as_listed(piece, value)


def test_what_people_decided_stands_above_all_lists() -> None:
    everyone = hit("block", 0, 2, exact=True, decided=1)
    own = hit("allow", 0, 2, exact=True, decided=2)

    assert weigh_text([hit("allow", 0, 2), everyone], "ok").decision == "rejected"
    assert weigh_text([hit("block", 0, 2), everyone, own], "ok").decision == "approved"


def test_of_images_exact_hashes_speak_before_near_ones() -> None:
    assert weigh_image([hit("allow"), hit("block")]).decision == "rejected"
    assert weigh_image([hit("allow", exact=True), hit("block")]).decision == "approved"
    assert weigh_image([hit("allow"), hit("block", exact=True)]).decision == "rejected"


def test_the_digest_tells_findings_apart() -> None:
    one = weigh_text([hit("block", 0, 1)], "a b")
    two = weigh_text([hit("block", 2, 3)], "a b")

    assert one.digest
    assert one.digest != two.digest
    assert one == weigh_text([hit("block", 0, 1)], "a b")
