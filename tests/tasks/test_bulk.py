from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.errors import InvalidInput
from penstock.tasks import TaskQueue, open_queue
from penstock.tasks.bulk import Tally, bulk_task, change, selection
from penstock.tasks.job import JobFilter
from penstock.tasks.task import declare


@declare(name="test.note", queue="analytics")
async def note(number: int) -> None: ...


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[TaskQueue]:
    """A queue whose analytics jobs wait."""
    async with open_queue(f"embedded://{tmp_path}/tasks.db") as queue:
        await queue.pause("analytics")
        yield queue


def meant(**which: object) -> JobFilter:
    return selection("cancel", JobFilter(task="test.note", **which))  # type: ignore[arg-type]


async def test_each_job_is_changed_once_and_the_rest_is_left(queue: TaskQueue):
    await queue.enqueue_many(note, range(250))
    other = await queue.enqueue(note, (1,), {}, {"owner": "other"})
    progress: list[int] = []

    tally = await change(
        "cancel",
        meant(created_before=2**53, owner=None),
        engine=queue.engine,
        store=queue.store,
        before=other.id,
        report=progress.append,
    )

    assert tally == Tally(changed=250, skipped=0)
    assert progress == [100, 200, 250]
    assert (await other.status()).state == "queued"


async def test_a_bulk_job_leaves_what_was_enqueued_after_it(queue: TaskQueue):
    task = bulk_task(queue.engine, queue.store)
    await queue.pause("maintenance")
    early = await queue.enqueue(note, (1,))
    bulk = await queue.enqueue(task, ("cancel", meant()))
    late = await queue.enqueue(note, (2,))

    await queue.resume("maintenance")

    assert await bulk.result(60) == Tally(changed=1)
    assert (await early.status()).state == "cancelled"
    assert (await late.status()).state == "queued"


async def test_what_changed_meanwhile_is_skipped(queue: TaskQueue):
    job = await queue.enqueue(note, (1,))
    stale = await queue.store.page(meant())
    await job.cancel()

    class Late:
        """A store that still shows what was there before."""

        def __init__(self) -> None:
            self.pages = [stale, []]

        async def page(self, *_: object, **__: object) -> object:
            return self.pages.pop(0)

    tally = await change("cancel", meant(), engine=queue.engine, store=Late())  # type: ignore[arg-type]

    assert tally == Tally(changed=0, skipped=1)


@pytest.mark.parametrize(
    ("action", "states"), [("cancel", ("queued", "running")), ("retry", ("failed",))]
)
def test_without_states_an_action_has_its_usual_ones(action, states):
    assert selection(action, JobFilter()).states == states


@pytest.mark.parametrize(("action", "state"), [("cancel", "failed"), ("retry", "running")])
def test_a_state_that_an_action_is_not_for_is_refused(action, state):
    with pytest.raises(InvalidInput, match=state):
        selection(action, JobFilter(states=(state,)))
