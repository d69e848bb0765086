from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.audit import AuditLog
from penstock.clock import ManualClock
from penstock.db import Database
from penstock.errors import StorageFull
from penstock.observe.metrics import Metrics
from penstock.services.review import ReviewService
from penstock.services.review.schemas import Decision, Reviewer, VerdictFacts
from penstock.services.review.store import ReviewStore
from tests.databases import DATABASES
from tests.services.conftest import open_empty

ADMIN = Reviewer("key_admin")
ANNA = Reviewer("key_anna", "team")
BEN = Reviewer("key_ben", "team")
STRANGER = Reviewer("key_stranger", "elsewhere")


class Referral(msgspec.Struct, frozen=True, kw_only=True):
    """As moderation makes them."""

    verdict_id: str
    owner: str = "team"
    key_id: str | None = "key_app"
    user_id: str | None = None
    content_key: str
    content_hash: str
    text: str | None
    images: tuple[bytes, ...] = ()
    decision: str = "review"
    risk: float = 0.5
    category: str | None = "harassment"
    reason: str = "harassment beyond the review threshold"
    retention_seconds: float = 0.0
    sla_seconds: float = 3600.0
    created_at: int = 1_700_000_000_000


class Lists:
    """Remembers what it was told; fails while there is no space."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Decision, tuple[str, ...]]] = []
        self.full = False

    async def decide(
        self, content_hash: str, *, decision: Decision, key_ids: Sequence[str], **_: str
    ) -> None:
        if self.full:
            raise StorageFull("no space is left; free some")
        self.told.append((content_hash, decision, tuple(key_ids)))


class Cached:
    """Remembers what was to be forgotten."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    async def forget(self, content_key: str) -> None:
        self.forgotten.append(content_key)


class Verdicts:
    """Verdicts on record."""

    def __init__(self) -> None:
        self.known: dict[str, VerdictFacts] = {}

    def add(self, id: str, text: str, *, decision: str = "rejected", **changes: Any) -> str:
        facts: dict[str, Any] = {
            "owner": "team",
            "key_id": "key_app",
            "user_id": None,
            "risk": 0.9,
            "category": "hate",
            "reason": "hate beyond the reject threshold",
        }
        self.known[id] = VerdictFacts(
            id=id,
            content_key=f"moderation:{digest(text)[:8]}",
            content_hash=digest(text),
            decision=decision,
            **{**facts, **changes},
        )
        return id

    async def find(self, verdict_id: str, *, owner: str | None = None) -> VerdictFacts | None:
        found = self.known.get(verdict_id)
        return found if found and owner in (None, found.owner) else None


class Desk:
    """A review service and what stands around it."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database, self.clock = database, clock
        self.lists, self.cached, self.verdicts = Lists(), Cached(), Verdicts()
        self.metrics = Metrics()
        self.events: list[tuple[str, str, str, Any]] = []
        self.audit = AuditLog(database, clock=clock)
        self.store = ReviewStore(database)
        self.service = self.another()

    def another(self) -> ReviewService:
        """The service of a second process."""
        return ReviewService(
            store=ReviewStore(self.database),
            decisions=self.lists,
            forget=self.cached,
            verdicts=self.verdicts,
            audit=self.audit,
            clock=self.clock,
            metrics=self.metrics,
            emit=lambda *event: self.events.append(event),
        )

    @property
    def now(self) -> int:
        return int(self.clock.now() * 1000)

    async def refer(self, content: str, id: str | None = None, **changes: Any) -> str:
        """Refer a text; the id of its case."""
        referral = refers(content, id, **{"created_at": self.now, **changes})
        await self.service.refer(referral)
        case = await self.store.finding.live(referral.verdict_id)
        assert case is not None
        return case.id

    async def contents(self, case_id: str) -> list[str | None]:
        """The words that are kept of what a case decides on."""
        file = await self.service.open_file(case_id, who=ADMIN)
        return [content.content for content in file.contents]

    async def actions(self, case_id: str) -> list[str]:
        """What the audit log has on a case, oldest first."""
        return [entry.action for entry in await self.audit.page(subject=case_id)][::-1]


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def refers(content: str, id: str | None = None, **changes: Any) -> Referral:
    made = Referral(
        verdict_id=id or f"mod_{digest(content)[:16]}",
        content_key=f"moderation:{digest(content)[:8]}",
        content_hash=digest(content),
        text=content,
    )
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=DATABASES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_empty(request.param, request, tmp_path) as opened:
        yield opened


@pytest.fixture
def desk(database: Database, clock: ManualClock) -> Desk:
    return Desk(database, clock)


Count = Callable[[str], Awaitable[int]]


@pytest.fixture
def rows(database: Database) -> Count:
    """How many rows a table of review has."""

    async def count(table: str) -> int:
        found = await database.row(f"SELECT count(*) FROM review_{table}")
        assert found is not None
        return int(found[0])

    return count
