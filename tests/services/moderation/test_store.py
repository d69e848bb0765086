from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.db import Database, open_database
from penstock.errors import StorageUnavailable
from penstock.hub import LocalHub
from penstock.observe.metrics import Metrics
from penstock.services.moderation import store as module
from penstock.services.moderation.store import StoredVerdict, VerdictStore, _verdict
from tests.databases import DATABASES
from tests.services.conftest import open_empty


def verdict(id: str = "mod_1", **changes: Any) -> StoredVerdict:
    made = StoredVerdict(
        id=id,
        owner="team",
        content_hash="0" * 64,
        content_key="moderation:k",
        score_key="s",
        policy_version="1",
        decision="approved",
        flagged=False,
        reason="no category beyond its threshold",
        risk=0.03,
        record=b"\x80",
        excerpt_share=1.0,
        word_count=2,
        content=None,
        user_id=None,
        created_at=1_700_000_000_000,
    )
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(params=DATABASES)
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, metrics: Metrics
) -> AsyncIterator[Database]:
    async with open_empty(request.param, request, tmp_path, metrics=metrics) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> VerdictStore:
    return VerdictStore(database)


async def test_a_saved_verdict_is_found_whole(store: VerdictStore) -> None:
    saved = verdict(flagged=True, user_id="u1", content="kept on request")

    assert await store.save(saved) is True

    found = await store.find("mod_1")
    assert found == saved
    assert found is not None
    assert found.flagged is True


async def test_a_verdict_is_found_by_its_owner_alone(store: VerdictStore) -> None:
    """O-14: knowing an id is not enough."""
    await store.save(verdict(owner="team"))

    assert await store.find("mod_1", owner="team") is not None
    assert await store.find("mod_1", owner="others") is None
    assert await store.find("mod_2") is None


async def test_a_verdict_is_written_once(store: VerdictStore, database: Database) -> None:
    await store.save(verdict(risk=0.03))

    fresh = VerdictStore(database)
    assert await fresh.save(verdict(risk=0.99)) is False

    found = await store.find("mod_1")
    assert found is not None
    assert found.risk == 0.03


async def test_a_repetition_neither_writes_nor_reads(
    store: VerdictStore, database: Database, metrics: Metrics
) -> None:
    await store.save(verdict())
    assert store.knows("mod_1")
    await database.aclose()

    assert await store.save(verdict()) is False
    assert metrics.total("penstock_db_writes_total") == 1


async def test_a_verdict_that_could_not_be_written_is_not_known(tmp_path: Path) -> None:
    database = open_database(folder=tmp_path, patience=0.05)
    store = VerdictStore(database)
    with closing(sqlite3.connect(tmp_path / "penstock.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable):
            await store.save(verdict())

    assert not store.knows("mod_1")
    assert await store.save(verdict()) is True
    await database.aclose()


async def test_the_same_verdict_from_many_callers_is_one_row(store: VerdictStore) -> None:
    written = await asyncio.gather(*(store.save(verdict()) for _ in range(50)))

    assert sum(written) == 1
    assert await store.count() == 1


async def test_known_ids_are_bounded_and_the_oldest_go(
    store: VerdictStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KNOWN_IDS", 100)

    for number in range(150):
        await store.save(verdict(f"mod_{number}"))

    assert len(store._known) == 100
    assert not store.knows("mod_0")
    assert store.knows("mod_149")
    assert await store.save(verdict("mod_0")) is False


async def test_recent_verdicts_come_in_pages_newest_first(store: VerdictStore) -> None:
    for number in range(7):
        owner = "odd" if number % 2 else "even"
        await store.save(verdict(f"mod_{number}", owner=owner, created_at=1000 + number // 2))

    pages = [await store.recent(limit=3)]
    while pages[-1]:
        last = pages[-1][-1]
        pages.append(await store.recent(after=(last.created_at, last.id), limit=3))

    ids = [found.id for page in pages for found in page]
    assert ids == [f"mod_{number}" for number in range(6, -1, -1)]
    assert [found.id for found in await store.recent(owner="odd")] == ["mod_5", "mod_3", "mod_1"]
    assert await store.recent(after=(1 << 64, "x"), limit=1) == pages[0][:1]
    assert await store.count(owner="odd") == 3


async def test_old_verdicts_are_purged_and_may_come_again(
    store: VerdictStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DELETED_AT_ONCE", 2)
    for number in range(5):
        await store.save(verdict(f"mod_{number}", created_at=number))

    assert await store.purge(before=3) == 3

    assert [found.id for found in await store.recent()] == ["mod_4", "mod_3"]
    assert await store.save(verdict("mod_0")) is True


async def test_a_users_verdicts_are_erased(store: VerdictStore) -> None:
    await store.save(verdict("mod_1", user_id="u1"))
    await store.save(verdict("mod_2", user_id="u2"))
    await store.save(verdict("mod_3"))

    assert await store.erase("u1") == 1

    assert await store.find("mod_1") is None
    assert await store.count() == 2


async def test_an_erased_verdict_is_forgotten_by_other_processes(
    database: Database, tmp_path: Path
) -> None:
    one = VerdictStore(database, hub=LocalHub(tmp_path))
    two = VerdictStore(database, hub=LocalHub(tmp_path))
    await one.save(verdict(user_id="u1"))
    await two.save(verdict(user_id="u1"))
    assert two.knows("mod_1")

    await one.erase("u1")

    assert not two.knows("mod_1")
    assert await two.save(verdict()) is True


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_queries_by_key_owner_time_and_user_use_an_index(database: Database) -> None:
    for sql in (module._FIND, module._RECENT, module._RECENT_OWNED, module._PURGE, module._ERASE):
        plan = await database.rows(f"EXPLAIN QUERY PLAN {sql}", (0,) * sql.count("?"))
        steps = [step for *_, step in plan]
        assert not [step for step in steps if step.startswith("SCAN") or "TEMP" in step]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_the_text_is_on_disk_only_when_asked_for(store: VerdictStore, tmp_path: Path) -> None:
    """F-87: the store adds nothing to what it is given."""
    await store.save(verdict())

    row = await store.find("mod_1")

    assert row is not None
    assert row.content is None
    assert StoredVerdict.__struct_fields__ == _columns(tmp_path / "penstock.db")


def _columns(path: Path) -> tuple[str, ...]:
    with closing(sqlite3.connect(path)) as raw:
        return tuple(row[1] for row in raw.execute("PRAGMA table_info(moderation_verdicts)"))


@given(flagged=st.booleans(), number=st.integers(0, 100), text=st.none() | st.text())
def test_a_row_reads_back_as_the_verdict(flagged: bool, number: int, text: str | None) -> None:
    kept = verdict(flagged=flagged, word_count=number, content=text)
    row = tuple(
        int(value) if isinstance(value, bool) else value for value in msgspec.structs.astuple(kept)
    )

    assert _verdict(row) == kept
