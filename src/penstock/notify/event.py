"""What happened, as it is told to others.

An event carries ids, numbers and names, never a user's text: whoever is told may look it up with a
key of their own.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from penstock.clock import Clock
from penstock.errors import InvalidInput

TYPES: Final = (
    "verdict.review",
    "verdict.rejected",
    "case.opened",
    "case.decided",
    "case.escalated",
    "appeal.decided",
    "policy.activated",
    "alert.raised",
)
TEST: Final = "webhook.test"  # sent to one webhook on demand; nobody subscribes to it


class Event(msgspec.Struct, frozen=True):
    """One thing that happened. The id is new for every event."""

    id: str
    at: int  # milliseconds since 1970, UTC
    type: str
    subject: str  # id of what it happened to
    owner: str | None  # whose; None: the installation's own
    data: dict[str, Any]


def new_event(
    type: str, *, subject: str, owner: str | None, data: Mapping[str, Any], clock: Clock
) -> Event:
    """An event of now. `data` must be JSON, and is not to be changed afterwards."""
    at = int(clock.now() * 1000)
    return Event(f"evt_{secrets.token_hex(8)}", at, type, subject, owner, dict(data))


def payload(event: Event) -> bytes:
    """What is posted; the same bytes on every attempt."""
    at = datetime.fromtimestamp(event.at / 1000, UTC)
    told = {
        "id": event.id,
        "type": event.type,
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "subject": event.subject,
        "owner": event.owner,
        "data": event.data,
    }
    return msgspec.json.encode(told)


def meant(pattern: str) -> frozenset[str]:
    """The types that a pattern means: a type, `verdict.*`, or `*` for all; none for no such."""
    if pattern == "*":
        return frozenset(TYPES)
    if pattern.endswith(".*"):
        return frozenset(type for type in TYPES if type.startswith(pattern[:-1]))
    return frozenset({pattern} & set(TYPES))


def check_patterns(patterns: Iterable[str]) -> None:
    """Raise InvalidInput for a pattern that means nothing."""
    wrong = [(number, pattern) for number, pattern in enumerate(patterns) if not meant(pattern)]
    if wrong:
        raise InvalidInput(
            f"no event is called {wrong[0][1][:80]!r}; known: {', '.join(TYPES)}, and with a star "
            "at the end: verdict.*, case.*, *",
            errors=[
                {"pointer": f"/events/{number}", "detail": "is no type of event"}
                for number, _ in wrong
            ],
        )
