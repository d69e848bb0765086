"""A program of a user of the client. mypy --strict reads it; a test runs that."""

from __future__ import annotations

from typing import assert_type

from penstock_client import (
    AsyncBatchJob,
    AsyncPenstock,
    Batch,
    BatchJob,
    BatchResult,
    BatchStatus,
    FistClient,
    Health,
    JobRecord,
    Moderation,
    Page,
    Penstock,
    PenstockError,
    RateLimitError,
    Verdict,
)


def told(status: BatchStatus) -> None:
    assert status.progress_percent <= 100


def blocking(texts: list[str]) -> str:
    with Penstock(base_url="http://127.0.0.1:8000", api_key="psk_...") as client:
        try:
            result = client.moderate_content(texts[0], timeout=5, max_retries=0)
        except RateLimitError as error:
            return f"come again in {error.retry_after} s"
        except PenstockError:
            return "later"
        assert_type(result, Moderation)
        assert_type(result.inappropriate_probability, int)
        assert_type(client.moderate("one"), Verdict)
        assert_type(client.moderate(["one", "two"]), list[Verdict])
        assert_type(client.moderate_batch(texts), list[Moderation])
        job = client.moderate_batch(texts, background=True)
        assert_type(job, BatchJob)
        assert_type(job.wait(timeout=60, progress=told), BatchStatus)
        assert_type(job.results(), list[Moderation])
        assert_type(
            client.moderate_batch(texts, background=len(texts) > 100), list[Moderation] | BatchJob
        )
        assert_type(client.get_health(), Health)
        for record in client.list_jobs(state="failed"):
            assert_type(record, JobRecord)
        batch = client.create_batch([{"custom_id": "a", "body": {"input": "x"}}])
        assert_type(client.wait_for_batch(batch.id, progress=True), Batch)
        assert_type([*client.batch_results(batch.id)], list[BatchResult])
        for page in client.batch_results(batch.id, page_size=10).pages("cursor"):
            assert_type(page, Page[BatchResult])
        return result.final_decision


async def waiting(texts: list[str]) -> int:
    async with AsyncPenstock() as client:
        assert_type(await client.moderate_content("one"), Moderation)
        assert_type(await client.moderate("one"), Verdict)
        assert_type(await client.moderate_batch(texts), list[Moderation])
        job = await client.moderate_batch(texts, background=True)
        assert_type(job, AsyncBatchJob)
        assert_type(await job.wait(progress=True), BatchStatus)
        return len([record async for record in client.list_jobs(page_size=10)])


def by_its_old_name() -> Moderation:
    return FistClient(token="fist_...", base_url="http://localhost:8000").moderate_content("one")


def misused(client: Penstock) -> None:
    client.moderate_content("one", retries=3)  # type: ignore[call-arg]
    client.moderate_content(b"one")  # type: ignore[arg-type]
    client.moderate_batch(["one"]).results()  # type: ignore[attr-defined]
    client.moderate_batch(["one"], background=True)[0]  # type: ignore[index]
    client.list_jobs(state="lost")  # type: ignore[arg-type]
    client.list_jobs(states="failed")  # type: ignore[call-arg]
