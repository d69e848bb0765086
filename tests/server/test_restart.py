"""What survives a restart, and what a changed policy decides about what is already known."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import ADMIN
from tests.server.asking import assert_problem, fist, model_calls, moderate, source_of
from tests.server.conftest import Start

KIND = "Thank you all for the lovely evening, the soup was delicious."
RUDE = "He was rather rude."  # the rig says: harassment 0.55
TEXTS = [KIND, RUDE, "Such violent weather.", "A bad habit."]


async def test_after_a_restart_the_answer_comes_from_disk_without_a_model_call(start: Start):
    async with start() as app:
        before = await moderate(app.client, KIND)

    async with start() as app:
        after = await moderate(app.client, KIND)
        again = await moderate(app.client, KIND)
        calls = await model_calls(app.client)

    assert [source_of(result) for result in (before, after, again)] == ["local", "disk", "memory"]
    assert after["penstock"]["id"] == before["penstock"]["id"]
    assert after["category_scores"] == before["category_scores"]
    assert calls == 0


async def test_a_paid_answer_is_paid_once_over_restarts(behind: Start, upstream):
    async with behind() as app:
        await moderate(app.client, RUDE)

    async with behind() as app:
        after = await moderate(app.client, RUDE)

    assert source_of(after) == "disk"
    assert after["category_scores"]["harassment"] == 0.55
    assert upstream.calls == 1


async def test_a_changed_threshold_decides_anew_with_zero_model_calls(
    behind: Start, policy, upstream
):
    async with behind() as app:
        before = [(await moderate(app.client, text))["penstock"] for text in TEXTS]
        asked = upstream.calls

    strict = policy("[thresholds.harassment]\nreview = 0.1\nflag = 0.3\nreject = 0.5")
    async with behind(policy=strict) as app:
        after = [(await moderate(app.client, text)) for text in TEXTS]
        calls = await model_calls(app.client)

    assert [block["decision"] for block in before] == ["approved", "review", "rejected", "rejected"]
    blocks = [result["penstock"] for result in after]
    assert [block["decision"] for block in blocks] == ["approved", *["rejected"] * 3]
    assert after[1]["flagged"] is True
    assert {block["receipt"]["source"] for block in blocks} == {"disk"}
    assert blocks[0]["policy"]["version"].startswith("policy-")
    assert blocks[1]["id"] != before[1]["id"]
    assert (calls, upstream.calls) == (0, asked)


async def test_both_decisions_stay_on_record(behind: Start, policy):
    async with behind() as app:
        first = await fist(app.client, RUDE)
    strict = policy("[thresholds.harassment]\nreview = 0.1\nreject = 0.5")

    async with behind(policy=strict) as app:
        second = await fist(app.client, RUDE)
        ids = (first["moderation_id"], second["moderation_id"])
        kept = [(await app.client.get(f"/api/results/{id}")).json()["result"] for id in ids]

    assert [record["final_decision"] for record in kept] == ["M", "R"]


async def test_the_same_text_gets_the_same_verdict_on_another_machine(start: Start, tmp_path):
    """O-10: nothing about a verdict is random."""
    async with start() as app:
        here = await moderate(app.client, RUDE)
    async with start(home=tmp_path / "elsewhere") as app:
        there = await moderate(app.client, RUDE)

    for result in (here, there):
        del result["penstock"]["receipt"]
    assert here == there


async def test_another_model_name_asks_again(behind: Start, upstream):
    """F-20, O-11: the model is part of the question."""
    async with behind() as app:
        await moderate(app.client, RUDE)
    async with behind(model="larger") as app:
        await moderate(app.client, RUDE)

    assert upstream.calls == 2


async def test_another_way_of_asking_asks_again(behind: Start, upstream):
    """O-11: a prompted chat is another question than a moderation endpoint."""
    async with behind() as app:
        await moderate(app.client, RUDE)
    async with behind(provider=(upstream.url,)) as app:
        await moderate(app.client, RUDE)

    assert upstream.per_path == {"/v1/moderations": 1, "/v1/chat/completions": 1}


async def test_a_key_works_after_a_restart_and_a_revoked_one_does_not(start: Start):
    async with start() as app:
        kept, revoked = await app.key("viewer"), await app.key("viewer")
        me = (await revoked.get("/v1/keys/current")).json()["key_id"]
        await app.client.delete(f"/v1/keys/{me}")

    async with start() as app:
        tokens = [client.headers["authorization"].split()[1] for client in (kept, revoked)]
        replies = [await app.connect(token).get("/v1/keys/current") for token in tokens]

    assert replies[0].status_code == 200
    assert_problem(replies[1], 401)


@pytest.mark.slow
def test_a_restarted_process_answers_from_disk(serve):
    """The whole promise, with real processes: `source` disk, no model call."""
    asked = {"json": {"input": KIND}, "headers": {"Authorization": f"Bearer {ADMIN}"}}

    with serve() as live:
        first = httpx.post(f"{live.url}/v1/moderations", **asked).json()["results"][0]
    with serve(home=live.home) as live:
        second = httpx.post(f"{live.url}/v1/moderations", **asked).json()["results"][0]
        told = httpx.get(f"{live.url}/api/metrics", headers=asked["headers"]).json()

    assert (source_of(first), source_of(second)) == ("local", "disk")
    assert told["moderation"]["model_calls"] == 0
