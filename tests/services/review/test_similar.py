from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.services.review.similar import (
    LEAST_WORDS,
    MOST_CHARACTERS,
    OTHER_WORDS,
    PDQ_DISTANCE,
    alike,
    bands,
    meetings,
    normalised,
    probes,
    signature,
)

ADVERT = (
    "hello friends I have found the most wonderful shop for watches and handbags in the whole "
    "of the city, every piece is new and half the price, come and look at it on the corner of "
    "market street before all of them are gone, tell them that I sent you"
)
SEED = random.Random(7)
WORDS = [f"{SEED.choice('bdfgklmnprst')}{SEED.choice('aeiou')}{n:03}ing" for n in range(400)]


def signed(text: str | None, *images: bytes) -> bytes:
    made = signature(text, images)
    assert made is not None
    return made


def found(one: bytes, other: bytes) -> bool:
    """Whether a look for one finds the other, and takes it for the same."""
    looked = set(probes(one, owner="team")) & set(bands(other, owner="team"))
    is_found = bool(looked) and alike(one, other)
    if is_found:  # then who writes one of them waits for who writes the other
        assert set(meetings(one, owner="team")) & set(meetings(other, owner="team"))
    return is_found


def changed(image: bytes, bits: int) -> bytes:
    number = int.from_bytes(image, "big")
    for bit in SEED.sample(range(256), bits):
        number ^= 1 << bit
    return number.to_bytes(32, "big")


def test_a_long_text_is_found_when_a_word_of_it_is_changed() -> None:
    other = ADVERT.replace("handbags", "jewellery")

    assert found(signed(other), signed(ADVERT))


def test_of_fifty_words_one_may_be_another() -> None:
    assert len(WORDS[:50]) == 50
    one = signed(" ".join(WORDS[:50]))

    for place in range(50):
        other = " ".join([*WORDS[:place], "different", *WORDS[place + 1 : 50]])
        assert found(signed(other), one), place


@pytest.mark.parametrize("words", [50, 100, 400])
@pytest.mark.parametrize("place", ["behind", "before", "within", "instead"])
def test_a_sentence_does_not_ride_along_with_a_long_text(words: int, place: str) -> None:
    text, added = WORDS[:words], ["I", "will", "kill", "you", "and", "your", "family", "tomorrow"]
    other = {
        "behind": [*text, *added],
        "before": [*added, *text],
        "within": [*text[:20], *added, *text[20:]],
        "instead": [*text[:20], *added, *text[20 + len(added) :]],
    }[place]

    assert not alike(signed(" ".join(other)), signed(" ".join(text)))


@pytest.mark.parametrize("added", ["die", "kill yourself", "die " * 300])
def test_what_is_added_to_a_long_text_makes_it_another(added: str) -> None:
    assert not alike(signed(f"{ADVERT}. {added}"), signed(ADVERT))


def test_more_than_two_other_words_make_another_text() -> None:
    text = WORDS[:300]
    others = [signed(" ".join([*["different"] * number, *text[number:]])) for number in range(1, 5)]

    alikes = [alike(other, signed(" ".join(text))) for other in others]

    assert alikes == [number <= OTHER_WORDS for number in range(1, 5)]


def test_owners_are_kept_apart() -> None:
    made = [signed(ADVERT), signed("short"), signed(None, bytes(32))]

    assert not [s for s in made if set(probes(s, owner="team")) & set(bands(s, owner="others"))]


def test_a_long_text_with_other_case_spacing_and_marks_is_the_same() -> None:
    other = "  " + ADVERT.upper().replace(", ", " ... ") + "!!\u200b"

    assert signed(other) == signed(ADVERT)


def test_a_long_text_that_denies_what_the_other_says_is_not_alike() -> None:
    other = ADVERT.replace("come and look", "do not come and look")

    assert not alike(signed(other), signed(ADVERT))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I will see you tomorrow", "I will kill you tomorrow"),
        ("she is 13", "she is 18"),
        ("you are dead?", "you are dead"),
        ("nice 🔪", "nice 🎂"),
        ("क्या", "कया"),
    ],
)
def test_short_texts_with_another_word_are_not_alike(one: str, other: str) -> None:
    assert not alike(signed(one), signed(other))


def test_short_texts_that_differ_in_case_and_punctuation_are_found() -> None:
    assert found(signed("You IDIOT!!"), signed("you, idiot"))


def test_texts_on_other_subjects_are_not_alike() -> None:
    words = [f"{a}{b}" for a in ("re", "un", "pro", "in") for b in ("make", "form", "turn", "sign")]
    texts = [" ".join(SEED.choices(words, k=60)) for _ in range(40)]

    pairs = [(a, b) for a in texts for b in texts if a < b]

    assert not [pair for pair in pairs if alike(signed(pair[0]), signed(pair[1]))]


def test_a_text_with_an_image_is_not_like_the_text_alone() -> None:
    assert not alike(signed(ADVERT, bytes(32)), signed(ADVERT))


def test_a_text_with_another_image_is_not_alike() -> None:
    assert not alike(signed("look", bytes(32)), signed("look", b"\xff" * 32))


def test_an_item_with_an_image_that_nobody_saw_is_like_nothing() -> None:
    assert signature("look", (b"",)) is None


@pytest.mark.parametrize("_", range(20))
def test_every_image_within_the_distance_is_found(_: int) -> None:
    image = SEED.randbytes(32)

    assert found(signed(None, changed(image, PDQ_DISTANCE)), signed(None, image))
    assert not alike(signed(None, changed(image, PDQ_DISTANCE + 1)), signed(None, image))


def test_a_very_long_text_is_like_itself_only() -> None:
    text = ADVERT * (MOST_CHARACTERS // len(ADVERT) + 1)

    assert found(signed(text), signed(text))
    assert not alike(signed(text + "."), signed(text))


def test_nothing_has_no_signature() -> None:
    assert signature("") is None
    assert signature(None) is None


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=400))
def test_any_text_is_like_itself_and_its_bands_fit_a_column(text: str) -> None:
    made = signed(text)

    assert found(made, made)
    for numbers in (bands(made, owner="team"), meetings(made, owner="team")):
        assert all(0 <= number < 1 << 63 for number in numbers)
    assert normalised(text)


def test_the_signature_of_a_text_stays_the_same_between_releases() -> None:
    """Stored ones are compared with new ones."""
    words = " ".join(f"word{n}" for n in range(LEAST_WORDS))

    assert signed("You idiot").hex() == "01008bf7e0c772df009f"
    assert signed(words).hex()[:20] == "020081877ddcb9d4f26c"
