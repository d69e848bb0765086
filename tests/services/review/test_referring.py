from __future__ import annotations

import asyncio
import math
import re
from typing import Any

import pytest

from penstock.db import Database
from penstock.db.tables import metadata
from penstock.errors import StorageError
from penstock.services.review import finding_store, store
from penstock.services.review.schemas import Filter, Reviewer
from penstock.services.review.store import MOST_CONTENTS, MOST_ITEMS, ReviewStore
from penstock.services.review.views import file_view
from tests.services.review.conftest import ADMIN, ANNA, STRANGER, Count, Desk, digest, refers
from tests.services.review.test_similar import ADVERT

OTHER = ADVERT.replace("handbags", "jewellery")


async def test_a_referral_opens_a_case(desk: Desk) -> None:
    case_id = await desk.refer("you are an idiot", risk=0.4, sla_seconds=60.0)

    case = (await desk.service.open_file(case_id, who=ANNA)).case
    assert (case.state, case.kind, case.items, case.risk) == ("open", "review", 1, 0.4)
    assert case.due_at == desk.now + 60_000
    assert desk.events == [
        (
            "case.opened",
            case_id,
            "team",
            {"kind": "review", "risk": 0.4, "category": "harassment"},
        )
    ]


async def test_the_same_verdict_again_changes_nothing(desk: Desk, rows: Count) -> None:
    first = await desk.refer("you are an idiot")

    second = await desk.refer("you are an idiot")

    assert second == first
    assert (await rows("cases"), await rows("items"), await rows("events")) == (1, 1, 1)


async def test_a_referral_is_one_commit(desk: Desk) -> None:
    written = 0

    async def write(*statements: object, serial: bool | None = None) -> int:
        nonlocal written
        written += 1
        return await original(*statements, serial=serial)

    original, desk.database.write = desk.database.write, write  # type: ignore[method-assign]

    await desk.service.refer(refers(ADVERT))

    assert written == 1


async def test_no_content_is_kept_by_default(desk: Desk, database: Database) -> None:
    await desk.refer(ADVERT)
    await desk.refer("a short secret")

    tables = [name for name in metadata.tables if name.startswith("review_")]
    kept = [
        row
        for table in tables
        for row in await database.rows(f"SELECT * FROM {table}")
        if "secret" in repr(row) or "wonderful" in repr(row)
    ]
    assert tables
    assert not kept


async def test_content_is_kept_as_long_as_the_policy_says(desk: Desk) -> None:
    case_id = await desk.refer("you are an idiot", retention_seconds=100.0)

    desk.clock.advance(99)
    before = await desk.service.purge_content(desk.now)
    kept = await desk.contents(case_id)
    desk.clock.advance(1)
    after = await desk.service.purge_content(desk.now)

    assert (before, kept, after) == (0, ["you are an idiot"], 1)
    assert await desk.contents(case_id) == [None]


async def test_near_duplicates_share_a_live_case(desk: Desk) -> None:
    first = await desk.refer(ADVERT, risk=0.3)

    second = await desk.refer(OTHER, risk=0.6, category="spam")

    file = await desk.service.open_file(first, who=ANNA)
    assert second == first
    assert (file.case.items, file.case.risk, file.case.category) == (2, 0.6, "spam")
    assert [item.content_hash for item in file.items] == [digest(ADVERT), digest(OTHER)]


async def test_a_case_shows_each_content_that_it_decides_on(desk: Desk) -> None:
    desk.verdicts.add("mod_1", ADVERT)
    case_id = await desk.refer(ADVERT, "mod_1", risk=0.3, retention_seconds=1e6)
    await desk.refer(OTHER, "mod_2", risk=0.6, category="spam", retention_seconds=1e6)
    await desk.refer(OTHER, "mod_3", risk=0.2)

    file = await desk.service.open_file(case_id, who=ANNA)

    assert file.case.contents == 2
    assert [(c.content, c.content_hash, c.items, c.risk, c.category) for c in file.contents] == [
        (ADVERT, digest(ADVERT), 1, 0.3, "harassment"),
        (OTHER, digest(OTHER), 2, 0.6, "spam"),
    ]
    assert [c.verdict and c.verdict.id for c in file.contents] == ["mod_1", None]


