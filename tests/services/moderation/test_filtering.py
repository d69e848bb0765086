from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.lists.listed import ListHit
from penstock.lists.lists import NOTHING, Listed
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation import filtering
from penstock.services.moderation.filtering import Allowed, Minded, Sifted, blanked, sift
from penstock.services.moderation.policy import Policy, Threshold
from penstock.words.lexicon import load_lexicon
from penstock.words.prescreen import Prescreen

PRESCREEN = Prescreen(load_lexicon())
ABUSE = {"harassment": 0.5, "profanity": 0.5}
TEXTS = {
    "abuse": ("you are a fucking idiot", "abusive_language"),
    "phone": ("ring 212-555-0134", "phone_number"),
    "email": ("write to john.doe@example.com", "email_address"),
    "physical": ("find it at 10 Downing Street", "physical_address"),
    "social": ("see https://instagram.com/johnny.doe", "social_media_link"),
}
PAIRS = [(one, other) for one in TEXTS for other in TEXTS if one != other]


def sifted(
    text: str,
    allowed: Allowed = Allowed(),  # noqa: B008 - a tuple
    *,
    floors: Mapping[str, float] = ABUSE,
    rejected: frozenset[str] = frozenset(),
    listed: Listed = NOTHING,
    history: tuple[str, ...] = (),
) -> Sifted:
    spared = allowed.spared(filtering.ABUSE_IN_TEXT)
    counting = {name: floor for name, floor in floors.items() if name not in spared}
    return sift(
        text,
        allowed=allowed,
        minded=Minded(counting if _is_abusive(text) else {}, rejected),
        listed=listed,
        prescreen=PRESCREEN,
        history=history,
    )


def _is_abusive(text: str) -> bool:
    return "fucking" in text or "f.u.c.k" in text


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("glue", [" ", ", ", "\n", " and "])
def test_what_is_allowed_lets_nothing_else_through(one: str, other: str, glue: str) -> None:
    """O-06: every pair of flags, in either order."""
    text = f"{TEXTS[one][0]}{glue}{TEXTS[other][0]}"

    assert sifted(text, Allowed(**{one: True})).flags == (TEXTS[other][1],)
    assert sifted(text, Allowed(**{other: True})).flags == (TEXTS[one][1],)


@pytest.mark.parametrize(
    "allowed", [set(names) for n in range(len(TEXTS) + 1) for names in combinations(TEXTS, n)]
)
def test_of_everything_together_the_flags_are_what_is_not_allowed(allowed: set[str]) -> None:
    text = "; ".join(text for text, _ in TEXTS.values())

    found = sifted(text, Allowed(**dict.fromkeys(allowed, True)))

    assert set(found.flags) == {TEXTS[name][1] for name in TEXTS if name not in allowed}


@pytest.mark.parametrize(
    ("text", "allowed", "flags"),
    [
        ("2125550134@example.com", Allowed(email=True), ("phone_number",)),
        ("2125550134@example.com", Allowed(phone=True), ("email_address",)),
        ("https://wa.me/12125550134", Allowed(social=True), ("phone_number",)),
        ("john.doe@example.com", Allowed(email=True), ()),
        ("instagram.com/johnny.doe", Allowed(social=True), ()),
        ("pay 4111 1111 1111 1111", Allowed(*[True] * 5), ("credit_card",)),
        ("ping 192.168.2.1", Allowed(), ()),
    ],
)
def test_what_is_allowed_hides_nothing_inside_it(
    text: str, allowed: Allowed, flags: tuple[str, ...]
) -> None:
    assert sifted(text, allowed).flags == flags


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("john dot doe at example dot com", ("email_address", "obfuscation")),
        ("two one two five five five zero one three four", ("phone_number", "obfuscation")),
        ("you f.u.c.k.i.n.g idiot", ("abusive_language", "obfuscation")),
        ("can i have your number?", ("phone_number_intent",)),
        ("what is your home address? where do you live", ("physical_location_intent",)),
        ("dm me", ("social_media_intent",)),
        ("send me your email", ("email_intent",)),
        ("hi", ()),
    ],
)
def test_short_disguised_and_asked_for_things_are_found(text: str, flags: tuple[str, ...]) -> None:
    assert sifted(text).flags == flags


