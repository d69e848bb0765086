"""The asynchronous client and the real application, in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import penstock_client
import pytest
from penstock_client import AsyncPenstock

from penstock.server.app import Server
from tests.conftest import ADMIN

KIND = "Have a lovely day."
RUDE = "You are an idiot and I hate you."


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncPenstock]:
    """A client with the admin key."""
    transport = httpx2.ASGITransport(app=server, raise_app_exceptions=False)
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        AsyncPenstock(base_url="http://host", api_key=ADMIN, http_client=http) as client,
    ):
        yield client


async def test_the_second_look_at_a_text_is_from_the_cache(client: AsyncPenstock) -> None:
    first = await client.moderate_content(KIND)
    second = await client.moderate_content(KIND)

    assert (first.final_decision, first.from_cache, second.from_cache) == ("A", False, True)
    assert 0 <= first.inappropriate_probability <= 20
    assert first.request_id != second.request_id


async def test_a_recorded_result_is_found_again(client: AsyncPenstock) -> None:
    judged = await client.moderate_content(RUDE)

    found = await client.get_result(judged.moderation_id)

    assert found.final_decision == judged.final_decision
    assert found.inappropriate_probability == judged.inappropriate_probability


async def test_native_verdicts_come_in_order(client: AsyncPenstock) -> None:
    kind, rude = await client.moderate([KIND, RUDE])

    assert kind.decision == "approved"
    assert rude.decision != "approved"
    assert rude.flagged
    assert rude.spans
    assert rude.models


async def test_documents_of_the_system(client: AsyncPenstock) -> None:
    await client.moderate_content(KIND)

    health = await client.get_health()
    metrics = await client.get_metrics()
    stats = await client.get_cache_stats()
    cleared = await client.clear_cache()

    assert health.status in ("healthy", "degraded")
    assert health.checks
    assert metrics.requests is not None
    assert metrics.requests["total"] >= 1
    assert stats.enabled
    assert stats.keys >= 1
    assert cleared.cleared_entries >= 1


async def test_a_wrong_key_is_an_authentication_error(server: Server) -> None:
    transport = httpx2.ASGITransport(app=server)
    async with httpx2.AsyncClient(transport=transport) as http:
        client = AsyncPenstock(base_url="http://host", api_key="psk_wrong", http_client=http)

        assert not await client.test_connection()
        with pytest.raises(penstock_client.AuthenticationError) as caught:
            await client.moderate_content(KIND)

    assert caught.value.code == "unauthorized"
    assert caught.value.request_id


async def test_the_right_key_connects(client: AsyncPenstock) -> None:
    assert await client.test_connection()


async def test_wrong_input_is_named(client: AsyncPenstock) -> None:
    with pytest.raises(penstock_client.InvalidInputError) as caught:
        await client.moderate_content("half a pair: \ud800")

    assert caught.value.errors[0]["pointer"] == "/content"


async def test_a_batch_keeps_its_order(client: AsyncPenstock) -> None:
    texts = [KIND, RUDE, "", KIND]

    results = await client.moderate_batch(texts)

    assert [result.final_decision == "A" for result in results] == [True, False, False, True]
    assert len(results) == len(texts)


async def test_a_batch_in_the_background_is_watched_to_its_end(client: AsyncPenstock) -> None:
    job = await client.moderate_batch([f"text {n}" for n in range(50)], background=True)
    seen: list[float] = []

    status = await job.wait(timeout=30, progress=lambda s: seen.append(s.progress_percent))
    results = await job.results()

    assert job.job_id
    assert status.status == "completed"
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert len(results) == 50
    assert await client.get_batch_results(job.job_id) == results


@pytest.mark.parametrize(
    ("texts", "error"),
    [([], penstock_client.InvalidInputError), (["a"] * 101, penstock_client.TooLargeError)],
)
async def test_a_batch_of_no_or_too_many_texts_is_refused(
    texts: list[str], error: type[Exception], client: AsyncPenstock
) -> None:
    with pytest.raises(error):
        await client.moderate_batch(texts)


async def test_a_batch_that_is_not_there(client: AsyncPenstock) -> None:
    with pytest.raises(penstock_client.NotFoundError):
        await client.get_batch_status("batch_unknown")
    with pytest.raises(penstock_client.NotFoundError):
        await client.get_job("job_0000000000000")


async def test_a_batch_of_an_endpoint(client: AsyncPenstock) -> None:
    made = await client.create_batch(
        [{"custom_id": f"line-{n}", "body": {"input": f"text {n}"}} for n in range(12)],
        metadata={"team": "red"},
    )

    ended = await client.wait_for_batch(made.id, timeout=30)
    results = [result async for result in client.batch_results(made.id, page_size=5)]

    assert (ended.status, ended.metadata, ended.progress.total) == (
        "completed",
        {"team": "red"},
        12,
    )
    assert [result.custom_id for result in results] == [f"line-{n}" for n in range(12)]
    assert results[0].body["results"][0]["penstock"]["decision"] == "approved"


async def test_jobs_are_listed_and_a_finished_one_cannot_be_cancelled(
    client: AsyncPenstock,
) -> None:
    made = await client.create_batch([{"body": {"input": "text"}}])
    await client.wait_for_batch(made.id, timeout=30)

    (job,) = [job async for job in client.list_jobs(batch_id=made.id)]

    assert (await client.wait_for_job(job.id, timeout=30)).state == "completed"
    with pytest.raises(penstock_client.ConflictError, match="completed"):
        await client.cancel_job(job.id)
