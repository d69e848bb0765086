"""What the machine leaves open once more: it waits for people already, or it has to again."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.db import Database
from penstock.services.review import finding_store
from tests.services.review.conftest import ANNA, Count, Desk, digest, refers
from tests.services.review.test_similar import ADVERT


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_verdict_that_waits_already_costs_one_read(desk: Desk, database: Database) -> None:
    await desk.refer(ADVERT)
    reads: list[str] = []

    async def row(sql: str, params: Any = ()) -> Any:
        reads.append(sql)
        return await original(sql, params)

    original, database.row = database.row, row  # type: ignore[method-assign]

    await desk.service.refer(refers(ADVERT))

    plan = await database.rows(f"EXPLAIN QUERY PLAN {finding_store._WAITS}", ("", "", 0))
    assert reads == [finding_store._WAITS]
    assert [row[3].split()[:2] for row in plan] == [["SEARCH", "i"], ["SEARCH", "c"]]


async def test_a_verdict_that_was_decided_is_not_left_without_a_case(desk: Desk) -> None:
    """The machine left it open once more: what people decided no longer holds."""
    first = await desk.refer("you are an idiot")
    await desk.service.decide(first, "rejected", who=ANNA)

    second = await desk.refer("you are an idiot")

    case = (await desk.service.open_file(second, who=ANNA)).case
    assert (second != first, case.state, case.similar_to) == (True, "open", first)


async def test_the_same_verdict_for_another_key_is_decided_with_it(desk: Desk) -> None:
    case_id = await desk.refer("you are an idiot", key_id="key_app")
    other = await desk.refer("you are an idiot", key_id="key_other")

    await desk.service.decide(case_id, "rejected", who=ANNA)

    assert other == case_id
    assert desk.lists.told == [(digest("you are an idiot"), "rejected", ("key_app", "key_other"))]
    assert len(desk.events[-1][3]["verdicts"]) == 1


async def test_the_same_verdict_for_another_key_after_the_decision_has_a_case(desk: Desk) -> None:
    first = await desk.refer("you are an idiot", key_id="key_app")
    await desk.service.decide(first, "rejected", who=ANNA)

    second = await desk.refer("you are an idiot", key_id="key_other")

    assert second != first


async def test_a_verdict_has_a_case_again_after_its_case_was_purged(desk: Desk) -> None:
    first = await desk.refer(ADVERT)
    await desk.service.decide(first, "rejected", who=ANNA)
    desk.clock.advance(1)
    await desk.service.purge(desk.now)

    second = await desk.refer(ADVERT)

    assert second != first
    assert (await desk.service.open_file(second, who=ANNA)).case.similar_to is None


async def test_while_a_decision_is_being_made_to_count_it_holds(desk: Desk, rows: Count) -> None:
    desk.lists.full = True
    case_id = await desk.refer("you are an idiot")
    await desk.service.decide(case_id, "rejected", who=ANNA)

    await desk.service.refer(refers("you are an idiot", created_at=desk.now))
    within = await rows("cases")
    desk.clock.advance(61)
    await desk.service.refer(refers("you are an idiot", created_at=desk.now))

    assert (within, await rows("cases")) == (1, 2)
