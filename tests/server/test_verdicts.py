from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

import httpx

from penstock.providers.provider import CATEGORIES
from tests.server.conftest import SHARED, App, Start

TEXT = "call me on 212-555-0134, you stupid idiot"


async def moderate(client: httpx.AsyncClient, text: str = TEXT, **more: Any) -> dict[str, Any]:
    reply = await client.post("/v1/moderations", json={"input": text, **more})
    assert reply.status_code == 200, reply.text
    result: dict[str, Any] = reply.json()["results"][0]
    return result


@SHARED
async def test_a_verdict_is_found_by_the_id_that_its_answer_named(shared: App) -> None:
    answered = await moderate(shared.client, user="user 7")
    ours = answered["penstock"]

    reply = await shared.client.get(f"/v1/verdicts/{ours['id']}")

    found = reply.json()
    assert reply.status_code == 200, reply.text
    for member in ("id", "decision", "reason", "risk", "spans"):
        assert found[member] == ours[member]
    assert found["policy"] == ours["policy"]["version"]
    assert {name: found["scores"].get(name, 0.0) for name in CATEGORIES} == answered[
        "category_scores"
    ]
    assert found["spans"]
    assert (found["key_id"], found["user_id"], found["word_count"]) == ("env", "user 7", 7)
    assert (found["degraded"], found["listed"], found["content"]) == (None, None, None)
    assert datetime.fromisoformat(found["created_at"]).tzinfo == UTC


@SHARED
async def test_another_owners_verdict_is_not_there_but_for_admins(shared: App) -> None:
    mine = await shared.key("operator", owner="mine")
    other = await shared.key("operator", owner="other")
    viewer = await shared.key("viewer", owner="mine")
    id = (await moderate(mine, "what a nice harbour"))["penstock"]["id"]

    answers = [
        (await client.get(f"/v1/verdicts/{id}")).status_code
        for client in (mine, viewer, shared.client, other)
    ]

    assert answers == [200, 200, 200, 404]


@SHARED
async def test_what_is_not_on_record_is_not_found(shared: App) -> None:
    for id in ("mod_none", "x" * 200, "%00", "%ff"):
        assert (await shared.client.get(f"/v1/verdicts/{id}")).status_code == 404, id


async def test_a_stored_text_is_shown_to_operators_and_not_to_viewers(start: Start) -> None:
    async with start(store_text=True) as app:
        operator = await app.key("operator", owner="team")
        viewer = await app.key("viewer", owner="team")
        id = (await moderate(operator))["penstock"]["id"]

        shown = (await operator.get(f"/v1/verdicts/{id}")).json()["content"]
        hidden = await viewer.get(f"/v1/verdicts/{id}")

    assert shown == TEXT
    assert hidden.json()["content"] is None
    assert TEXT not in hidden.text


async def test_a_record_of_another_version_is_shown_without_its_scores(app: App) -> None:
    id = (await moderate(app.client))["penstock"]["id"]
    with sqlite3.connect(app.runtime.database.path) as raw:
        raw.execute("UPDATE moderation_verdicts SET record = x'c1', degraded = 'not-judged'")
    raw.close()

    found = (await app.client.get(f"/v1/verdicts/{id}")).json()

    assert (found["scores"], found["spans"]) == ({}, [])
    assert found["degraded"] == "not-judged"
