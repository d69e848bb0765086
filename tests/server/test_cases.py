from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from penstock.observe.metrics import Metrics
from penstock.opening import open_layer_cache
from tests.server.conftest import SHARED, App, Start

FOREIGN = "Это просто обычное сообщение на другом языке, и здесь его никто не читает"
HARSH = "you are a stupid idiot and a worthless loser"
PRAISE = {"reason": "friends talk like that", "text": HARSH}


@pytest.fixture
async def operator(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with await app.key("operator", owner="team") as client:
        yield client


@pytest.fixture
async def colleague(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with await app.key("operator", owner="team") as client:
        yield client


@pytest.fixture
async def viewer(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with await app.key("viewer", owner="team") as client:
        yield client


@pytest.fixture
async def stranger(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with await app.key("operator", owner="elsewhere") as client:
        yield client


async def moderated(client: httpx.AsyncClient, text: str) -> dict[str, Any]:
    reply = await client.post("/v1/moderations", json={"input": text})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()["results"][0]["penstock"]
    return found


async def only_case(client: httpx.AsyncClient) -> dict[str, Any]:
    reply = await client.get("/v1/cases")
    (case,) = reply.json()["items"]
    found: dict[str, Any] = case
    return found


async def done(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    reply = await client.post(f"/v1/cases/{path}", json=body or None)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


async def test_what_the_machine_leaves_open_is_a_case_before_its_reply(
    operator: httpx.AsyncClient,
) -> None:
    verdict = await moderated(operator, FOREIGN)
    await moderated(operator, FOREIGN)

    case = await only_case(operator)
    file = (await operator.get(f"/v1/cases/{case['id']}")).json()

    assert verdict["decision"] == "review"
    assert (case["state"], case["items"], case["overdue"]) == ("open", 1, False)
    assert [item["verdict_id"] for item in file["verdicts"]] == [verdict["id"]]
    (content,) = file["contents"]
    assert content["verdict"]["id"] == verdict["id"]
    assert content["verdict"]["scores"]
    assert (case["distinct"], content["content"]) == (1, None)
    assert "review.retention_seconds 0" in content["content_note"]
    assert f"/v1/verdicts/{verdict['id']}" in content["content_note"]


async def test_what_was_decided_holds_for_the_same_text_from_then_on(
    operator: httpx.AsyncClient,
) -> None:
    await moderated(operator, FOREIGN)
    case = await only_case(operator)
    await done(operator, f"{case['id']}/claim")
    await done(operator, f"{case['id']}/comment", text="I speak Russian")
    decided = await done(operator, f"{case['id']}/decide", decision="approved", note="harmless")

    again = await moderated(operator, FOREIGN)

    assert (case["effects_pending"], decided["effects_pending"]) == (False, False)
    assert (decided["state"], decided["decision"]) == ("decided", "approved")
    assert again["decision"] == "approved"
    assert (await operator.get("/v1/cases")).json()["items"] == []


async def test_what_is_left_open_after_a_decision_has_a_case_again(
    operator: httpx.AsyncClient, colleague: httpx.AsyncClient
) -> None:
    await moderated(operator, FOREIGN)
    first = await only_case(operator)
    await done(operator, f"{first['id']}/decide", decision="rejected")

    verdict = await moderated(colleague, FOREIGN)  # of the same owner, with another key

    case = await only_case(operator)
    assert (verdict["decision"], case["similar_to"]) == ("review", first["id"])


async def test_a_decision_that_is_taken_back_leads_to_people_again(
    app: App, operator: httpx.AsyncClient
) -> None:
    await moderated(operator, FOREIGN)
    first = await only_case(operator)
    await done(operator, f"{first['id']}/decide", decision="rejected")
    (made,) = [
        each for each in (await app.client.get("/v1/lists")).json()["items"] if each["managed"]
    ]
    path = f"/v1/lists/{made['id']}/entries"
    (entry,) = (await app.client.get(path)).json()["items"]
    await app.client.delete(f"{path}/{entry['id']}")

    verdict = await moderated(operator, FOREIGN)

    assert verdict["decision"] == "review"
    assert (await only_case(operator))["id"] != first["id"]


async def test_an_overturned_verdict_is_gone_from_every_tier(start: Start) -> None:
    async with start() as first:  # its end writes to disk
        verdict = await moderated(first.client, HARSH)
    async with start() as app:
        await moderated(app.client, HARSH)
        record = await app.runtime.verdicts.find(verdict["id"])
        assert record is not None
        cached = await _tiers(app, record.content_key)
        body = {"verdict_id": verdict["id"], **PRAISE}
        appeal = (await app.client.post("/v1/appeals", json=body)).json()

        await done(app.client, f"{appeal['case_id']}/decide", decision="approved")

        left = await _tiers(app, record.content_key)
        again = await moderated(app.client, HARSH)
        (line,) = (await app.client.get("/v1/cases/examples")).text.splitlines()
    example = json.loads(line)
    assert (cached, left) == ({"memory", "disk"}, set())
    assert (verdict["decision"], again["decision"]) == ("rejected", "approved")
    assert (example["content"], example["was"], example["decision"]) == (
        HARSH,
        "rejected",
        "approved",
    )
    assert datetime.fromisoformat(example["created_at"]).tzinfo is not None


async def _tiers(app: App, key: str) -> set[str]:
    """Where the record under a key is; disk is asked by a cache that begins empty."""
    there = {"memory"} if app.runtime.cache.peek(key) else set()
    cache, close = open_layer_cache(app.runtime.settings, metrics=Metrics())
    try:
        return there | ({"disk"} if await cache.lookup(key) else set())
    finally:
        await cache.aclose()
        close()


async def test_viewers_see_cases_without_content_and_do_nothing(
    operator: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    verdict = await moderated(operator, HARSH)
    await operator.post("/v1/appeals", json={"verdict_id": verdict["id"], **PRAISE})
    case = await only_case(operator)
    await done(operator, f"{case['id']}/comment", text=f"they said {HARSH}")
    await done(operator, f"{case['id']}/escalate", reason=f"why {HARSH}")

    read = (await operator.get(f"/v1/cases/{case['id']}")).json()
    seen = (await viewer.get(f"/v1/cases/{case['id']}")).json()
    replies = [
        await viewer.post(f"/v1/cases/{case['id']}/claim"),
        await viewer.post("/v1/cases/next"),
        await viewer.get("/v1/cases/examples"),
        await operator.get("/v1/cases/examples"),
    ]

    assert [(each["content"], each["content_note"]) for each in read["contents"]] == [(HARSH, None)]
    assert [each["content_note"] for each in seen["contents"]] == ["content is for operators"]
    assert HARSH not in json.dumps(seen)
    assert [event["detail"] for event in seen["events"]] == [""] * 4
    assert [reply.status_code for reply in replies] == [403] * 4


async def test_operators_see_the_cases_of_their_owner_and_admins_all(
    app: App, operator: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    await moderated(operator, FOREIGN)
    case = await only_case(operator)

    hidden = [
        await stranger.get(f"/v1/cases/{case['id']}"),
        await stranger.post(f"/v1/cases/{case['id']}/decide", json={"decision": "approved"}),
    ]

    assert (await stranger.get("/v1/cases")).json()["items"] == []
    assert [reply.status_code for reply in hidden] == [404, 404]
    assert (await only_case(app.client))["id"] == case["id"]


async def test_a_stranger_takes_no_case_away(
    app: App, operator: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    await moderated(operator, FOREIGN)
    case = await only_case(operator)

    await moderated(stranger, FOREIGN)

    assert (await only_case(operator))["items"] == 1
    assert (await only_case(stranger))["id"] != case["id"]
    await done(operator, f"{case['id']}/decide", decision="rejected")
    assert (await moderated(operator, FOREIGN))["decision"] == "rejected"
    assert (await moderated(stranger, FOREIGN))["decision"] == "review"


async def test_a_group_is_approved_after_it_was_looked_at(operator: httpx.AsyncClient) -> None:
    text = f"{FOREIGN} " * 3
    await moderated(operator, text)
    await moderated(operator, text.upper())
    case = await only_case(operator)
    path = f"/v1/cases/{case['id']}/decide"

    refused = await operator.post(path, json={"decision": "approved"})
    claimed = await done(operator, f"{case['id']}/claim")
    decided = await done(operator, f"{case['id']}/decide", decision="approved", group=True)

    assert (case["distinct"], refused.status_code) == (2, 409)
    assert "holds 2 distinct contents" in refused.json()["detail"]
    assert len({content["content_hash"] for content in claimed["contents"]}) == 2
    assert (decided["decision"], decided["effects_pending"]) == ("approved", False)


async def test_a_claimed_case_is_refused_to_a_colleague(
    operator: httpx.AsyncClient, colleague: httpx.AsyncClient
) -> None:
    await moderated(operator, FOREIGN)
    case = await only_case(operator)
    await done(operator, f"{case['id']}/claim")

    reply = await colleague.post(f"/v1/cases/{case['id']}/claim")

    assert reply.status_code == 409
    assert "claimed by key_" in reply.json()["detail"]
    mine = (await operator.get("/v1/cases", params={"assignee": "me"})).json()["items"]
    assert [each["id"] for each in mine] == [case["id"]]
    assert (await done(operator, f"{case['id']}/release"))["state"] == "open"


async def test_an_escalated_case_waits_for_an_admin(app: App, operator: httpx.AsyncClient) -> None:
    await moderated(operator, FOREIGN)
    case = await only_case(operator)
    await done(operator, f"{case['id']}/escalate", reason="I cannot read it")

    refused = await operator.post(f"/v1/cases/{case['id']}/decide", json={"decision": "approved"})

    assert refused.status_code == 403
    assert (await done(app.client, "next"))["id"] == case["id"]
    decided = await done(app.client, f"{case['id']}/decide", decision="approved")
    assert decided["decision"] == "approved"


async def test_reviewers_who_ask_for_the_next_case_at_once_get_different_ones(
    operator: httpx.AsyncClient, colleague: httpx.AsyncClient
) -> None:
    await moderated(operator, FOREIGN)
    await moderated(operator, "Ещё одно сообщение о погоде, которое никто не читает")

    replies = await asyncio.gather(
        *(client.post("/v1/cases/next") for client in (operator, colleague))
    )

    assert len({reply.json()["id"] for reply in replies}) == 2


async def test_without_cases_the_next_one_is_nothing(operator: httpx.AsyncClient) -> None:
    replies = [await operator.get("/v1/cases/next"), await operator.post("/v1/cases/next")]

    assert [(reply.status_code, reply.content) for reply in replies] == [(204, b"")] * 2


async def test_the_workload_is_told(operator: httpx.AsyncClient) -> None:
    await moderated(operator, FOREIGN)

    load = (await operator.get("/v1/cases/workload")).json()

    assert (load["open"], load["overdue"], load["opened_per_day"]["last_7_days"]) == (1, 0, 1.0)
    assert load["backlog_in_7_days"] == 8.0


async def test_pages_of_cases_lead_to_the_next(operator: httpx.AsyncClient) -> None:
    for number in range(3):
        await moderated(operator, f"{FOREIGN} {number}")

    first = (await operator.get("/v1/cases", params={"limit": 2})).json()
    second = (await operator.get("/v1/cases", params={"limit": 2, "cursor": first["next"]})).json()

    assert len({case["id"] for case in first["items"] + second["items"]}) == 3
    assert second["next"] is None


async def test_every_action_is_in_the_audit_log(app: App, operator: httpx.AsyncClient) -> None:
    await moderated(operator, FOREIGN)
    case = await only_case(operator)
    await done(operator, f"{case['id']}/claim")
    await done(operator, f"{case['id']}/decide", decision="rejected", note="a secret remark")

    entries = (await app.client.get("/v1/audit", params={"subject": case["id"]})).json()["items"]

    assert [entry["action"] for entry in entries] == ["case.decided", "case.claimed"]
    assert "secret" not in json.dumps(entries)


@pytest.mark.parametrize(
    ("path", "body", "status", "pointer"),
    [
        ("/v1/appeals", {"verdict_id": "mod_unknown", "reason": "why"}, 404, None),
        ("/v1/appeals", {"verdict_id": "mod_unknown", "reason": ""}, 422, "/reason"),
        ("/v1/appeals", {"verdict_id": "mod_unknown"}, 422, "/reason"),
        ("/v1/appeals", {"verdict_id": "m", "reason": "w", "more": 1}, 422, "/more"),
        ("/v1/cases/case_none/decide", {"decision": "approved"}, 404, None),
        ("/v1/cases/case_none/decide", {"decision": "review"}, 422, "/decision"),
        ("/v1/cases/case_none/comment", {"text": "x" * 2001}, 422, "/text"),
        ("/v1/cases/case_none/escalate", {"reason": "a\x00b"}, 422, "/reason"),
    ],
)
@SHARED
async def test_bad_requests_say_what_is_wrong_and_where(
    shared: App, path: str, body: Any, status: int, pointer: str | None
) -> None:
    reply = await shared.client.post(path, json=body)

    assert reply.status_code == status, reply.text
    if pointer is not None:
        assert [error["pointer"] for error in reply.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    "params",
    [{"state": "lost"}, {"cursor": "x"}, {"limit": 0}, {"kind": "other"}, {"overdue": "maybe"}],
)
@SHARED
async def test_bad_filters_are_refused(shared: App, params: dict[str, Any]) -> None:
    reply = await shared.client.get("/v1/cases", params=params)

    assert reply.status_code == 422


async def test_an_appeal_with_another_text_is_refused(operator: httpx.AsyncClient) -> None:
    verdict = await moderated(operator, HARSH)

    reply = await operator.post(
        "/v1/appeals", json={"verdict_id": verdict["id"], **PRAISE, "text": HARSH + "!"}
    )

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/text"


async def test_an_appeal_is_heard_once(operator: httpx.AsyncClient) -> None:
    verdict = await moderated(operator, HARSH)
    body = {"verdict_id": verdict["id"], **PRAISE}
    first = await operator.post("/v1/appeals", json=body)
    again = await operator.post("/v1/appeals", json=body)
    await done(operator, f"{first.json()['case_id']}/decide", decision="rejected")

    late = await operator.post("/v1/appeals", json=body)

    assert again.json() == first.json()
    assert first.headers["location"] == f"/v1/cases/{first.json()['case_id']}"
    assert late.status_code == 409


async def test_a_decision_holds_in_a_second_process_at_once(
    app: App, operator: httpx.AsyncClient, start: Start
) -> None:
    await moderated(operator, FOREIGN)
    case = await only_case(operator)
    token = operator.headers["Authorization"].removeprefix("Bearer ")

    async with start() as second, second.connect(token) as there:
        before = await moderated(there, FOREIGN)
        await done(operator, f"{case['id']}/decide", decision="rejected")
        after = await moderated(there, FOREIGN)

    assert (before["decision"], after["decision"]) == ("review", "rejected")
