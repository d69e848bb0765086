from __future__ import annotations

import asyncio
import contextvars
from pathlib import Path

import pytest

from penstock.errors import JobCancelled
from penstock.tasks.context import Running, bind, ctx, unbind
from penstock.tasks.job import Progress


def test_outside_a_job_nothing_happens():
    ctx.progress(1, 2)
    ctx.check()

    assert (ctx.job_id, ctx.attempt, ctx.owner, ctx.cancelled) == (None, 0, None, False)


def test_inside_a_job_it_speaks_for_it():
    told: list[Progress] = []
    token = bind(Running("job_1", 2, "ann", told.append, lambda: False))

    ctx.progress(3, 10, "reading", failed=1, cached=2)
    ctx.check()

    assert (ctx.job_id, ctx.attempt, ctx.owner) == ("job_1", 2, "ann")
    assert told == [Progress(3, 10, 1, 2, "reading")]
    unbind(token)
    assert ctx.job_id is None


@pytest.mark.parametrize("wrong", [(0.5,), ("1",), (1, None)], ids=str)
def test_progress_is_counted_in_whole_numbers(wrong):
    with pytest.raises(TypeError, match="as an integer"):
        ctx.progress(*wrong)


def test_a_note_is_made_one_that_can_be_stored():
    told: list[Progress] = []
    token = bind(Running("job_1", 1, None, told.append, lambda: False))

    ctx.progress(1, 2, Path("caf\udce9.txt"))
    ctx.progress(2, 2, "café")

    assert [progress.note for progress in told] == [r"caf\udce9.txt", "café"]
    unbind(token)


def test_a_cancelled_job_is_told_where_it_asks():
    token = bind(Running("job_1", 1, None, lambda _: None, lambda: True))

    assert ctx.cancelled
    with pytest.raises(JobCancelled, match="job_1 was asked to end"):
        ctx.check()
    unbind(token)


async def test_it_follows_into_coroutines_and_threads():
    def seen() -> str | None:
        return ctx.job_id

    async def main() -> tuple[str | None, str | None]:
        bind(Running("job_1", 1, None, lambda _: None, lambda: False))
        return await asyncio.to_thread(seen), await asyncio.ensure_future(_seen())

    async def _seen() -> str | None:
        return seen()

    inner = asyncio.get_running_loop().create_task(main(), context=contextvars.Context())

    assert await inner == ("job_1", "job_1")
    assert ctx.job_id is None
