from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.errors import Conflict, Forbidden, NotFound
from penstock.services.review import service as module
from penstock.services.review.refusals import CLAIM_SECONDS
from penstock.services.review.schemas import Case, Filter, Reviewer
from penstock.services.review.store import ReviewStore
from tests.services.review.conftest import ADMIN, ANNA, BEN, STRANGER, Desk, digest, refers
from tests.services.review.test_referring import OTHER
from tests.services.review.test_similar import ADVERT


@pytest.fixture
async def case_id(desk: Desk) -> str:
    return await desk.refer("you are an idiot", user_id="u1")


async def test_a_case_through_claim_comment_and_decision(desk: Desk, case_id: str) -> None:
    claimed = await desk.service.claim(case_id, who=ANNA)
    await desk.service.comment(case_id, "a quarrel between friends", who=ANNA)
    desk.clock.advance(60)
    decided = await desk.service.decide(case_id, "approved", note="harmless", who=ANNA)

    assert (claimed.state, claimed.assignee) == ("claimed", "key_anna")
    assert (decided.state, decided.decision, decided.decided_by) == (
        "decided",
        "approved",
        "key_anna",
    )
    assert decided.settled_at == desk.now
    events = (await desk.service.open_file(case_id, who=ANNA)).events
    assert [(event.action, event.detail) for event in events] == [
        ("opened", ""),
        ("claimed", ""),
        ("commented", "a quarrel between friends"),
        ("decided", "harmless"),
    ]
    assert await desk.actions(case_id) == ["case.claimed", "case.commented", "case.decided"]


async def test_exact_repeats_follow_the_decision(desk: Desk, case_id: str) -> None:
    await desk.refer("you are an idiot", "mod_other", key_id="key_other")

    await desk.service.decide(case_id, "rejected", who=ANNA)

    assert desk.lists.told == [(digest("you are an idiot"), "rejected", ("key_app", "key_other"))]
    assert desk.cached.forgotten == []


async def test_who_decides_is_told_of_with_the_verdicts(desk: Desk, case_id: str) -> None:
    await desk.service.decide(case_id, "rejected", who=ANNA)

    type, subject, owner, data = desk.events[-1]
    assert (type, subject, owner) == ("case.decided", case_id, "team")
    assert (data["decision"], data["items"], len(data["verdicts"])) == ("rejected", 1, 1)


async def test_a_claimed_case_is_closed_to_others(desk: Desk, case_id: str) -> None:
    await desk.service.claim(case_id, who=ANNA)

    for act in (
        desk.service.claim(case_id, who=BEN),
        desk.service.claim(case_id, who=ADMIN),
        desk.service.decide(case_id, "approved", who=BEN),
        desk.service.escalate(case_id, "unsure", who=BEN),
        desk.service.release(case_id, who=BEN),
    ):
        with pytest.raises(Conflict, match=r"claimed by key_anna|not claimed by key_ben"):
            await act

    assert await desk.actions(case_id) == ["case.claimed"]


async def test_a_stale_claim_is_taken_over(desk: Desk, case_id: str) -> None:
    await desk.service.claim(case_id, who=ANNA)
    desk.clock.advance(CLAIM_SECONDS)

    case = await desk.service.claim(case_id, who=BEN)

    assert case.assignee == "key_ben"


async def test_a_comment_keeps_a_claim_alive(desk: Desk, case_id: str) -> None:
    await desk.service.claim(case_id, who=ANNA)
    desk.clock.advance(CLAIM_SECONDS - 1)
    await desk.service.comment(case_id, "still on it", who=ANNA)
    desk.clock.advance(CLAIM_SECONDS - 1)

    with pytest.raises(Conflict):
        await desk.service.claim(case_id, who=BEN)


async def test_a_released_case_is_open_again(desk: Desk, case_id: str) -> None:
    await desk.service.claim(case_id, who=ANNA)

    case = await desk.service.release(case_id, who=ANNA)

    assert (case.state, case.assignee) == ("open", None)


