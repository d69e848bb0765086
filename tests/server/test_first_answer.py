from __future__ import annotations

import httpx
import pytest

from penstock.runtime import Runtime
from penstock.server.app import Server
from penstock.settings import Settings
from tests.conftest import ADMIN, connect


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


async def test_scores_live_as_long_as_the_setting_says(settings: Settings):
    server = Server(settings.model_copy(update={"cache_ttl": 5.0}))
    async with server.running(), connect(server, ADMIN) as client:
        await client.post("/v1/moderations", json={"input": "Good morning."})

        (entry,) = (await client.get("/v1/cache/entries")).json()["items"]

    assert 0 < entry["expires_in_seconds"] <= 5


@pytest.mark.parametrize("text", ["hello friend", "kill the process", "you are an idiot"])
async def test_fists_two_routes_say_the_same_of_one_verdict(client: httpx.AsyncClient, text: str):
    posted = (await client.post("/api/moderate", json={"content": text})).json()

    stored = (await client.get(f"/api/results/{posted['moderation_id']}")).json()

    for said in (posted["result"], stored["result"]):
        del said["created_at"]
        said.pop("from_cache", None)
    assert stored == posted
