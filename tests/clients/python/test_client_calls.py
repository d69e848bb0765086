"""Each method: what it asks for, and what becomes of the answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import penstock_client
import pytest
from penstock_client import AsyncPenstock, BatchJob, Penstock

ITEM = {
    "moderation_id": "mod_2",
    "final_decision": "R",
    "ai_result": {"inappropriate_probability": 91, "reason": "rude"},
    "reason": "harassment",
}
STATUS = {
    "job_id": "batch_1",
    "status": "processing",
    "total_items": 4,
    "processed_items": 1,
    "progress_percent": 25.0,
}
JOB = {"id": "job_1", "task": "a:b", "state": "running", "created_at": "2026-01-02T03:04:05Z"}
BATCH = {
    "id": "batch_1",
    "status": "in_progress",
    "created_at": 1_700_000_000,
    "penstock": {"job_id": "job_1", "progress": {"done": 1, "total": 4, "percent": 25.0}},
}


async def test_a_moderation_has_fist_s_attributes(call: Any, stub: Any) -> None:
    result = await call("moderate_content", "Have a lovely day.")

    assert (result.final_decision, result.inappropriate_probability) == ("A", 7)
    assert (result.from_cache, result.reason, result.moderation_id) == (
        False,
        "nothing found",
        "mod_1",
    )
    assert result.created_at == datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert result.raw["of_a_newer_server"] is True
    assert result.request_id == "req-1"


async def test_a_native_verdict_is_flat(call: Any, stub: Any) -> None:
    result = {
        "flagged": True,
        "categories": {"hate": True},
        "category_scores": {"hate": 1},
        "penstock": {
            "id": "mod_1",
            "decision": "rejected",
            "risk": 0.9,
            "spans": [{"start": 0, "end": 3, "category": "hate", "new": 1}],
            "policy": {"id": "default", "version": "1"},
            "receipt": {"source": "memory", "models": {"local": "3"}},
            "degraded": None,
        },
    }
    stub.answer(document={"id": "modr-1", "results": [result]})
    stub.answer(document={"id": "modr-2", "results": [result, result]})

    one = await call("moderate", "bad")
    two = await call("moderate", ("bad", "worse"))

    assert (one.decision, one.from_cache, one.category_scores["hate"]) == ("rejected", True, 1.0)
    assert (one.spans[0].end, one.policy_id, one.models) == (3, "default", {"local": "3"})
    assert len(two) == 2
    assert [seen.body["input"] for seen in stub.requests] == [["bad"], ["bad", "worse"]]


async def test_a_batch_is_a_list_in_order(call: Any, stub: Any) -> None:
    results = [{**ITEM, "moderation_id": f"mod_{n}"} for n in range(3)]
    stub.answer(document={**STATUS, "status": "completed", "results": results})

    found = await call("moderate_batch", iter(["a", "b", "c"]))

    assert [result.moderation_id for result in found] == ["mod_0", "mod_1", "mod_2"]
    assert stub.requests[0].path == "/api/moderate/batch"
    assert stub.requests[0].body == {"contents": ["a", "b", "c"], "background": False}


async def test_a_batch_in_the_background_is_a_job(call: Any, stub: Any) -> None:
    stub.answer(202, STATUS)

    job = await call("moderate_batch", ["a"], background=True)

    assert job.job_id == "batch_1"
    assert job.latest.status == "processing"
    assert stub.requests[0].body["background"] is True


async def test_one_text_is_no_batch(call: Any, stub: Any) -> None:
    with pytest.raises(TypeError, match="list of texts"):
        await call("moderate_batch", "one text")

    assert not stub.requests


async def test_the_status_of_a_batch(call: Any, stub: Any) -> None:
    stub.answer(document={**STATUS, "elapsed_seconds": 3, "estimated_remaining_seconds": None})

    status = await call("get_batch_status", "batch_1")

    assert (status.status, status.progress_percent, status.elapsed_seconds) == (
        "processing",
        25.0,
        3.0,
    )
    assert not status.done
    assert stub.requests[0].path == "/api/moderate/batch/batch_1/status"


async def test_results_before_the_end_are_a_conflict(call: Any, stub: Any) -> None:
    stub.problem(409, "conflict", "the batch is processing: 1 of 4; ask for /status")

    with pytest.raises(penstock_client.ConflictError, match="1 of 4"):
        await call("get_batch_results", "batch_1")


DOCUMENTS = {
    "get_health": ("GET /api/health", {"status": "healthy", "checks": {"disk": {}}}),
    "get_metrics": ("GET /api/metrics", {"enabled": True, "requests": {"total": 3}}),
    "get_cache_stats": ("GET /api/cache/stats", {"enabled": True, "hits": 2, "hit_rate": 0.5}),
    "clear_cache": ("POST /v1/cache/clear", {"cleared_entries": 4, "pattern": None}),
}


@pytest.mark.parametrize(("method", "route", "document"), [(m, *d) for m, d in DOCUMENTS.items()])
async def test_documents_are_parsed(
    method: str, route: str, document: dict[str, Any], call: Any, stub: Any
) -> None:
    stub.answer(document={**document, "unknown": [1]})

    found = await call(method)

    assert f"{stub.requests[0].method} {stub.requests[0].path}" == route
    assert {name: getattr(found, name) for name in document} == document
    assert found.raw["unknown"] == [1]


async def test_a_pattern_says_what_to_forget(call: Any, stub: Any) -> None:
    stub.answer(document={"cleared_entries": 1})

    await call("clear_cache", "moderation:*", older_than_seconds=60)

    assert stub.requests[0].body == {"pattern": "moderation:*", "older_than_seconds": 60}


async def test_a_connection_is_tested_without_raising(call: Any, stub: Any) -> None:
    stub.answer(document={"key_id": "env"})
    stub.problem(401)
    stub.cut()

    assert [await call("test_connection") for _ in range(3)] == [True, False, False]
    assert [seen.path for seen in stub.requests] == ["/v1/keys/current"] * 3


async def test_a_list_is_read_page_by_page(call: Any, stub: Any) -> None:
    stub.answer(document={"items": [JOB, {**JOB, "id": "job_2"}], "next": "c u"})
    stub.answer(document={"items": [{**JOB, "id": "job_3"}], "next": None})

    jobs = await call("list_jobs", state=["failed", "queued"], queue="default", page_size=2)

    assert [job.id for job in jobs] == ["job_1", "job_2", "job_3"]
    assert [seen.path for seen in stub.requests] == [
        "/v1/jobs?state=failed&state=queued&queue=default&limit=2",
        "/v1/jobs?state=failed&state=queued&queue=default&limit=2&cursor=c+u",
    ]


async def test_nothing_is_asked_before_a_list_is_read(penstock: Penstock, stub: Any) -> None:
    penstock.list_jobs()

    assert not stub.requests


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("get_job", "GET /v1/jobs/job_1"),
        ("cancel_job", "POST /v1/jobs/job_1/cancel"),
        ("retry_job", "POST /v1/jobs/job_1/retry"),
    ],
)
async def test_jobs(method: str, route: str, call: Any, stub: Any) -> None:
    stub.answer(document={**JOB, "progress": {"done": 2, "total": 3}, "error": {"type": "Lost"}})

    job = await call(method, "job_1")

    assert f"{stub.requests[0].method} {stub.requests[0].path}" == route
    assert (job.state, job.progress.done, job.error.type) == ("running", 2, "Lost")
    assert job.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def test_a_batch_of_any_endpoint(call: Any, stub: Any) -> None:
    stub.answer(document=BATCH)

    batch = await call(
        "create_batch", [{"custom_id": "a", "body": {"input": "x"}}], metadata={"team": "red"}
    )

    assert (batch.id, batch.job_id, batch.progress.total) == ("batch_1", "job_1", 4)
    assert batch.created_at.year == 2023
    assert stub.requests[0].body == {
        "endpoint": "/v1/moderations",
        "requests": [{"custom_id": "a", "body": {"input": "x"}}],
        "completion_window": "24h",
        "metadata": {"team": "red"},
    }


async def test_results_of_a_batch_are_read_page_by_page(call: Any, stub: Any) -> None:
    good = {"custom_id": "a", "response": {"status_code": 200, "body": {"id": 1}}, "error": None}
    bad = {"custom_id": "b", "response": None, "error": {"code": "timeout", "message": "late"}}
    stub.answer(document={"items": [good], "next": "2"})
    stub.answer(document={"items": [bad], "next": None})

    first, second = await call("batch_results", "batch_1")

    assert (first.custom_id, first.status_code, first.body) == ("a", 200, {"id": 1})
    assert (second.custom_id, second.body, second.error.code) == ("b", None, "timeout")


async def test_later_results_of_a_batch_that_runs_are_waited_for(
    call: Any, stub: Any, times: Any
) -> None:
    stub.answer(document={"items": [], "next": "0"})
    stub.answer(document={"items": [{"custom_id": "a"}], "next": "1"})
    stub.answer(document={"items": [], "next": "1"})
    stub.answer(document={"items": [], "next": None})

    results = await call("batch_results", "batch_1")

    assert [result.custom_id for result in results] == ["a"]
    assert times.waits == [0.2, 0.2]


@pytest.mark.parametrize("given", ["", "..", "."])
def test_what_is_no_id_is_refused(given: str, penstock: Penstock, stub: Any) -> None:
    with pytest.raises(ValueError, match="no id"):
        penstock.get_job(given)

    assert not stub.requests


def test_an_id_stays_in_its_place(penstock: Penstock, stub: Any) -> None:
    stub.answer(document=JOB)

    penstock.get_job("../keys?x=/1")

    assert stub.requests[0].path == "/v1/jobs/..%2Fkeys%3Fx%3D%2F1"


def test_half_a_surrogate_pair_reaches_the_server(penstock: Penstock, stub: Any) -> None:
    penstock.moderate_content("a\ud800b")

    assert stub.requests[0].body == {"content": "a\ud800b"}


def test_a_job_of_an_id_that_was_kept(penstock: Penstock, stub: Any) -> None:
    stub.answer(document={**STATUS, "status": "completed", "results": [ITEM]})

    (result,) = BatchJob(penstock, "batch_1").results()

    assert (result.final_decision, result.inappropriate_probability) == ("R", 91)


async def test_a_text_that_could_not_be_judged_is_for_a_person(call: Any, stub: Any) -> None:
    late = {"index": 1, "error": "not done in time", "code": "timeout"}
    stub.answer(document={**STATUS, "results": [ITEM, None, None], "errors": [late]})

    judged, failed, unknown = await call("moderate_batch", ["a", "b", "c"])

    assert (judged.final_decision, judged.error) == ("R", None)
    assert (failed.final_decision, failed.error.code, failed.reason) == (
        "M",
        "timeout",
        "not done in time",
    )
    assert unknown.error is not None


@pytest.mark.parametrize("method", ["moderate", "moderate_batch"])
async def test_a_result_that_is_missing_is_noticed(method: str, call: Any, stub: Any) -> None:
    stub.answer(document={"results": []})

    with pytest.raises(penstock_client.InvalidAnswerError, match="0 results for 2 texts"):
        await call(method, ["a", "b"])


async def test_how_texts_are_judged_can_be_said(call: Any, stub: Any) -> None:
    asked: dict[str, Any] = {"percentages": [1.0], "thresholds": []}
    asked["probability_thresholds"] = {"low": 10, "high": 60}
    stub.answer(document={"result": ITEM})
    stub.answer(document={**STATUS, "results": [ITEM]})

    await call("moderate_content", "a", **asked, max_retries=0)
    await call("moderate_batch", ["a"], **asked)

    assert stub.requests[0].body == {"content": "a", **asked}
    assert stub.requests[1].body == {"contents": ["a"], "background": False, **asked}


async def test_a_text_is_kept_under_its_user(call: Any, stub: Any) -> None:
    stub.problem(422)

    with pytest.raises(penstock_client.InvalidInputError):
        await call("moderate", "a", user="anna")

    assert stub.requests[0].body == {"input": ["a"], "user": "anna"}


async def test_results_outlive_a_restart_of_the_server(call: Any, stub: Any, times: Any) -> None:
    stub.answer(document={"items": [{"custom_id": "a"}], "next": "1"})
    for _ in range(12):
        stub.cut()
    stub.answer(document={"items": [{"custom_id": "b"}], "next": None})

    results = await call("batch_results", "batch_1")

    assert [result.custom_id for result in results] == ["a", "b"]
    assert {seen.path for seen in stub.requests[1:]} == {"/v1/batches/batch_1/results?cursor=1"}


async def test_results_of_a_server_that_stays_away_end(call: Any, stub: Any, times: Any) -> None:
    for _ in range(200):
        stub.cut()

    with pytest.raises(penstock_client.ConnectionError):
        await call("batch_results", "batch_1")

    assert 60 < sum(times.waits) < 80


async def test_a_list_goes_on_where_a_page_ended(penstock: Penstock, stub: Any) -> None:
    stub.answer(document={"items": [{"custom_id": "a"}], "next": "1"})
    first = next(penstock.batch_results("batch_1", page_size=1).pages())
    stub.answer(document={"items": [{"custom_id": "b"}], "next": None})

    (second,) = penstock.batch_results("batch_1", page_size=1).pages(first.next)

    assert [first.items[0].custom_id, second.items[0].custom_id] == ["a", "b"]
    assert stub.requests[1].path == "/v1/batches/batch_1/results?limit=1&cursor=1"


async def test_the_pages_of_an_async_list_are_read(stub: Any, times: Any) -> None:
    stub.answer(document={"items": [JOB], "next": "1"})
    stub.answer(document={"items": [], "next": None})

    async with AsyncPenstock(base_url=stub.url, clock=times) as client:
        sizes = [len(page.items) async for page in client.list_jobs().pages("0")]

    assert sizes == [1, 0]
    assert [seen.path[-9:] for seen in stub.requests] == ["?cursor=0", "?cursor=1"]


def test_a_filter_that_is_none_is_refused(penstock: Penstock, stub: Any) -> None:
    with pytest.raises(TypeError, match="stat"):
        list(penstock.list_jobs(stat="failed"))  # type: ignore[call-arg]

    assert not stub.requests
