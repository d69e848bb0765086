from __future__ import annotations

import pytest

from penstock.errors import Conflict, InvalidInput, NotFound
from penstock.services.review import service
from penstock.services.review.schemas import Case, Example
from tests.services.review.conftest import ADMIN, ANNA, STRANGER, Count, Desk, digest

TEXT = "you absolute legend"


@pytest.fixture
def verdict(desk: Desk) -> str:
    return desk.verdicts.add("mod_1", TEXT, user_id="u1")


async def appealed(desk: Desk, verdict: str, text: str | None = TEXT) -> Case:
    return await desk.service.appeal(verdict, reason="it is praise", text=text, who=ANNA)


async def examples(desk: Desk) -> list[Example]:
    return [example async for part in desk.service.examples() for example in part]


async def test_an_appeal_opens_a_case_with_its_text(desk: Desk, verdict: str) -> None:
    case = await appealed(desk, verdict)

    file = await desk.service.open_file(case.id, who=ANNA)
    assert (case.kind, case.risk, file.contents[0].content) == ("appeal", 0.9, TEXT)
    assert [event.action for event in file.events] == ["opened", "appealed"]
    assert file.events[1].detail == "it is praise"
    assert file.contents[0].verdict is not None
    assert file.contents[0].verdict.decision == "rejected"
    assert await desk.actions(case.id) == ["case.appealed"]


async def test_an_overturned_verdict_is_forgotten_and_remembered_as_an_example(
    desk: Desk, verdict: str
) -> None:
    case = await appealed(desk, verdict)

    await desk.service.decide(case.id, "approved", who=ANNA)

    assert desk.cached.forgotten == [f"moderation:{digest(TEXT)[:8]}"]
    assert desk.lists.told == [(digest(TEXT), "approved", ("key_app",))]
    (example,) = await examples(desk)
    assert (example.content, example.was, example.decision) == (TEXT, "rejected", "approved")
    assert await desk.contents(case.id) == [None]
    type, _, _, data = desk.events[-1]
    assert (type, data["overturned"]) == ("appeal.decided", [verdict])


async def test_the_reverse_is_overturned_as_well(desk: Desk) -> None:
    desk.verdicts.add("mod_2", TEXT, decision="approved")
    case = await appealed(desk, "mod_2")

    await desk.service.decide(case.id, "rejected", who=ANNA)

    assert desk.cached.forgotten == [f"moderation:{digest(TEXT)[:8]}"]
    assert [example.decision for example in await examples(desk)] == ["rejected"]


async def test_an_upheld_verdict_stays(desk: Desk, verdict: str) -> None:
    case = await appealed(desk, verdict)

    await desk.service.decide(case.id, "rejected", who=ANNA)

    assert desk.cached.forgotten == []
    assert await examples(desk) == []


async def test_without_its_text_an_example_says_that_it_cannot_be_replayed(
    desk: Desk, verdict: str
) -> None:
    case = await appealed(desk, verdict, text=None)

    await desk.service.decide(case.id, "approved", who=ANNA)

    (example,) = await examples(desk)
    assert (example.content, example.content_hash) == (None, digest(TEXT))


async def test_an_appeal_against_what_people_decided_overturns_them(desk: Desk) -> None:
    first = await desk.refer(TEXT, "mod_3")
    await desk.service.decide(first, "rejected", who=ANNA)
    desk.verdicts.add("mod_3", TEXT, decision="review")

    case = await appealed(desk, "mod_3")
    await desk.service.decide(case.id, "approved", who=ADMIN)

    assert (case.id != first, case.similar_to) == (True, first)
    assert [(e.was, e.decision) for e in await examples(desk)] == [("rejected", "approved")]
    assert [told[1] for told in desk.lists.told] == ["rejected", "approved"]


async def test_an_appeal_against_a_verdict_under_review_joins_its_case(
    desk: Desk, rows: Count
) -> None:
    first = await desk.refer(TEXT, "mod_3")
    desk.verdicts.add("mod_3", TEXT, decision="review")

    case = await appealed(desk, "mod_3")

    assert (case.id, case.kind, await desk.contents(first)) == (first, "appeal", [TEXT])
    assert (await rows("cases"), await rows("items")) == (1, 1)