async def test_a_case_holds_no_more_contents_than_can_be_looked_at(
    desk: Desk, database: Database
) -> None:
    case_id = await desk.refer(ADVERT)
    await database.write(("UPDATE review_cases SET contents = ?", (MOST_CONTENTS,)))

    assert await desk.refer(OTHER) != case_id
    assert await desk.refer(ADVERT, "mod_again") == case_id


async def test_content_that_was_kept_is_told_from_content_that_never_was(desk: Desk) -> None:
    kept = await desk.refer("you are an idiot", "mod_1", retention_seconds=100.0)
    never = await desk.refer("you are a fool", "mod_2")
    desk.clock.advance(100)
    await desk.service.purge_content(desk.now)
    await desk.refer("you are an idiot", "mod_3")

    files = [await desk.service.open_file(case, who=ANNA) for case in (kept, never)]

    notes = [
        file_view(file, now=desk.now, open_content=True).contents[0].content_note for file in files
    ]
    assert [note and note.partition(";")[0] for note in notes] == [
        "content is not kept any longer",
        "content is not kept: its policy has review.retention_seconds 0, or it has no text",
    ]


async def test_a_sentence_that_is_added_has_a_case_of_its_own(desk: Desk) -> None:
    first = await desk.refer(ADVERT)

    second = await desk.refer(f"{ADVERT}. I will kill you and your family tomorrow")

    assert second != first


async def test_near_duplicate_images_share_a_live_case(desk: Desk) -> None:
    first = await desk.refer("", "mod_1", text=None, content_hash="a" * 64, images=(bytes(32),))

    second = await desk.refer(
        "", "mod_2", text=None, content_hash="b" * 64, images=(b"\x0f" + bytes(31),)
    )

    assert second == first


async def test_short_texts_that_differ_in_a_word_have_cases_of_their_own(desk: Desk) -> None:
    first = await desk.refer("I will see you tomorrow")

    assert await desk.refer("I will kill you tomorrow") != first


async def test_the_same_content_shares_a_case_also_without_its_text(desk: Desk) -> None:
    first = await desk.refer("x", "mod_1", text=None)

    assert await desk.refer("x", "mod_2", text=None, key_id="key_other") == first


async def test_what_comes_after_a_decision_opens_a_case_that_names_it(desk: Desk) -> None:
    first = await desk.refer(ADVERT)
    await desk.service.decide(first, "rejected", who=ANNA)

    second = await desk.refer(OTHER)

    case = (await desk.service.open_file(second, who=ANNA)).case
    assert second != first
    assert (case.state, case.decision, case.similar_to) == ("open", None, first)


async def test_referrals_at_once_in_two_processes_share_a_case(desk: Desk, rows: Count) -> None:
    services = [desk.service, desk.another()]

    await asyncio.gather(
        *(services[n % 2].refer(refers(f"{ADVERT} {n}", f"mod_{n}")) for n in range(40))
    )

    assert (await rows("cases"), await rows("items")) == (1, 40)
    (case,) = (await desk.service.page(Filter(), who=ADMIN)).cases
    assert case.items == 40


async def test_the_same_referral_at_once_is_put_on_record_once(desk: Desk, rows: Count) -> None:
    services = [desk.service, desk.another()]

    await asyncio.gather(*(services[n % 2].refer(refers(ADVERT)) for n in range(20)))

    assert (await rows("cases"), await rows("items")) == (1, 1)


@pytest.mark.parametrize("text", [ADVERT, OTHER, "you are an idiot"])
async def test_owners_share_no_case_and_learn_nothing_of_one_another(desk: Desk, text: str) -> None:
    case_id = await desk.refer(ADVERT)
    decided = await desk.refer("you are an idiot")
    await desk.service.decide(decided, "rejected", who=ANNA)
    before = await desk.service.open_file(case_id, who=ANNA)

    other = await desk.refer(text, "mod_other", owner="elsewhere")

    theirs = (await desk.service.open_file(other, who=STRANGER)).case
    assert await desk.service.open_file(case_id, who=ANNA) == before
    assert (theirs.owner, theirs.items, theirs.similar_to) == ("elsewhere", 1, None)
    for who, seen in ((ADMIN, 2), (ANNA, 1), (STRANGER, 1)):
        assert len((await desk.service.page(Filter(), who=who)).cases) == seen


async def test_a_claimed_case_takes_only_more_of_what_it_holds(desk: Desk) -> None:
    case_id = await desk.refer(ADVERT)
    await desk.service.claim(case_id, who=ANNA)

    other = await desk.refer(OTHER)
    same = await desk.refer(ADVERT, "mod_again")

    assert (other != case_id, same == case_id) == (True, True)


