from __future__ import annotations

import httpx

from penstock.runtime import Runtime


async def test_a_text_gets_a_verdict_and_the_second_time_it_comes_from_memory(
    client: httpx.AsyncClient,
):
    body = {"input": "Have a lovely day, everyone."}

    first = (await client.post("/v1/moderations", json=body)).json()["results"][0]
    second = (await client.post("/v1/moderations", json=body)).json()["results"][0]

    assert first["penstock"]["decision"] == "approved"
    assert first["penstock"]["receipt"]["source"] == "local"
    assert second["penstock"]["receipt"]["source"] == "memory"
    assert second["penstock"]["id"] == first["penstock"]["id"]


async def test_the_verdict_is_on_record_when_its_answer_arrives(
    client: httpx.AsyncClient, runtime: Runtime
):
    reply = await client.post("/v1/moderations", json={"input": "Good morning."})
    verdict_id = reply.json()["results"][0]["penstock"]["id"]

    record = await runtime.moderation.find(verdict_id, owner=None)

    assert record.decision == "approved"
    assert record.content is None
