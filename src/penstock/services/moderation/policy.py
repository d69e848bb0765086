"""Scores to a decision: thresholds per category, applied whenever a verdict is read.

A policy is a value. Changing it changes what is decided about everything already scored, without
asking any model again. `risk` puts all categories on one scale, whatever their thresholds are:
0.2 where review begins, 0.8 where rejection begins, linear in between (FIST's 20 and 80 percent).

`Judge.decide` is the whole of it, in one place: scores, then what was missing, then what lists say.
A dry run decides the same way about what was recorded.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from math import inf, nextafter
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from penstock.errors import ConfigurationError, InvalidInput
from penstock.providers.provider import CATEGORIES, RULED

Decision = Literal["approved", "review", "rejected"]
OnFailure = Literal["open", "closed", "review"]
Stage = Literal["prescreen", "local", "provider"]

STAGES: tuple[Stage, ...] = get_args(Stage)
UNSEEN = frozenset(("images-unavailable", "image-unreachable", "not-judged"))
"""Reasons for a missing stage that no policy can open: nobody has looked at it."""
UNSEEN_REASON = "nobody has looked at it"

REVIEW_RISK = 0.2
REJECT_RISK = 0.8
BELOW_REVIEW = nextafter(REVIEW_RISK, 0.0)
BELOW_REJECT = nextafter(REJECT_RISK, 0.0)
NEVER = 1.0 + 1e-9  # a threshold that no score reaches
REMEMBERED = 4096  # rulings
LISTED = 20  # faults told at once
LONGEST = 3.2e9  # seconds, a hundred years
LARGEST = 16_384  # characters and values of a document; one that says everything has 2,000
LONGEST_TOLD = 300  # characters about one fault

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(ge=1.0, le=LONGEST)]


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From which score a category is reviewed, flagged (OpenAI's `true`) and rejected.

    None: never. In a document, what is not named keeps the default of its category.
    """

    review: Probability | None = 0.2
    flag: Probability | None = 0.5
    reject: Probability | None = 0.8


class Lifetimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds after which scores are asked for anew, by what they lead to.

    None: as long as the cache keeps them.
    """

    approved: Seconds | None = None
    review: Seconds | None = None
    rejected: Seconds | None = None


class Review(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How people work on what a policy leaves to them."""

    # Of a case's content; 0: none.
    retention_seconds: Annotated[float, msgspec.Meta(ge=0.0, le=LONGEST)] = 0.0
    sla_seconds: Seconds = 86_400.0  # until a case is overdue


