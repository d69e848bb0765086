"""What moderation hands to people: a verdict that it does not settle itself."""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock.services.moderation.policy import Decision


class Referral(msgspec.Struct, frozen=True, kw_only=True):
    """One item for human review."""

    verdict_id: str
    owner: str
    key_id: str | None
    user_id: str | None
    content_key: str
    content_hash: str  # SHA-256 of what was judged, hexadecimal
    text: str | None  # to find what is alike; kept as long as `retention_seconds` says
    images: tuple[bytes, ...] = ()  # PDQ hashes, empty for one that nobody could hash
    decision: Decision
    risk: float
    category: str | None  # the one whose score asks for a human, if it is a score
    reason: str
    retention_seconds: float
    sla_seconds: float
    created_at: int  # milliseconds since 1970, UTC


class Referrals(Protocol):
    """Takes what people have to look at."""

    async def refer(self, referral: Referral) -> None:
        """Put it on record; the same verdict again changes nothing. Raises StorageError."""