async def test_an_admin_releases_for_others(desk: Desk, case_id: str) -> None:
    await desk.service.claim(case_id, who=ANNA)

    assert (await desk.service.release(case_id, who=ADMIN)).state == "open"


async def test_an_escalated_case_is_for_admins(desk: Desk, case_id: str) -> None:
    await desk.service.escalate(case_id, "a threat?", who=ANNA)

    with pytest.raises(Forbidden, match="escalated"):
        await desk.service.decide(case_id, "approved", who=ANNA)

    claimed = await desk.service.claim(case_id, who=ADMIN)
    assert (claimed.state, claimed.assignee) == ("escalated", "key_admin")
    decided = await desk.service.decide(case_id, "rejected", who=ADMIN)
    assert decided.state == "decided"
    assert [event[0] for event in desk.events] == ["case.opened", "case.escalated", "case.decided"]


async def test_a_decision_stands(desk: Desk, case_id: str) -> None:
    await desk.service.decide(case_id, "approved", who=ANNA)

    again = await desk.service.decide(case_id, "approved", who=BEN)
    with pytest.raises(Conflict, match="decided by key_anna: approved"):
        await desk.service.decide(case_id, "rejected", who=BEN)

    assert again.decided_by == "key_anna"
    assert len(desk.lists.told) == 1


