"""Scores to a decision: thresholds per category, applied whenever a verdict is read.

A policy is a value. Changing it changes what is decided about everything already scored, without
asking any model again. `risk` puts all categories on one scale, whatever their thresholds are:
0.2 where review begins, 0.8 where rejection begins, linear in between (FIST's 20 and 80 percent).

User lists will act here too, after the scores and before the decision.
"""

from __future__ import annotations

import hashlib
import tomllib
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from penstock.errors import ConfigurationError
from penstock.providers.provider import CATEGORIES

Decision = Literal["approved", "review", "rejected"]
OnFailure = Literal["open", "closed", "review"]

REVIEW_RISK = 0.2
REJECT_RISK = 0.8
REMEMBERED = 4096  # rulings

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(gt=0.0)]


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From which score a category is reviewed, flagged (OpenAI's `true`) and rejected.

    None: never.
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


_DEFAULTS: dict[str, Threshold] = {
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
        unknown = set(policy.thresholds) - set(CATEGORIES)
        if unknown:
            raise ConfigurationError(
                f"policy {policy.id!r}: no category is called {sorted(unknown)[0]!r}; "
                f"known: {', '.join(CATEGORIES)}"
            )
        for name, threshold in policy.thresholds.items():
            review, reject = threshold.review, threshold.reject
            if review is not None and reject is not None and review > reject:
                raise ConfigurationError(
                    f"policy {policy.id!r}: {name} is rejected from {reject:g} on, "
                    f"below its review threshold {review:g}; let review be the lower one"
                )
        self.policy = policy
        self.version = _version(policy)
        self._scales = tuple(_Scale(_threshold(policy, name)) for name in CATEGORIES)
        self._lifetimes = msgspec.structs.asdict(policy.lifetimes)
        # A cached verdict asks twice for the ruling on scores that were ruled on before.
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._rule)

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


def load_policy(path: Path | None) -> Policy:
    """The policy of a TOML file; the default one without a file.

    Raises ConfigurationError that names the file and the place.
    """
    if path is None:
        return Policy()
    try:
        document = tomllib.loads(path.read_text("utf-8"))
        return _policy({"id": path.stem, **document})
    except OSError as error:
        raise ConfigurationError(f"policy {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"policy {path}: {error}") from error


def _policy(document: dict[str, Any]) -> Policy:
    tables = document.get("thresholds")
    if isinstance(tables, dict):
        for name, table in tables.items():
            try:
                msgspec.convert(table, Threshold)
            except msgspec.ValidationError as error:
                raise msgspec.ValidationError(f"thresholds.{name}: {error}") from None
    return msgspec.convert(document, Policy)


class _Scale:
    """Maps one category's score to risk; monotone, continuous between review and reject."""

    __slots__ = ("flag", "reject", "review")

    def __init__(self, threshold: Threshold) -> None:
        never = 1.0 + 1e-9
        self.reject = never if threshold.reject is None else threshold.reject
        # What is rejected is beyond review, also where a policy names no review threshold.
        self.review = min(self.reject, never if threshold.review is None else threshold.review)
        self.flag = never if threshold.flag is None else threshold.flag

    def risk(self, score: float) -> float:
        if score >= self.reject:
            spread = 1.0 - self.reject
            share = (score - self.reject) / spread if spread > 0 else 1.0
            return REJECT_RISK + (1.0 - REJECT_RISK) * share
        if score >= self.review:
            spread = self.reject - self.review
            return REVIEW_RISK + (REJECT_RISK - REVIEW_RISK) * (score - self.review) / spread
        return REVIEW_RISK * score / self.review


def _threshold(policy: Policy, category: str) -> Threshold:
    return policy.thresholds.get(category) or _DEFAULTS.get(category) or Threshold()


def _decide(risk: float, category: str | None) -> tuple[Decision, str]:
    if risk >= REJECT_RISK:
        return "rejected", f"{category} beyond the reject threshold"
    if risk >= REVIEW_RISK:
        return "review", f"{category} beyond the review threshold"
    return "approved", "no category beyond its threshold"


def _version(policy: Policy) -> str:
    """Changes exactly when the policy's content does."""
    thresholds = {name: _threshold(policy, name) for name in CATEGORIES}
    whole = msgspec.structs.replace(policy, thresholds=thresholds)
    digest = hashlib.sha256(msgspec.json.encode(whole, order="sorted")).hexdigest()
    return f"{policy.id}-{digest[:12]}"
