from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.audit import AuditLog
from penstock.audit.log import MOST_BYTES
from penstock.clock import ManualClock
from penstock.db import Database
from penstock.errors import Conflict
from tests.plans import plan_of

MAKE_KEY = """
INSERT INTO auth_keys (id, name, owner, role, digest, prefix, created_at)
VALUES (?, 'name', 'owner', 'viewer', 'digest', 'psk_', 0)
"""


async def test_an_entry_is_there_with_its_change(audit: AuditLog, database: Database) -> None:
    entry = audit.entry("key_1", "key.made", "key_2", {"role": "viewer"})

    await database.write((MAKE_KEY, ("key_2",)), entry)

    [found] = await audit.page()
    assert (found.actor, found.action, found.subject) == ("key_1", "key.made", "key_2")
    assert json.loads(found.detail) == {"role": "viewer"}


async def test_an_entry_is_not_there_without_its_change(
    audit: AuditLog, database: Database
) -> None:
    change = (MAKE_KEY, ("key_2",))
    await database.write(change)

    with pytest.raises(Conflict):
        await database.write(audit.entry("key_1", "key.made", "key_2"), change)

    assert await audit.page() == []


async def test_an_entry_can_depend_on_whether_anything_changed(
    audit: AuditLog, database: Database
) -> None:
    revoke = "UPDATE auth_keys SET revoked_at = 1 WHERE id = 'key_2' AND revoked_at IS NULL"
    entry = audit.entry("key_1", "key.revoked", "key_2", if_changed=True)
    await database.write((MAKE_KEY, ("key_2",)))

    assert await database.write(revoke, entry) == 2
    assert await database.write(revoke, entry) == 0

    assert len(await audit.page()) == 1


async def test_entries_say_when_they_were_made(audit: AuditLog, clock: ManualClock) -> None:
    await audit.record("cli", "list.emptied", "list_1")
    clock.advance(2.5)
    await audit.record("cli", "list.emptied", "list_1")

    later, earlier = await audit.page()

    assert later.at - earlier.at == 2500


async def test_numbers_ascend_whoever_writes_beside_whom(audit: AuditLog) -> None:
    await asyncio.gather(*(audit.record("key_1", "case.decided", f"case_{n}") for n in range(50)))

    numbers = [entry.number for entry in await audit.page(limit=100)]

    assert numbers == list(range(50, 0, -1))


async def test_pages_go_on_where_the_one_before_ended(audit: AuditLog) -> None:
    for n in range(5):
        await audit.record("key_1", "case.decided", f"case_{n}")

    first = await audit.page(limit=3)
    await audit.record("key_1", "case.decided", "case_late")
    second = await audit.page(limit=3, before=first[-1].number)

    assert [entry.subject for entry in first + second] == [f"case_{n}" for n in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("wanted", "subjects"),
    [
        ({"subject": "b"}, ["b", "b"]),
        ({"action": "policy.activated"}, ["b", "a"]),
        ({"actor": "cli"}, ["b"]),
        ({"actor": "cli", "action": "policy.activated"}, []),
        ({"subject": "' OR 1=1 --"}, []),
    ],
)
async def test_entries_are_found_by_subject_action_and_actor(
    audit: AuditLog, wanted: dict[str, Any], subjects: list[str]
) -> None:
    await audit.record("key_1", "policy.activated", "a")
    await audit.record("key_1", "policy.activated", "b")
    await audit.record("cli", "policy.assigned", "b")

    found = await audit.page(**wanted)

    assert [entry.subject for entry in found] == subjects


@pytest.mark.parametrize("filter", ["subject", "action", "actor"])
async def test_every_filter_has_an_index(database: Database, filter: str) -> None:
    sql = f"SELECT * FROM audit_entries WHERE number < 9 AND {filter} = 'x' ORDER BY number DESC"

    plan = await plan_of(database, sql)

    assert f"ix_audit_entries_{filter}_number" in plan
    assert "sort" not in plan.lower()
    assert "temp b-tree" not in plan.lower()


@pytest.mark.parametrize(
    "sql", ["UPDATE audit_entries SET actor = 'nobody'", "DELETE FROM audit_entries"]
)
async def test_the_database_itself_refuses_to_change_entries(
    audit: AuditLog, database: Database, sql: str
) -> None:
    await audit.record("key_1", "policy.activated", "a")

    with pytest.raises(Conflict, match="append-only"):
        await database.write(sql)

    assert [entry.actor for entry in await audit.page()] == ["key_1"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(detail=st.dictionaries(st.text(), ANYTHING))
def test_any_detail_becomes_a_bounded_json_object(detail: dict[str, Any]) -> None:
    data = _detail(detail)

    assert isinstance(json.loads(data), dict)
    assert len(data) <= MOST_BYTES


@pytest.mark.parametrize(
    "detail",
    [
        {"note": "long " * 10_000},
        {"note": "\ud800"},
        {"\ud800": 1},
        {f"key {n}": "x" * 400 for n in range(1000)},
        {"ids": [f"entry_{n}" for n in range(100_000)]},
        {"names": {"b", "a"}, "raw": b"\xff" * 100, "deep": [[[[[[1]]]]]]},
    ],
)
def test_what_is_too_much_to_tell_is_cut(detail: dict[str, Any]) -> None:
    data = _detail(detail)

    assert isinstance(json.loads(data), dict)
    assert len(data) <= MOST_BYTES


def test_what_was_cut_says_so() -> None:
    told = json.loads(_detail({"ids": list(range(60)), "note": "x" * 1000}))

    assert told["ids"][-1] == "and 10 more"
    assert told["note"].endswith("x…")


def _detail(detail: dict[str, Any]) -> bytes:
    audit = AuditLog(None, clock=ManualClock())  # type: ignore[arg-type]
    _, params = audit.entry("key_1", "list.imported", "list_1", detail)
    assert isinstance(params, tuple)
    return bytes(params[-1])
