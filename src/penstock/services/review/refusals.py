"""Why something may not be: what is said to who tries."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from penstock.errors import Conflict, Forbidden, InvalidInput, RequestError
from penstock.services.review.schemas import Case, Reviewer
from penstock.services.review.store import Asked

CLAIM_SECONDS: Final = 1800.0  # that a claim holds others off without a sign of life


def check_same(text: str | None, content_hash: str) -> None:
    """Refuse a text that is not the one that was judged."""
    if text is None or sha256(text.encode("utf-8", "replace")).hexdigest() == content_hash:
        return
    told = "is not the text that the verdict is about; send it exactly as it was judged, or leave "
    raise InvalidInput(
        "the text of the appeal is not what was judged",
        errors=[{"pointer": "/text", "detail": f"{told}it out"}],
    )


def refusal(case: Case, asked: Asked, *, who: Reviewer, stale: int) -> RequestError:
    """Why somebody may not do something with a case as it is.

    A claim from before `stale` holds nobody off.
    """
    if case.decided_at is not None:
        return Conflict(f"{case.id} was decided by {case.decided_by}: {case.decision}")
    if asked.action == "released":
        return Conflict(f"{case.id} is not claimed by {who.id}")
    is_free = case.assignee in (None, who.id) or (case.claimed_at or 0) <= stale
    if case.state == "escalated" and not who.is_admin:
        return Forbidden(f"{case.id} was escalated: an admin decides it")
    if asked.decision == "approved" and is_free and case.contents > 1:
        return _ungrouped(case, asked)
    if case.state == "escalated":
        return Conflict(f"{case.id} is escalated already, or another admin works on it")
    minutes = round(CLAIM_SECONDS / 60)
    return Conflict(
        f"{case.id} is claimed by {case.assignee}; it can be taken over {minutes} minutes after "
        "the last sign of life"
    )


def _ungrouped(case: Case, asked: Asked) -> Conflict:
    """To approve what differs: nobody has said yet that all of it was looked at."""
    told = f"{case.id} holds {case.contents} distinct contents, and approving stands for all"
    look = f"look at each (`contents` in GET /v1/cases/{case.id})"
    if asked.group:
        return Conflict(f"{told}: claim it, so that nothing else joins them, and {look}")
    return Conflict(f"{told}: claim it, {look} and decide with `group`: true; or reject it")