async def test_of_two_who_decide_at_once_one_does(desk: Desk, case_id: str) -> None:
    outcomes = await asyncio.gather(
        desk.service.decide(case_id, "approved", who=ANNA),
        desk.another().decide(case_id, "rejected", who=BEN),
        return_exceptions=True,
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Case", "Conflict"]
    held = [outcome.decision for outcome in outcomes if isinstance(outcome, Case)]
    assert [told[1] for told in desk.lists.told] == held
    assert await desk.actions(case_id) == ["case.decided"]


async def test_a_decision_that_could_not_be_made_to_count_is_finished_later(
    desk: Desk, case_id: str
) -> None:
    desk.lists.full = True
    decided = await desk.service.decide(case_id, "rejected", who=ANNA)
    desk.lists.full = False
    desk.clock.advance(61)

    await desk.service.purge_content(desk.now)

    case = (await desk.service.open_file(case_id, who=ANNA)).case
    assert (decided.state, decided.settled_at) == ("decided", None)
    assert case.settled_at == desk.now
    assert len(desk.lists.told) == 1


async def test_deciding_again_finishes_it_at_once(desk: Desk, case_id: str) -> None:
    desk.lists.full = True
    await desk.service.decide(case_id, "rejected", who=ANNA)
    desk.lists.full = False

    case = await desk.service.decide(case_id, "rejected", who=ANNA)

    assert case.settled_at == desk.now


async def test_a_decided_case_loses_its_content_unless_it_is_to_be_kept(desk: Desk) -> None:
    kept = await desk.refer("kept for long", retention_seconds=1000.0)
    over = await desk.refer("kept for a moment", retention_seconds=1.0)
    desk.clock.advance(2)

    for case in (kept, over):
        await desk.service.decide(case, "approved", who=ANNA)

    assert [await desk.contents(case) for case in (kept, over)] == [["kept for long"], [None]]


async def test_a_rejected_group_is_settled_with_all_that_it_holds(desk: Desk) -> None:
    case_id = await desk.refer(ADVERT)
    await desk.refer(OTHER)

    await desk.service.decide(case_id, "rejected", who=ANNA)

    assert {told[0] for told in desk.lists.told} == {digest(ADVERT), digest(OTHER)}


async def test_a_group_is_approved_only_by_who_has_claimed_it_and_says_so(desk: Desk) -> None:
    case_id = await desk.refer(ADVERT)
    await desk.refer(OTHER)

    with pytest.raises(Conflict, match=r"holds 2 distinct contents.*`group`: true; or reject"):
        await desk.service.decide(case_id, "approved", who=ANNA)
    with pytest.raises(Conflict, match="claim it, so that nothing else joins"):
        await desk.service.decide(case_id, "approved", group=True, who=ANNA)
    await desk.service.claim(case_id, who=ANNA)
    with pytest.raises(Conflict, match="`group`: true"):
        await desk.service.decide(case_id, "approved", who=ANNA)
    assert desk.lists.told == []

    decided = await desk.service.decide(case_id, "approved", group=True, who=ANNA)

    assert decided.decision == "approved"
    assert {told[0] for told in desk.lists.told} == {digest(ADVERT), digest(OTHER)}


async def test_what_joins_just_before_an_approval_stops_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the database that says so: the reviewer saw one content."""
    case_id = await desk.refer(ADVERT)
    seen: list[int] = []

    async def act(store: ReviewStore, *given: Any, **named: Any) -> bool:
        case = await store.find(case_id)
        assert case is not None
        seen.append(case.contents)
        await desk.service.refer(refers(OTHER, created_at=desk.now))
        return await original(store, *given, **named)

    original = ReviewStore.act
    monkeypatch.setattr(ReviewStore, "act", act)

    with pytest.raises(Conflict):
        await desk.service.decide(case_id, "approved", who=ANNA)
    assert seen == [1]


async def test_of_a_group_that_another_has_claimed_it_is_said_so(desk: Desk) -> None:
    case_id = await desk.refer(ADVERT)
    await desk.refer(OTHER)
    await desk.service.claim(case_id, who=ANNA)

    with pytest.raises(Conflict, match="claimed by key_anna"):
        await desk.service.decide(case_id, "approved", group=True, who=BEN)


async def test_cases_of_others_are_not_there(desk: Desk, case_id: str) -> None:
    for act in (
        desk.service.claim(case_id, who=STRANGER),
        desk.service.open_file(case_id, who=STRANGER),
        desk.service.decide("case_none", "approved", who=ADMIN),
    ):
        with pytest.raises(NotFound):
            await act


async def test_a_case_that_is_talked_about_without_end_is_to_be_decided(
    desk: Desk, case_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_EVENTS", 2)
    await desk.service.comment(case_id, "one", who=ANNA)

    with pytest.raises(Conflict, match="decide it"):
        await desk.service.comment(case_id, "two", who=ANNA)

    assert (await desk.service.decide(case_id, "approved", who=ANNA)).state == "decided"


async def test_the_queue_is_ordered_by_urgency(desk: Desk) -> None:
    names = {
        await desk.refer("calm", risk=0.3): "calm",
        await desk.refer("risky", risk=0.7): "risky",
        await desk.refer("late", risk=0.2, sla_seconds=10.0): "late",
        await desk.refer("later", risk=0.25, sla_seconds=10.0): "later",
    }
    desk.clock.advance(10)

    cases = (await desk.service.page(Filter(), who=ANNA)).cases

    assert [names[case.id] for case in cases] == ["later", "late", "risky", "calm"]


async def test_pages_show_every_case_once(desk: Desk) -> None:
    for number in range(7):
        await desk.refer(f"case {number}", risk=0.2 + number % 3 / 10, sla_seconds=number * 10.0)
    desk.clock.advance(25)

    seen, after = [], None
    while True:
        page = await desk.service.page(Filter(), who=ANNA, after=after, limit=2)
        seen += [case.id for case in page.cases]
        after = page.next
        desk.clock.advance(10)  # what becomes overdue meanwhile moves nothing
        if after is None:
            break

    assert len(seen) == len(set(seen)) == 7


async def test_pages_of_decided_cases_show_the_latest_first(desk: Desk) -> None:
    ids = [await desk.refer(f"case {number}") for number in range(3)]
    for case_id in ids:
        desk.clock.advance(1)
        await desk.service.decide(case_id, "approved", who=ANNA)

    first = await desk.service.page(Filter(state="decided"), who=ANNA, limit=2)
    second = await desk.service.page(Filter(state="decided"), who=ANNA, after=first.next, limit=2)

    assert [case.id for case in first.cases + second.cases] == ids[::-1]
    assert second.next is None


@pytest.mark.parametrize(
    ("which", "texts"),
    [
        (Filter(), {"a", "b", "c"}),
        (Filter(state="claimed"), {"b"}),
        (Filter(assignee="key_anna"), {"b"}),
        (Filter(category="spam"), {"c"}),
        (Filter(overdue=True), {"a"}),
        (Filter(overdue=False), {"b", "c"}),
        (Filter(kind="appeal"), set()),
        (Filter(state="decided"), set()),
    ],
)
async def test_the_list_shows_what_is_asked_for(desk: Desk, which: Filter, texts: set[str]) -> None:
    names = {
        await desk.refer("a", sla_seconds=1.0): "a",
        await desk.refer("b"): "b",
        await desk.refer("c", category="spam"): "c",
    }
    await desk.service.claim(next(id for id in names if names[id] == "b"), who=ANNA)
    desk.clock.advance(1)

    found = (await desk.service.page(which, who=ANNA)).cases

    assert {names[case.id] for case in found} == texts


async def test_the_next_case_is_the_most_urgent_and_ones_own_first(desk: Desk) -> None:
    low = await desk.refer("low", risk=0.2)
    high = await desk.refer("high", risk=0.9)

    looked = await desk.service.next(who=ANNA)
    first = await desk.service.claim_next(who=ANNA)
    again = await desk.service.claim_next(who=ANNA)
    other = await desk.service.claim_next(who=BEN)
    nothing = await desk.service.claim_next(who=STRANGER)

    assert looked is not None
    assert looked.id == high
    assert first is not None
    assert again is not None
    assert (first.id, again.id) == (high, high)
    assert other is not None
    assert other.id == low
    assert nothing is None


async def test_escalated_cases_come_next_for_admins_only(desk: Desk, case_id: str) -> None:
    await desk.service.escalate(case_id, "unsure", who=ANNA)

    assert await desk.service.claim_next(who=BEN) is None
    found = await desk.service.claim_next(who=ADMIN)
    assert found is not None
    assert found.id == case_id


async def test_reviewers_who_ask_at_once_get_cases_of_their_own(desk: Desk) -> None:
    for number in range(8):
        await desk.refer(f"case {number}")
    services = [desk.service, desk.another()]

    found = await asyncio.gather(
        *(services[n % 2].claim_next(who=Reviewer(f"key_{n}", "team")) for n in range(8))
    )

    assert len({case.id for case in found if case}) == 8


async def test_workload_counts_what_waits_and_what_was_done(desk: Desk) -> None:
    for number in range(4):
        case_id = await desk.refer(f"done {number}")
        desk.clock.advance(100 * (number + 1))
        await desk.service.decide(case_id, "approved", who=ANNA)
    await desk.refer("late", sla_seconds=1.0, category="hate")
    claimed = await desk.refer("claimed")
    await desk.service.claim(claimed, who=ANNA)
    desk.clock.advance(7 * 86_400 - 1000)

    load = await desk.service.workload(who=ANNA)

    assert (load.open, load.claimed, load.escalated, load.overdue) == (1, 1, 0, 2)
    assert (load.median_seconds, load.p95_seconds) == (200.0, 400.0)
    assert load.oldest_age_seconds == 7 * 86_400 - 1000
    assert (load.opened_per_day.last_7_days, load.decided_per_day.last_7_days) == (0.86, 0.57)
    assert load.backlog_in_7_days == 4.0
    by_name = {each.category: each for each in load.categories}
    assert (by_name["hate"].live, by_name["harassment"].decided) == (1, 4)


async def test_workload_of_nothing_is_nothing(desk: Desk) -> None:
    load = await desk.service.workload(who=ADMIN)

    assert (load.open, load.backlog_in_30_days, load.median_seconds) == (0, 0.0, None)
