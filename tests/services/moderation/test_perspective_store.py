from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.audit import AuditLog
from penstock.clock import ManualClock
from penstock.db import Database
from penstock.services.moderation import perspective_store as module
from penstock.services.moderation.calibration import Curve, Fit
from penstock.services.moderation.perspective_store import (
    PerspectiveStore,
    StoredCurve,
    Suggestion,
)
from tests.databases import DATABASES
from tests.services.conftest import open_empty


@pytest.fixture(params=DATABASES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_empty(request.param, request, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> PerspectiveStore:
    return PerspectiveStore(database)


def curve(attribute: str, version: str = "m1", *, end: float = 0.9) -> StoredCurve:
    fit = Fit(200, 0.05, 0.2, 0.8, ())
    return StoredCurve(attribute, version, Curve((0.0, 1.0), (0.1, end), fit), 1_700_000_000_000)


def suggestion(number: int, **changes: Any) -> Suggestion:
    made = Suggestion(
        owner="team",
        key_id="key_1",
        content_hash=f"{number:064x}",
        content=None,
        scores={"TOXICITY": 0.5},
        model_version="m1",
        community="",
        created_at=1_700_000_000_000 + number,
    )
    return msgspec.structs.replace(made, **changes)


async def test_curves_are_read_as_they_were_saved_by_model_and_attribute(
    store: PerspectiveStore,
) -> None:
    saved = [curve("TOXICITY"), curve("INSULT"), curve("INSULT", "m0")]

    await store.save(saved)

    assert await store.curves() == [saved[2], saved[1], saved[0]]


async def test_a_curve_replaces_the_one_for_the_same(store: PerspectiveStore) -> None:
    await store.save([curve("TOXICITY")])

    await store.save([curve("TOXICITY", end=0.7)])

    assert await store.curves() == [curve("TOXICITY", end=0.7)]


async def test_what_is_forgotten_is_on_the_audit_log_with_it(
    store: PerspectiveStore, database: Database
) -> None:
    audit = AuditLog(database, clock=ManualClock())
    await store.save([curve("TOXICITY"), curve("INSULT")])

    await store.forget([curve("TOXICITY")], audit.entry("a", "perspective.uncalibrated", "", {}))

    assert await store.curves() == [curve("INSULT")]
    assert [entry.action for entry in await audit.page()] == ["perspective.uncalibrated"]


async def test_suggestions_come_in_pages_newest_first(store: PerspectiveStore) -> None:
    for number in range(5):
        await store.suggest(suggestion(number, content="kept on request" if number else None))

    first = await store.suggestions(limit=3)
    rest = await store.suggestions(before=first[-1][0], limit=3)

    assert [each.content_hash for _, each in first + rest] == [
        suggestion(number).content_hash for number in (4, 3, 2, 1, 0)
    ]
    assert first[0][1] == suggestion(4, content="kept on request")
    assert not await store.suggestions(before=rest[-1][0])


async def test_suggestions_are_bounded_and_the_oldest_leave(
    store: PerspectiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SUGGESTIONS", 3)

    for number in range(6):
        await store.suggest(suggestion(number))

    kept = [each.content_hash for _, each in await store.suggestions()]
    assert kept == [suggestion(number).content_hash for number in (5, 4, 3)]
