"""FilterX's view of a text: what stands in it that a caller did not allow, by flag and place.

    text ─ personal data of the kinds not allowed ──┐
         ─ listed terms of the flagged categories ──┼─ not exempt ─► flags, places ─► masked
         ─ hits of block lists ─────────────────────┘
    scores that the policy rejects ─────────────────► flags; without a place the whole is masked

What rules find has a place that can be shown and masked: it counts from the policy's `flag` on. A
model's score is a guess about the whole: alone it counts from `reject` on.

Each kind is looked for by itself, so that what is allowed never hides what is not. The places come
from a full pass over the text, not from a verdict's findings, which are bounded. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from penstock import pii
from penstock.lists.lists import Listed
from penstock.providers.provider import CATEGORIES, RULED
from penstock.services.moderation.policy import NEVER, Policy, threshold_of
from penstock.words.prescreen import Prescreen

HISTORY: Final = 15  # earlier messages that are read
LEAST_SCORE: Final = 0.5  # of a rule about personal data that counts
HEAD: Final = 1_024  # characters that may end what began in earlier messages
PIECE: Final = 8_192  # characters that are looked at at once
SHORTEST: Final = 400  # the same where more stands than a detector tells: not more stands in this
MARGIN: Final = 256  # characters on either side of a piece that are read with it
MOST_FOUND: Final = 250  # in one pass; a detector that gives as many may have left some out

ABUSE: Final = "abusive_language"
CRITICAL: Final = "critical_term"
OBFUSCATION: Final = "obfuscation"
ERROR: Final = "error"

_TEXT: Final[dict[str, tuple[str, ...]]] = {
    "phone_number": ("pii/phone",),
    "email_address": ("pii/email",),
    "social_media_handle": ("pii/social",),
    "physical_address": ("pii/address",),
    "credit_card": ("pii/card", "pii/iban"),
    "ip_address": ("pii/ip",),
    ABUSE: (
        *("harassment", "harassment/threatening", "hate", "hate/threatening", "sexual"),
        *("violence", "violence/graphic", "profanity"),
    ),
    CRITICAL: (
        *("sexual/minors", "illicit", "illicit/violent"),
        *("self-harm", "self-harm/intent", "self-harm/instructions"),
    ),
    "spam": ("spam",),
}
_IMAGE: Final[dict[str, tuple[str, ...]]] = {
    "nsfw": ("sexual", "sexual/minors"),
    "violence": ("violence", "violence/graphic", "illicit/violent"),
    "abuse": ("harassment", "harassment/threatening", "hate", "hate/threatening", "profanity"),
    "address": ("pii/address",),
    "pii": ("pii/phone", "pii/email", "pii/ip"),
    "creditCard": ("pii/card", "pii/iban"),
    "socialMedia": ("pii/social",),
    "inappropriate": (
        *("illicit", "spam", "self-harm", "self-harm/intent", "self-harm/instructions"),
    ),
}
TEXT_FLAGS: Final = {category: flag for flag, named in _TEXT.items() for category in named}
IMAGE_FLAGS: Final = {category: flag for flag, named in _IMAGE.items() for category in named}
_INTENTS: Final = {
    "phone": "phone_number_intent",
    "email": "email_intent",
    "social": "social_media_intent",
    "address": "physical_location_intent",
}
_ORDER: Final = (
    *("phone_number", "phone_number_intent", "email_address", "email_intent"),
    *("social_media_handle", "social_media_link", "social_media_intent"),
    *("physical_address", "physical_location_intent", "credit_card", "ip_address"),
    *(ABUSE, CRITICAL, "spam", OBFUSCATION),
)
FLAGS: Final = (*_ORDER, *_IMAGE, ERROR)
"""Every flag, in the order of answers: those of texts, then those of images."""

_WORDS: Final = {
    "phone_number_intent": "a request for or offer of a phone number",
    "email_intent": "a request for or offer of an email address",
    "social_media_intent": "a request for or offer of a social media contact",
    "physical_location_intent": "a request for or offer of an address",
    "credit_card": "credit card or account number",
    "ip_address": "IP address",
    ABUSE: "offensive language",
    "nsfw": "sexual imagery",
    "abuse": "abusive imagery",
    "pii": "personal information in an image",
    "creditCard": "a payment card in an image",
    "socialMedia": "a social media profile in an image",
    "address": "an address in an image",
    "inappropriate": "inappropriate imagery",
}


class Allowed(NamedTuple):
    """What a caller lets through."""

    abuse: bool = False
    phone: bool = False
    email: bool = False
    physical: bool = False
    social: bool = False

    @property
    def kinds(self) -> tuple[pii.Kind, ...]:
        """Kinds of personal data that are let through. An IP address is none for FilterX."""
        chosen: tuple[tuple[bool, pii.Kind], ...] = (
            *((self.phone, "phone"), (self.email, "email"), (self.physical, "address")),
            *((self.social, "social"), (True, "ip")),
        )
        return tuple(kind for is_allowed, kind in chosen if is_allowed)

    def spared(self, abuse: Collection[str]) -> frozenset[str]:
        """Categories that do not count; `abuse` are those that stand for abuse."""
        kinds = frozenset(f"pii/{kind}" for kind in self.kinds if kind != "ip")
        return kinds.union(abuse) if self.abuse else kinds


class Minded(NamedTuple):
    """What a policy minds, by category."""

    floors: Mapping[str, float]  # the score from which on a place counts
    rejected: frozenset[str]  # by their scores alone, wherever it stands

    @property
    def calling(self) -> frozenset[str]:
        """Categories that are flagged whether a place is found or not.

        What only rules judge has been found by a rule if it has a score.
        """
        return self.rejected.union(category for category in self.floors if category in RULED)


NOTHING_MINDED: Final = Minded({}, frozenset())


class Place(NamedTuple):
    """Where something stands that is not allowed."""

    start: int
    end: int
    flag: str
    category: str = ""  # empty: a list's hit
    disguised: bool = False


class Sifted(NamedTuple):
    """What of a text is not allowed."""

    flags: tuple[str, ...]
    places: tuple[Place, ...]
    everywhere: bool  # something of it was rejected without a place

    def mask(self, text: str, sign: str = "*") -> str:
        """The text with all of it covered, as long as before.

        What was rejected without a place covers everything but blanks.
        """
        if self.everywhere:
            return "".join(each if each.isspace() else sign for each in text)
        return pii.mask(text, [(place.start, place.end) for place in self.places], sign)


ABUSE_IN_TEXT: Final = _TEXT[ABUSE]
ABUSE_IN_IMAGES: Final = _IMAGE["abuse"]

Look = Callable[[str], tuple[list[Place], bool]]
"""Gives what stands in a piece of text, and whether that is all."""


def blanked(scores: Sequence[float | None], spared: Collection[str]) -> tuple[float | None, ...]:
    """Scores in the order of CATEGORIES, without those that do not count."""
    return tuple(
        None if category in spared else score
        for category, score in zip(CATEGORIES, scores, strict=True)
    )


def mind(scores: Sequence[float | None], policy: Policy) -> Minded:
    """What `policy` minds of scores in the order of CATEGORIES."""
    floors: dict[str, float] = {}
    rejected: set[str] = set()
    for category, score in zip(CATEGORIES, scores, strict=True):
        if score is None:
            continue
        threshold = threshold_of(policy, category)
        flag = NEVER if threshold.flag is None else threshold.flag
        reject = NEVER if threshold.reject is None else threshold.reject
        if score >= min(flag, reject):
            floors[category] = min(flag, reject)
        if score >= reject:
            rejected.add(category)
    return Minded(floors, frozenset(rejected))


def sift(
    text: str,
    *,
    allowed: Allowed,
    minded: Minded,
    listed: Listed,
    prescreen: Prescreen,
    history: Sequence[str] = (),
) -> Sifted:
    """What stands in `text` that is not `allowed`.

    `minded` is what the policy makes of the scores, without the allowed ones. What lies wholly in a
    hit of an allow list does not count. `history` are earlier messages, oldest first.
    """
    if listed.decision == "approved":
        return Sifted((), (), everywhere=False)
    places = set(personal(text, allowed, floors=minded.floors, history=history))
    lexical = {name: floor for name, floor in minded.floors.items() if name not in RULED}
    if lexical:
        places |= set(_every(text, _terms(prescreen, lexical)))
    places = {place for place in places if not _is_exempt(place, listed.exempt)}
    everywhere = not minded.calling <= {place.category for place in places}
    flags = {TEXT_FLAGS[category] for category in minded.calling}
    if listed.decision == "rejected":
        hits = [hit for hit in listed.hits if hit.list_kind == "block" and hit.end > hit.start]
        places |= {Place(hit.start, hit.end, CRITICAL) for hit in hits}
        everywhere = everywhere or not hits
        flags.add(CRITICAL)
    flags |= {place.flag for place in places}
    if any(place.disguised for place in places):
        flags.add(OBFUSCATION)
    return Sifted(in_order(flags), tuple(sorted(places)), everywhere)


def personal(
    text: str,
    allowed: Allowed,
    *,
    floors: Mapping[str, float] = NOTHING_MINDED.floors,
    history: Sequence[str] = (),
) -> list[Place]:
    """Every piece of personal data of a kind that is not allowed, or that a policy minds."""
    kinds = [kind for kind in pii.KINDS if kind not in allowed.kinds or f"pii/{kind}" in floors]
    least = {kind: min(LEAST_SCORE, floors.get(f"pii/{kind}", LEAST_SCORE)) for kind in kinds}
    earlier = [message for message in history[-HISTORY:] if message]

    def look(piece: str) -> tuple[list[Place], bool]:
        found = pii.find(piece, kinds=kinds)
        placed = [_placed(match) for match in found if match.score >= least[match.kind]]
        return placed, _is_all(found)

    places = _every(text, look)
    if earlier:
        split = pii.find(text[:HEAD], history=earlier, kinds=kinds)
        places += [_placed(match) for match in split if match.rule.endswith(".split")]
    return places


def in_order(flags: Iterable[str]) -> tuple[str, ...]:
    """Flags in the order of answers, each once."""
    known = set(flags)
    return tuple(flag for flag in FLAGS if flag in known)


def told(flags: Sequence[str]) -> str:
    """What flags say, in words: `Contains phone number and offensive language`."""
    words = [_WORDS.get(flag, flag.replace("_", " ")) for flag in flags]
    if not words:
        return "Content passed all moderation checks"
    return f"Contains {' and '.join(filter(None, [', '.join(words[:-1]), words[-1]]))}"


def _placed(match: pii.Match) -> Place:
    category = f"pii/{match.kind}"
    flag = TEXT_FLAGS[category]
    if match.is_intent:
        flag = _INTENTS.get(match.kind, flag)
    elif match.rule in ("pii.social.link", "pii.social.spelled"):
        flag = "social_media_link"
    disguised = match.rule.endswith((".spelled", ".split"))
    return Place(match.start, match.end, flag, category, disguised)


def _terms(prescreen: Prescreen, floors: Mapping[str, float]) -> Look:
    """Looks for listed terms of some categories, each from a score on."""

    def look(piece: str) -> tuple[list[Place], bool]:
        screening = prescreen.screen(piece)
        places = [
            Place(
                *(found.start, found.end, TEXT_FLAGS[found.category], found.category),
                disguised=view != "plain",
            )
            for found, view in zip(screening.findings, screening.views, strict=True)
            if found.score >= floors.get(found.category, NEVER)
        ]
        return places, _is_all(screening.findings)

    return look


def _every(text: str, look: Look) -> list[Place]:
    """Everything in `text`, piece by piece."""
    return [
        place
        for start in range(0, len(text), PIECE)
        for place in _within(text, look, start=start, end=min(start + PIECE, len(text)))
    ]


def _within(text: str, look: Look, *, start: int, end: int) -> Iterator[Place]:
    """Everything that begins in a piece; where a detector stops counting, in smaller ones."""
    before = max(0, start - MARGIN)
    places, is_all = look(text[before : end + MARGIN])
    if not is_all and end - start > SHORTEST:
        for at in range(start, end, SHORTEST):
            yield from _within(text, look, start=at, end=min(at + SHORTEST, end))
        return
    for place in places:
        moved = place._replace(start=place.start + before, end=place.end + before)
        if start <= moved.start < end:
            yield moved


def _is_all(found: Sequence[object]) -> bool:
    return len(found) < MOST_FOUND


def _is_exempt(place: Place, exempt: Sequence[tuple[int, int]]) -> bool:
    return any(start <= place.start and place.end <= end for start, end in exempt)