_NEVER = Threshold(review=None, flag=None, reject=None)
_DEFAULTS: dict[str, Threshold] = {
    # What is personal or bulk is no violation in itself: it is found, and a policy may mind.
    **dict.fromkeys(RULED, _NEVER),
    # Bad language alone is a matter of house rules: people look at it, nothing is rejected.
    "profanity": Threshold(review=0.9, flag=0.5, reject=None),
    # Nothing sexual about minors waits for a second opinion.
    "sexual/minors": Threshold(review=0.1, flag=0.3, reject=0.5),
}


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What scores mean to one team."""

    id: str = "default"
    thresholds: dict[str, Threshold] = {}
    on_provider_failure: OnFailure = "review"
    on_other_language: Literal["review", "ignore"] = "review"
    lifetimes: Lifetimes = Lifetimes()
    # Who reads; each once.
    stages: Annotated[tuple[Stage, ...], msgspec.Meta(max_length=len(STAGES))] = STAGES
    review: Review = Review()


class Ruling(msgspec.Struct, frozen=True):
    """What a policy makes of one set of scores."""

    decision: Decision
    risk: float  # 0..1
    flags: tuple[bool, ...]  # in the order of CATEGORIES
    category: str | None  # the one with the highest risk, if any has a score
    reason: str


class Judge:
    """A policy made ready to be applied."""

    def __init__(self, policy: Policy) -> None:
        for _, told in faults(policy):
            raise ConfigurationError(f"policy {policy.id!r}: {told}")
        self.policy = policy
        self.version = _version(policy)
        self._scales = tuple(_Scale(threshold_of(policy, name)) for name in CATEGORIES)
        self._lifetimes = msgspec.structs.asdict(policy.lifetimes)
        # A cached verdict asks twice for the ruling on scores that were ruled on before.
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._rule)

    def decide(
        self,
        scores: tuple[float | None, ...],
        *,
        foreign: bool = False,
        degraded: str | None = None,
        listed: Decision | None = None,
        source: str = "a list",
    ) -> Ruling:
        """What stands in the end: scores, then the code of what was missing, then a list's word.

        `source` names the list. A block list rejects, a review list asks for a human, and what an
        allow list holds as a whole is approved.
        """
        ruling = self.rule(scores, foreign=foreign)
        if degraded in UNSEEN:
            ruling = leave_to_human(ruling, UNSEEN_REASON)
        elif degraded:
            ruling = self.rule_failure(ruling)
        return ruling if listed is None else _by_list(ruling, listed, source)

    def rule(self, scores: tuple[float | None, ...], *, foreign: bool = False) -> Ruling:
        """Decide on scores in the order of CATEGORIES; None: not judged."""
        return self._remembered(scores, foreign)

    def rule_failure(self, ruling: Ruling) -> Ruling:
        """What stands when the provider failed and only the local stages spoke."""
        match self.policy.on_provider_failure:
            case "open":
                return ruling
            case "closed":
                reason = f"provider failed; {ruling.reason}"
                return msgspec.structs.replace(ruling, decision="rejected", reason=reason)
            case "review":
                return leave_to_human(ruling, "provider failed")

    def lifetime(self, scores: tuple[float | None, ...], *, foreign: bool = False) -> float:
        """The oldest that these scores may be, in seconds."""
        seconds = self._lifetimes[self.rule(scores, foreign=foreign).decision]
        return inf if seconds is None else seconds

    def _rule(self, scores: tuple[float | None, ...], foreign: bool) -> Ruling:
        risk, top, flags = 0.0, -1, []
        for index, score in enumerate(scores):
            if score is None:
                flags.append(False)
                continue
            scale = self._scales[index]
            flags.append(score >= scale.flag)
            mapped = scale.risk(score)
            if mapped > risk:
                risk, top = mapped, index
        category = CATEGORIES[top] if top >= 0 else None
        decision, reason = _decide(risk, category)
        if foreign and decision == "approved" and self.policy.on_other_language == "review":
            decision = "review"
            reason = "not English: the local model cannot judge it"
        return Ruling(decision, risk, tuple(flags), category, reason)


def leave_to_human(ruling: Ruling, reason: str) -> Ruling:
    """The ruling with `review` where it approved: somebody has to look."""
    if ruling.decision == "approved":
        ruling = msgspec.structs.replace(ruling, decision="review")
    return msgspec.structs.replace(ruling, reason=f"{reason}; {ruling.reason}")


def _by_list(ruling: Ruling, listed: Decision, source: str) -> Ruling:
    match listed:
        case "rejected":
            risk, reason = 1.0, f"blocked by {source}"
        case "approved":
            risk, reason = 0.0, f"allowed by {source}"
        case "review":
            if ruling.decision == "rejected":
                return ruling
            risk, reason = max(ruling.risk, REVIEW_RISK), f"to be reviewed by {source}"
    return msgspec.structs.replace(ruling, decision=listed, risk=risk, reason=reason)


def complete(policy: Policy) -> Policy:
    """The policy with every category named: it says the same after a default has changed."""
    return msgspec.structs.replace(
        policy, thresholds={name: threshold_of(policy, name) for name in CATEGORIES}
    )


def faults(policy: Policy) -> Iterator[tuple[tuple[str, ...], str]]:
    """What contradicts itself or refers to nothing: the place in the document, and what it is."""
    for name, threshold in policy.thresholds.items():
        if name not in CATEGORIES:
            known = ", ".join(CATEGORIES)
            yield ("thresholds", name), f"no category is called {name[:80]!r}; known: {known}"
        review, reject = threshold.review, threshold.reject
        if review is not None and reject is not None and review > reject:
            yield (
                ("thresholds", name, "review"),
                f"{name} is rejected from {reject:g} on, below its review threshold {review:g}; "
                'lower review, raise reject, or let nothing be rejected: reject = "never"',
            )
    if not policy.stages:
        yield ("stages",), f"no stage reads; name some of {', '.join(STAGES)}"
    if len(set(policy.stages)) < len(policy.stages):
        yield ("stages",), "names a stage twice; each reads once"


def cautions(policy: Policy, *, asks_provider: bool) -> list[str]:
    """What whoever lets a policy hold should know of it, on an installation with a provider or not.

    It may hold all the same: a provider may be set later.
    """
    if asks_provider or set(policy.stages) != {"provider"}:
        return []
    return [
        "only the provider would read and none is configured: every text is left to a human, "
        "degraded as not-judged; add a stage or set PENSTOCK_PROVIDER"
    ]


def read_policy(document: object, *, pointer: str = "") -> Policy:
    """A policy that came from outside, as JSON's or TOML's objects.

    It has to name a category. Raises InvalidInput that lists every fault with its place, below
    `pointer`.
    """
    policy, found = _read(document)
    if policy is not None:
        found = list(islice(faults(policy), LISTED))
        if not policy.thresholds:
            found.append((("thresholds",), "names no category; name one and its thresholds"))
    if policy is None or found:
        errors = [
            {"pointer": pointer + _pointer(place), "detail": told} for place, told in found[:LISTED]
        ]
        first = errors[0]
        raise InvalidInput(f"{first['detail']} at {first['pointer'] or '/'}", errors=errors)
    return policy


def load_policy(path: Path | None) -> Policy:
    """The policy of a TOML file; the default one without a file.

    Raises ConfigurationError that names the file and the place.
    """
    if path is None:
        return Policy()
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"policy {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"policy {path}: {error}") from error
    policy, found = _read({"id": path.stem, **document})
    if policy is None:
        place, told = found[0]
        raise ConfigurationError(f"policy {path}: {'.'.join(place)}: {told}")
    return policy


def _read(document: object) -> tuple[Policy | None, list[tuple[tuple[str, ...], str]]]:
    """The policy of a document, or what about its form is wrong and where."""
    if not isinstance(document, dict):
        return None, [((), "a policy is an object")]
    if _is_large(document):
        return None, [((), f"is larger than any policy: more than {LARGEST:,} characters")]
    found: list[tuple[tuple[str, ...], str]] = []
    tables = document.get("thresholds", {})
    if isinstance(tables, dict):
        tables = {name: _filled(str(name), table) for name, table in tables.items()}
        for name, table in tables.items():
            try:
                msgspec.convert(table, Threshold)
            except msgspec.ValidationError as error:
                place, told = _located(error)
                found.append((("thresholds", str(name), *place), told))
        document = {**document, "thresholds": {}}
    try:
        policy = msgspec.convert(document, Policy)
    except msgspec.ValidationError as error:
        return None, [_located(error), *found]
    if found:
        return None, found
    if isinstance(tables, dict):
        thresholds = msgspec.convert(tables, dict[str, Threshold])
        policy = msgspec.structs.replace(policy, thresholds=thresholds)
    return policy, []


def _filled(category: str, table: object) -> object:
    """A threshold of a document in full: "never", which TOML needs, is the None that it means."""
    if not isinstance(table, dict):
        return table
    named = {action: None if value == "never" else value for action, value in table.items()}
    return {**msgspec.structs.asdict(_default_of(category)), **named}


def _is_large(document: object) -> bool:
    """Whether a document says more than any policy has to say; looks no further than that."""
    size, waiting = 0, [document]
    while waiting and size <= LARGEST:
        value = waiting.pop()
        size += len(value) + 1 if isinstance(value, str) else 1
        if isinstance(value, dict | list):
            waiting += islice(value, LARGEST)
        if isinstance(value, dict):
            waiting += islice(value.values(), LARGEST)
    return size > LARGEST


def _located(error: msgspec.ValidationError) -> tuple[tuple[str, ...], str]:
    """The place that a message of msgspec names, and the rest of it."""
    told, _, path = str(error).partition(" - at `$")
    return tuple(re.findall(r"[^.\[\]`]+", path)), told[:LONGEST_TOLD]


def _pointer(place: tuple[str, ...]) -> str:
    """RFC 6901; a step that no text can hold (half a surrogate pair) is shown with `?`."""
    steps = (step[:80].encode("utf-8", "replace").decode() for step in place)
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


class _Scale:
    """Maps one category's score to risk; monotone, continuous between review and reject."""

    __slots__ = ("flag", "reject", "review")

    def __init__(self, threshold: Threshold) -> None:
        self.reject = NEVER if threshold.reject is None else threshold.reject
        # What is rejected is beyond review, also where a policy names no review threshold.
        self.review = min(self.reject, NEVER if threshold.review is None else threshold.review)
        self.flag = NEVER if threshold.flag is None else threshold.flag

    def risk(self, score: float) -> float:
        # A score a hair below a threshold must not be rounded up to it.
        if score >= self.reject:
            spread = 1.0 - self.reject
            share = (score - self.reject) / spread if spread > 0 else 1.0
            return REJECT_RISK + (1.0 - REJECT_RISK) * share
        if score >= self.review:
            spread = self.reject - self.review
            share = (score - self.review) / spread
            return min(REVIEW_RISK + (REJECT_RISK - REVIEW_RISK) * share, BELOW_REJECT)
        if self.review > 1.0:
            return 0.0  # nothing leads anywhere
        return min(REVIEW_RISK * score / self.review, BELOW_REVIEW)


def threshold_of(policy: Policy, category: str) -> Threshold:
    """What holds for a category: what the policy says of it, or the default."""
    return policy.thresholds.get(category) or _default_of(category)


def _default_of(category: str) -> Threshold:
    return _DEFAULTS.get(category) or Threshold()


def _decide(risk: float, category: str | None) -> tuple[Decision, str]:
    if risk >= REJECT_RISK:
        return "rejected", f"{category} beyond the reject threshold"
    if risk >= REVIEW_RISK:
        return "review", f"{category} beyond the review threshold"
    return "approved", "no category beyond its threshold"


def _version(policy: Policy) -> str:
    """Changes exactly when the policy's content does."""
    digest = hashlib.sha256(msgspec.json.encode(complete(policy), order="sorted")).hexdigest()
    return f"{policy.id}-{digest[:12]}"