def test_disguises_of_what_is_allowed_are_no_obfuscation() -> None:
    text = "two one two five five five zero one three four or john.doe@example.com"

    assert sifted(text, Allowed(phone=True)).flags == ("email_address",)


def test_a_number_split_over_messages_is_found_and_masked() -> None:
    found = sifted("0134 ok?", history=("hello", "call me on", "212 555"))

    assert found.flags == ("phone_number", "obfuscation")
    assert found.mask("0134 ok?") == "**** ok?"


def test_only_the_last_messages_are_read() -> None:
    history = ("212 555", *["well"] * 15)

    assert sifted("0134", history=history).flags == ()


def test_every_match_of_every_kind_is_masked() -> None:
    """O-08."""
    text = "212-555-0134 a@example.com you fucking idiot 212-555-0135 b@example.com fucking"

    masked = sifted(text).mask(text)

    assert len(masked) == len(text)
    assert masked.replace("*", "").split() == ["you"]


def test_what_is_allowed_is_not_masked() -> None:
    text = "212-555-0134 or a@example.com"

    assert sifted(text, Allowed(email=True)).mask(text) == "************ or a@example.com"


@pytest.mark.parametrize(
    "piece",
    ["name{0:04}@example.com ", "call 212-555-{0:04} ", "fucking ", "you fucking idiot {0} "],
)
def test_more_than_any_detector_keeps_is_masked_too(piece: str) -> None:
    text = "".join(piece.format(n) for n in range(1500))

    masked = sifted(text).mask(text)

    left = set(masked.replace("*", " ").split()) - {str(n) for n in range(1500)}
    assert left <= {"call", "you"}


def test_one_rare_thing_is_found_among_more_than_any_detector_keeps() -> None:
    crowd = "".join(f"name{n}@example.com " for n in range(600))
    text = f"{crowd}two one two five five five zero one three four {crowd}"

    assert "phone_number" in sifted(text).flags
    assert "phone_number" in sifted(text, Allowed(email=True)).flags


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.sampled_from([*TEXTS, "plain"]), min_size=1, max_size=12),
    allowed=st.builds(Allowed, *[st.booleans()] * 5),
)
def test_nothing_is_found_in_what_was_masked(names: list[str], allowed: Allowed) -> None:
    text = " -- ".join(TEXTS[name][0] if name in TEXTS else "nice weather" for name in names)

    masked = sifted(text, allowed).mask(text)

    assert sifted(masked, allowed).flags == ()
    assert len(masked) == len(text)


def test_what_was_judged_without_a_place_is_masked_everywhere() -> None:
    found = sift(
        "nobody here would miss you",
        allowed=Allowed(),
        minded=Minded({"harassment": 0.5}, frozenset({"harassment"})),
        listed=NOTHING,
        prescreen=PRESCREEN,
    )

    assert found.flags == ("abusive_language",)
    assert found.mask("nobody here would miss you") == "****** **** ***** **** ***"


def test_what_is_rejected_is_masked_where_it_was_found() -> None:
    text = "today you are a fucking idiot"

    found = sifted(text, rejected=frozenset({"harassment"}))

    assert found.mask(text) == "today you are a ******* *****"


def test_a_place_of_one_category_is_none_of_another() -> None:
    """A threat without a listed word must not pass because somebody swears in it."""
    text = "I know where your children sleep, fucking coward"

    found = sifted(text, rejected=frozenset({"harassment/threatening"}))

    assert found.everywhere


def test_what_is_suspected_without_a_place_is_neither_flagged_nor_masked() -> None:
    text = "great fucking goal last night"

    found = sifted(text, floors={"sexual": 0.5, "harassment": 0.5})

    assert found == Sifted((), (), everywhere=False)