async def test_a_claim_made_while_something_is_placed_keeps_it_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = await desk.refer(ADVERT)
    joined: list[bool] = []

    async def join(store: ReviewStore, *given: Any, **named: Any) -> bool:
        await desk.service.claim(case_id, who=ANNA)
        joined.append(await original(store, *given, **named))
        return joined[-1]

    original = ReviewStore.join
    monkeypatch.setattr(ReviewStore, "join", join)

    await desk.refer(OTHER)

    assert joined == [False]
    case = (await desk.service.open_file(case_id, who=ANNA)).case
    assert (case.assignee, case.contents) == ("key_anna", 1)


async def test_a_full_case_leaves_what_comes_to_another(desk: Desk, database: Database) -> None:
    case_id = await desk.refer(ADVERT)
    await database.write(("UPDATE review_cases SET items = ?", (MOST_ITEMS,)))

    other = await desk.refer(OTHER)

    assert other != case_id
    assert await desk.refer(ADVERT, "mod_again") == other


async def test_a_referral_that_cannot_be_kept_says_so(desk: Desk, database: Database) -> None:
    await database.aclose()

    with pytest.raises(StorageError):
        await desk.service.refer(refers("you are an idiot"))


async def test_content_may_be_kept_without_end(desk: Desk) -> None:
    case_id = await desk.refer("you are an idiot", retention_seconds=math.inf)

    assert await desk.contents(case_id) == ["you are an idiot"]


async def test_erasing_a_user_removes_what_is_about_them(desk: Desk, rows: Count) -> None:
    shared = await desk.refer(ADVERT, user_id="u1", retention_seconds=1e6)
    await desk.refer(OTHER, user_id="u2")
    await desk.refer("only u1 said this", user_id="u1")

    removed = await desk.service.erase("u1")

    case = (await desk.service.open_file(shared, who=ADMIN)).case
    assert (removed, await rows("cases"), await rows("items"), await rows("contents")) == (
        2,
        1,
        1,
        1,
    )
    assert (case.items, case.contents, await desk.contents(shared)) == (1, 1, [None])
    assert not await desk.service.erase("u1")


async def test_what_a_user_said_is_erased_also_where_others_said_the_same(desk: Desk) -> None:
    case_id = await desk.refer(ADVERT, "mod_1", user_id="u1", retention_seconds=1e6)
    await desk.refer(ADVERT, "mod_2", user_id="u2")
    await desk.refer(OTHER, user_id="u2", retention_seconds=1e6)

    await desk.service.erase("u1")

    assert await desk.contents(case_id) == [None, OTHER]


async def test_purging_removes_decided_cases_and_leaves_live_ones(desk: Desk, rows: Count) -> None:
    old = await desk.refer(ADVERT)
    await desk.service.decide(old, "approved", who=ANNA)
    await desk.refer("still open")
    desk.clock.advance(1)

    assert await desk.service.purge(desk.now) == 1

    left = [await rows(table) for table in ("cases", "items", "contents", "bands")]
    assert left == [1, 1, 1, 1]
    assert not await desk.store.find(old)


async def test_nobody_sees_the_cases_of_others(desk: Desk) -> None:
    await desk.refer("you are an idiot")

    seen = await desk.service.page(Filter(), who=Reviewer("key_x", "elsewhere"))

    assert not seen.cases


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_no_query_of_a_referral_looks_through_all_cases(
    desk: Desk, database: Database
) -> None:
    """They run on the loop and in the writer, so an index must answer each."""
    await desk.refer(ADVERT)
    statements = [
        *(desk.store._open, store._JOIN, desk.store.finding._near, finding_store._SAME),
        *(finding_store._WAITS, finding_store._LIVE),
        *(finding_store._HEARD, finding_store._APPEALS),
    ]

    plans = [
        row[3]
        for sql in statements
        for names in [set(re.findall(r":(\w+)", sql))]
        for row in await database.rows(
            f"EXPLAIN QUERY PLAN {sql}",
            dict.fromkeys(names, "[1]") if names else ("[1]",) * sql.count("?"),
        )
    ]

    assert any("review_bands" in plan or plan.startswith("SEARCH b") for plan in plans)
    assert not [plan for plan in plans if re.match(r"SCAN (c|i|b|review_\w+)\b", plan)]
