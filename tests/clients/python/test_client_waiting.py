"""Waiting for a job: what is told meanwhile, and how it ends."""

from __future__ import annotations

import io
import sys
from typing import Any

import penstock_client
import pytest
from penstock_client import AsyncBatchJob, AsyncPenstock, BatchJob, Penstock
from penstock_client.answers import BatchStatus
from penstock_client.progress import shown


def status(word: str, done: int, total: int = 4) -> dict[str, Any]:
    return {"job_id": "batch_1", "status": word, "processed_items": done, "total_items": total}


def test_every_change_is_told_once(penstock: Penstock, stub: Any, times: Any) -> None:
    for done in (0, 0, 0, 2):
        stub.answer(document=status("processing", done))
    stub.answer(document=status("completed", 4))
    told: list[int] = []

    last = BatchJob(penstock, "batch_1").wait(progress=lambda s: told.append(s.processed_items))

    assert last.status == "completed"
    assert told == [0, 2, 4]
    assert times.waits == pytest.approx([0.2, 0.3, 0.45, 0.2])


async def test_progress_of_the_async_client_is_awaited(stub: Any, times: Any) -> None:
    stub.answer(document=status("completed", 4))
    told: list[int] = []

    async def tell(state: BatchStatus) -> None:
        told.append(state.processed_items)

    async with AsyncPenstock(base_url=stub.url, clock=times) as client:
        await AsyncBatchJob(client, "batch_1").wait(progress=tell)

    assert told == [4]


async def test_a_wait_that_is_over_says_that_the_job_goes_on(
    penstock: Penstock, stub: Any, times: Any
) -> None:
    for _ in range(20):
        stub.answer(document=status("processing", 1))

    with pytest.raises(penstock_client.WaitTimeoutError, match="processing after 5 s") as caught:
        BatchJob(penstock, "batch_1").wait(timeout=5)

    assert isinstance(caught.value, TimeoutError)
    assert sum(times.waits) == pytest.approx(5.0)


def test_a_wait_is_not_held_up_by_what_the_server_asks(
    penstock: Penstock, stub: Any, times: Any
) -> None:
    for _ in range(9):
        stub.problem(503, retry_after="60")

    with pytest.raises(penstock_client.WaitTimeoutError, match="not known after 3 s"):
        BatchJob(penstock, "batch_1").wait(timeout=3)

    assert sum(times.waits) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("failed", penstock_client.JobFailedError),
        ("cancelled", penstock_client.JobCancelledError),
        ("expired", penstock_client.JobCancelledError),
    ],
)
async def test_a_job_that_ended_otherwise_raises(
    word: str, error: type[Exception], call: Any, stub: Any
) -> None:
    failure = {"type": "ValueError", "message": "no such file"}
    stub.answer(document={"id": "job_1", "task": "a:b", "state": word, "error": failure})

    with pytest.raises(error, match=f"job_1 is {word}: no such file") as caught:
        await call("wait_for_job", "job_1")

    assert caught.value.job.state == word


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("failed", penstock_client.JobFailedError),
        ("cancelled", penstock_client.JobCancelledError),
    ],
)
def test_a_cancelled_batch_is_told_from_a_failed_one(
    word: str, error: type[Exception], penstock: Penstock, stub: Any
) -> None:
    stub.answer(document=status("failed", 1))
    stub.answer(document={"id": "batch_1", "status": word})

    with pytest.raises(error) as caught:
        BatchJob(penstock, "batch_1").wait()

    assert type(caught.value) is error
    assert stub.requests[1].path == "/v1/batches/batch_1"


async def test_a_batch_of_a_wrong_file_says_what_is_wrong(call: Any, stub: Any) -> None:
    errors = {"data": [{"code": "invalid_json_line", "message": "line 3 is no JSON", "line": 3}]}
    stub.answer(document={"id": "batch_1", "status": "failed", "errors": errors})

    with pytest.raises(penstock_client.JobFailedError, match="line 3 is no JSON"):
        await call("wait_for_batch", "batch_1")


async def test_a_server_that_restarts_is_waited_for(call: Any, stub: Any, times: Any) -> None:
    for _ in range(12):
        stub.cut()
    stub.answer(document={"id": "batch_1", "status": "completed"})

    batch = await call("wait_for_batch", "batch_1")

    assert batch.done


async def test_a_server_that_stays_away_is_not(call: Any, stub: Any, times: Any) -> None:
    for _ in range(200):
        stub.cut()

    with pytest.raises(penstock_client.ConnectionError):
        await call("wait_for_batch", "batch_1")

    assert 60 < sum(times.waits) < 80


def test_a_job_that_is_not_there_is_said_at_once(penstock: Penstock, stub: Any) -> None:
    stub.problem(404)

    with pytest.raises(penstock_client.NotFoundError):
        penstock.wait_for_job("job_1")


def test_a_job_is_cancelled_by_its_id(penstock: Penstock, stub: Any) -> None:
    stub.answer(document={"id": "batch_1", "status": "cancelling"})

    batch = BatchJob(penstock, "batch_1").cancel()

    assert batch.status == "cancelling"
    assert stub.requests[0].path == "/v1/batches/batch_1/cancel"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)

    with shown(True, "batch_1") as report:
        assert report is not None
        report(BatchStatus(job_id="batch_1", status="completed", processed_items=3, total_items=4))

    assert "batch_1" in screen.getvalue()
    assert "3/4" in screen.getvalue()


def test_nothing_is_shown_without_a_terminal_or_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with shown(True, "batch_1") as report:
        assert report is None

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with shown(True, "batch_1") as report:
        assert report is None