async def test_appeals_about_the_same_content_share_a_case(desk: Desk, verdict: str) -> None:
    other = desk.verdicts.add("mod_2", TEXT, key_id="key_other")

    cases = [await appealed(desk, verdict), await appealed(desk, other)]

    assert cases[0].id == cases[1].id
    assert cases[1].items == 2


async def test_the_same_appeal_again_changes_nothing(desk: Desk, verdict: str, rows: Count) -> None:
    first = await appealed(desk, verdict)

    again = await appealed(desk, verdict)

    assert again.id == first.id
    assert (await rows("items"), await rows("events")) == (1, 2)
    assert await desk.actions(first.id) == ["case.appealed"]


async def test_an_appeal_is_heard_once(desk: Desk, verdict: str) -> None:
    case = await appealed(desk, verdict)
    await desk.service.decide(case.id, "rejected", who=ANNA)

    with pytest.raises(Conflict, match=rf"decided in {case.id}: rejected"):
        await appealed(desk, verdict)


async def test_an_appeal_about_nothing_known_is_refused(desk: Desk, verdict: str) -> None:
    with pytest.raises(NotFound):
        await appealed(desk, "mod_unknown")
    with pytest.raises(NotFound):
        await desk.service.appeal(verdict, reason="mine", text=None, who=STRANGER)


async def test_an_appeal_with_another_text_is_refused(
    desk: Desk, verdict: str, rows: Count
) -> None:
    with pytest.raises(InvalidInput, match="not what was judged"):
        await appealed(desk, verdict, text="you absolute legend!")

    assert await rows("cases") == 0


async def test_overturning_anew_replaces_the_example(desk: Desk, verdict: str) -> None:
    case = await appealed(desk, verdict)
    await desk.service.decide(case.id, "approved", who=ANNA)
    desk.verdicts.add("mod_2", TEXT, decision="approved")
    second = await appealed(desk, "mod_2", text=None)

    await desk.service.decide(second.id, "rejected", who=ANNA)

    (example,) = await examples(desk)
    assert (example.decision, example.content) == ("rejected", TEXT)


async def test_erasing_a_user_removes_examples_and_what_the_appeal_said(
    desk: Desk, verdict: str
) -> None:
    case = await appealed(desk, verdict)
    other = desk.verdicts.add("mod_2", TEXT, user_id="u2")
    await appealed(desk, other)
    await desk.service.decide(case.id, "approved", who=ANNA)

    await desk.service.erase("u1")

    events = (await desk.service.open_file(case.id, who=ANNA)).events
    assert await examples(desk) == []
    assert {event.detail for event in events if event.action == "appealed"} == {""}


async def test_content_of_an_appeal_is_not_kept_for_ever(desk: Desk, verdict: str) -> None:
    case = await appealed(desk, verdict)
    desk.clock.advance(30 * 86_400)

    await desk.service.purge_content(desk.now)

    assert await desk.contents(case.id) == [None]


async def test_an_owner_has_a_limited_number_of_appeals_open(
    desk: Desk, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_APPEALS", 1)
    first = await appealed(desk, verdict)
    second = desk.verdicts.add("mod_2", "you absolute fool")
    theirs = desk.verdicts.add("mod_3", TEXT, owner="elsewhere")

    with pytest.raises(Conflict, match="team has 1 cases of appeals open"):
        await appealed(desk, second, text=None)

    assert (await appealed(desk, verdict)).id == first.id
    await desk.service.appeal(theirs, reason="mine", text=None, who=STRANGER)
    await desk.service.decide(first.id, "rejected", who=ANNA)
    assert (await appealed(desk, second, text=None)).id != first.id


async def test_an_appeal_against_a_verdict_that_waits_for_several_keys_is_for_all(
    desk: Desk,
) -> None:
    case_id = await desk.refer(TEXT, "mod_3", key_id="key_app")
    await desk.refer(TEXT, "mod_3", key_id="key_other")
    desk.verdicts.add("mod_3", TEXT, decision="review")

    case = await appealed(desk, "mod_3")

    file = await desk.service.open_file(case_id, who=ANNA)
    assert (case.id, case.items) == (case_id, 2)
    assert all(item.appealed_at for item in file.items)
