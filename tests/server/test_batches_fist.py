"""FIST's batches, as its clients call them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from benchmarks.rigs.upstream import Upstream, failing, hang
from tests.server.asking import assert_problem, fist
from tests.server.conftest import SHARED, App, Start

PATH = "/api/moderate/batch"
KIND = "Thank you all for the lovely evening, the soup was delicious."
THREAT = "I will kill you tomorrow morning."
RUDE = "He was rather rude."  # the rig says: harassment 0.55
SOON = 60.0


async def post(client: httpx.AsyncClient, contents: list[Any], **fields: Any) -> dict[str, Any]:
    reply = await client.post(PATH, json={"contents": contents, **fields})
    assert reply.status_code in (200, 202), reply.text
    found: dict[str, Any] = reply.json()
    return found


async def ended(app: App, job_id: str) -> tuple[dict[str, Any], list[float]]:
    """The last status of a job, and every progress on the way there."""
    seen: list[float] = []
    async with asyncio.timeout(SOON):
        async for _ in app.runtime.batches.watch(job_id, owner=None):
            status = (await app.client.get(f"{PATH}/{job_id}/status")).json()
            seen.append(status["progress_percent"])
    assert status["status"] in ("completed", "failed")
    return status, seen


@SHARED
async def test_a_batch_answers_with_its_results_in_order(emptied: App):
    batch = await post(emptied.client, [KIND, THREAT, KIND], background=False)

    assert batch["status"] == "completed"
    assert (batch["total_items"], batch["processed_items"]) == (3, 3)
    assert batch["progress_percent"] == 100.0
    assert [result["final_decision"] for result in batch["results"]] == ["A", "R", "A"]
    assert [result["from_cache"] for result in batch["results"]] == [False, False, True]
    assert batch["errors"] == []


@SHARED
async def test_the_results_are_those_of_single_requests(emptied: App):
    single = (await emptied.client.post("/api/moderate", json={"content": THREAT})).json()

    batch = await post(emptied.client, [THREAT])

    alone, among = single["result"], batch["results"][0]
    assert {**alone, "from_cache": True} == {**among, "created_at": alone["created_at"]}


@SHARED
async def test_one_content_that_cannot_be_judged_fails_alone(emptied: App):
    batch = await post(emptied.client, [KIND, " ", THREAT])

    assert batch["status"] == "completed"
    assert batch["results"][1] is None
    assert batch["error_count"] == 1
    assert (batch["errors"][0]["index"], batch["errors"][0]["code"]) == (1, "invalid_input")


@SHARED
async def test_the_results_of_an_answered_batch_can_be_asked_for_again(emptied: App):
    batch = await post(emptied.client, [KIND, "", THREAT])

    again = (await emptied.client.get(f"{PATH}/{batch['job_id']}/results")).json()

    assert (again["results"], again["errors"]) == (batch["results"], batch["errors"])


async def test_a_background_batch_is_accepted_at_once_and_ends_completed(
    behind: Start, upstream: Upstream
):
    upstream.latency = (0.2, 0.2)
    contents = [f"order {number} has arrived" for number in range(32)]

    async with behind(batch_concurrency=4) as app:
        accepted = await app.client.post(PATH, json={"contents": contents, "background": True})
        status, seen = await ended(app, accepted.json()["job_id"])
        results = (await app.client.get(f"{PATH}/{status['job_id']}/results")).json()["results"]

    assert accepted.status_code == 202
    assert accepted.headers["location"] == f"{PATH}/{status['job_id']}/status"
    assert accepted.json()["status"] in ("pending", "processing")
    assert "results" not in accepted.json()
    assert seen == sorted(seen)
    assert (status["status"], seen[-1]) == ("completed", 100.0)
    assert status["elapsed_seconds"] >= 1.6
    assert [result["word_count"] for result in results] == [4] * 32


async def test_the_results_of_a_batch_that_runs_are_a_conflict_that_says_what_to_do(
    behind: Start, upstream: Upstream
):
    upstream.always(hang())

    async with behind() as app:
        batch = await post(app.client, [KIND], background=True)
        reply = await app.client.get(f"{PATH}/{batch['job_id']}/results")

    assert "/status until it is completed" in assert_problem(reply, 409)["detail"]


async def test_duplicates_are_asked_for_once(behind: Start, upstream: Upstream):
    async with behind() as app:
        await post(app.client, [f"parcel {n % 10}" for n in range(20)])

    assert upstream.calls == 10


async def test_no_more_than_the_setting_are_asked_for_at_once(behind: Start, upstream: Upstream):
    upstream.latency = (0.05, 0.05)
    upstream.hold_until(3)

    async with behind(batch_concurrency=3) as app:
        await post(app.client, [f"parcel {n}" for n in range(12)])

    assert upstream.most_at_once == 3


async def test_an_over_long_batch_keeps_what_is_finished(behind: Start, upstream: Upstream):
    async with behind(batch_timeout=2.0, provider_timeout=60.0) as app:
        await fist(app.client, KIND)
        upstream.always(hang())
        batch = await post(app.client, [KIND, "something new"])

    assert batch["status"] == "completed"
    assert batch["results"][0]["final_decision"] == "A"
    assert [(error["index"], error["code"]) for error in batch["errors"]] == [(1, "timeout")]


async def test_an_over_long_background_batch_keeps_what_is_finished(
    behind: Start, upstream: Upstream
):
    async with behind(batch_timeout=2.0, provider_timeout=60.0) as app:
        await fist(app.client, KIND)
        upstream.always(hang())
        accepted = await post(app.client, [KIND, "something new"], background=True)
        status, _ = await ended(app, accepted["job_id"])
        batch = (await app.client.get(f"{PATH}/{status['job_id']}/results")).json()

    assert status["status"] == "completed"
    assert batch["results"][0]["final_decision"] == "A"
    assert [(error["index"], error["code"]) for error in batch["errors"]] == [(1, "timeout")]


async def test_an_outage_leaves_the_decision_to_a_human(behind: Start, upstream: Upstream):
    upstream.always(failing(500))

    async with behind() as app:
        batch = await post(app.client, [KIND, THREAT])

    assert [result["final_decision"] for result in batch["results"]] == ["M", "R"]


async def test_the_limits_of_a_batch_decide_also_in_the_background(behind: Start):
    limits = {"low": 0, "high": 1}

    async with behind() as app:
        now = await post(app.client, [RUDE], probability_thresholds=limits)
        later = await post(app.client, [RUDE], probability_thresholds=limits, background=True)
        await ended(app, later["job_id"])
        results = (await app.client.get(f"{PATH}/{later['job_id']}/results")).json()["results"]

    assert now["results"][0]["final_decision"] == results[0]["final_decision"] == "R"


@SHARED
async def test_a_batch_of_a_hundred_is_taken_and_one_more_is_too_large(emptied: App):
    most = await emptied.client.post(PATH, json={"contents": ["x"] * 100})
    more = await emptied.client.post(PATH, json={"contents": ["x"] * 101})

    assert most.status_code == 200
    assert "MAX_BATCH_SIZE" in assert_problem(more, 413)["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"contents": []}, "/contents"),
        ({"contents": "x"}, "/contents"),
        ({"contents": ["x", 5]}, "/contents/1"),
        ({"contents": ["x"], "background": "yes"}, "/background"),
        ({"contents": ["x"], "percentages": [0.5]}, "/thresholds"),
        ({"contents": ["x"], "probability_thresholds": {"low": 101}}, "/probability_thresholds"),
    ],
)
@SHARED
async def test_a_wrong_batch_is_refused_with_its_place(shared: App, body: Any, pointer: str):
    reply = await shared.client.post(PATH, json=body)

    assert assert_problem(reply, 422)["errors"][0]["pointer"].startswith(pointer)


@SHARED
async def test_a_batch_is_its_owner_s_and_the_administrators(emptied: App):
    job_id = (await post(await emptied.key("operator", owner="team"), [KIND]))["job_id"]
    clients = {
        "colleague": await emptied.key("viewer", owner="team"),
        "admin": emptied.client,
        "stranger": await emptied.key("operator", owner="other"),
        "nobody": emptied.connect(None),
    }

    answers = {
        name: [
            (await client.get(f"{PATH}/{job_id}/{what}")).status_code
            for what in ("status", "results")
        ]
        for name, client in clients.items()
    }

    assert answers == {
        "colleague": [200, 200],
        "admin": [200, 200],
        "stranger": [403, 403],
        "nobody": [401, 401],
    }


@pytest.mark.parametrize("name", ["batch_none", "%00", "x" * 3000, "'; DROP TABLE x; --"])
@SHARED
async def test_an_unknown_batch_is_not_found(shared: App, name: str):
    assert_problem(await shared.client.get(f"{PATH}/{name}/status"), 404)
    assert_problem(await shared.client.get(f"{PATH}/{name}/results"), 404)


@pytest.mark.parametrize("background", [False, True])
@SHARED
async def test_a_request_sent_again_with_its_key_is_one_batch(emptied: App, background: bool):
    headers = {"Idempotency-Key": f"key-{background}"}
    body = {"contents": [KIND], "background": background}

    first, second, other = [
        await emptied.client.post(PATH, json=sent, headers=headers)
        for sent in (body, body, {**body, "contents": [THREAT]})
    ]

    assert first.json()["job_id"] == second.json()["job_id"]
    assert "Idempotency-Key" in assert_problem(other, 422)["detail"]


async def test_a_batch_accepted_by_one_server_is_known_to_the_other(start: Start):
    """O-12"""
    async with start() as one, start() as two:
        batch = await post(one.client, [KIND, THREAT], background=True)

        status, _ = await ended(two, batch["job_id"])

    assert status["status"] == "completed"


async def test_batches_are_counted(app: App):
    await post(app.client, [KIND, KIND, ""])

    told = (await app.client.get("/api/metrics")).json()["batch"]

    assert (told["total"], told["items"]) == (1, 3)
    assert (told["items_cached"], told["items_failed"]) == (1, 1)