def test_a_word_below_the_policys_flag_does_not_count() -> None:
    assert sifted("you are fucking late", floors={"profanity": 0.7}).flags == ()
    assert sifted("you are fucking late", floors={"profanity": 0.6}).flags == ("abusive_language",)


def test_a_policy_minds_what_it_flags_from_there_and_what_it_rejects_as_a_whole() -> None:
    policy = Policy(
        thresholds={
            "hate": Threshold(flag=0.9, reject=0.4),
            "sexual": Threshold(flag=None, reject=None),
            "violence": Threshold(flag=0.0),
        }
    )
    known = {"harassment": 0.6, "hate": 0.5, "sexual": 1.0, "violence": 0.1, "illicit": 0.8}
    scores = tuple(known.get(category) for category in CATEGORIES)

    minded = filtering.mind(scores, policy)

    floors = {"harassment": 0.5, "hate": 0.4, "violence": 0.0, "illicit": 0.5}
    assert minded == Minded(floors, frozenset({"hate", "illicit"}))


def test_what_only_rules_judge_is_flagged_where_the_policy_flags_it() -> None:
    text = "ping 93.184.216.34 now"
    allowed = Allowed(*[True] * 5)

    found = sift(
        text,
        allowed=allowed,
        minded=Minded({"pii/ip": 0.5}, frozenset()),
        listed=NOTHING,
        prescreen=PRESCREEN,
    )

    assert found.flags == ("ip_address",)
    assert found.mask(text) == "ping ************* now"


def hit(kind: str, start: int, end: int) -> ListHit:
    return ListHit("list_1", "house rules", kind, "1", start, end)  # type: ignore[arg-type]


def test_what_an_allow_list_holds_does_not_count() -> None:
    text = "write to help@example.com or john@example.com"
    listed = Listed(hits=(hit("allow", 9, 25),), exempt=((9, 25),))

    found = sifted(text, listed=listed)

    assert found.mask(text) == "write to help@example.com or ****************"


def test_a_text_that_an_allow_list_holds_has_no_flags() -> None:
    assert sifted("a@example.com", listed=Listed(decision="approved", whole=True)).flags == ()


def test_words_of_a_block_list_are_critical_terms() -> None:
    listed = Listed(decision="rejected", hits=(hit("block", 4, 9),))

    found = sifted("buy spice now", Allowed(*[True] * 5), listed=listed)

    assert found.flags == ("critical_term",)
    assert found.mask("buy spice now") == "buy ***** now"


def test_a_whole_text_on_a_block_list_is_masked_everywhere() -> None:
    listed = Listed(decision="rejected", hits=(hit("block", 0, 0),), whole=True)

    assert sifted("buy it", listed=listed).mask("buy it") == "*** **"


def test_every_category_has_a_flag_for_texts_and_for_images() -> None:
    assert set(filtering.TEXT_FLAGS) == set(filtering.IMAGE_FLAGS) == set(CATEGORIES)
    assert {*filtering.TEXT_FLAGS.values(), *filtering.IMAGE_FLAGS.values()} <= set(filtering.FLAGS)


def test_allowed_categories_do_not_count() -> None:
    scores = tuple(0.5 for _ in CATEGORIES)

    left = blanked(scores, Allowed(abuse=True, email=True).spared(filtering.ABUSE_IN_TEXT))

    known = {name for name, score in zip(CATEGORIES, left, strict=True) if score is not None}
    assert not known & {"harassment", "pii/email"}
    assert {"sexual/minors", "self-harm", "pii/phone", "pii/card", "spam"} <= known


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "Content passed all moderation checks"),
        (("phone_number",), "Contains phone number"),
        (
            ("phone_number", "email_address", "abusive_language"),
            "Contains phone number, email address and offensive language",
        ),
    ],
)
def test_flags_are_told_in_words(flags: tuple[str, ...], words: str) -> None:
    assert filtering.told(flags) == words
