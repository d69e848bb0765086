"""Why something may not be: what is said to who tries."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from penstock.errors import Conflict, Forbidden, InvalidInput, RequestError
from penstock.services.review.schemas import Case, Reviewer

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


def refusal(case: Case, action: str, *, who: Reviewer) -> RequestError:
    """Why somebody may not do something with a case as it is."""
    if case.decided_at is not None:
        return Conflict(f"{case.id} was decided by {case.decided_by}: {case.decision}")
    if action == "released":
        return Conflict(f"{case.id} is not claimed by {who.id}")
    if case.state == "escalated":
        if who.is_admin:
            return Conflict(f"{case.id} is escalated already, or another admin works on it")
        return Forbidden(f"{case.id} was escalated: an admin decides it")
    minutes = round(CLAIM_SECONDS / 60)
    return Conflict(
        f"{case.id} is claimed by {case.assignee}; it can be taken over {minutes} minutes after "
        "the last sign of life"
    )
