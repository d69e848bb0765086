"""Outcomes that cannot be stored as they are: the job ends nevertheless."""

from __future__ import annotations

import asyncio

import pytest

from penstock.tasks.context import _running
from penstock.tasks.engine import Completed, Failed, Run
from penstock.tasks.job import JobFilter, Progress
from tests.tasks.embedded.embedded_jobs import Idle, add, declare, final, job


async def work() -> None: ...


WORK = declare(work)


def ends_with(outcome):
    """An execution each of whose attempts ends so."""

    class Ends(Idle):
        def start(self, run: Run) -> None:
            asyncio.get_running_loop().call_soon(run.done, run, outcome)

    return Ends


@pytest.mark.parametrize(
    "outcome",
    [
        Completed(b"\xff"),
        Failed("Odd", "asks for a time that is none", after=float("nan")),
        Failed("Odd", "asks for a time that no file can note", after=1e300),
        Failed("Odd", "", after="soon"),
    ],
    ids=["result", "nan", "far", "text"],
)
@pytest.mark.parametrize("key", [None, "k"])
async def test_what_cannot_be_stored_is_a_failure(opened, outcome, key):
    engine = await opened(WORK, execution=ends_with(outcome), workers=1)

    (job_id,) = await add(engine, job(WORK, key=key))

    record = await final(engine, job_id)
    assert (record.state, record.error.type) == ("failed", "NotStorable")
    (after,) = await add(engine, job(WORK))  # its place is free
    assert (await final(engine, after)).state == "failed"


async def test_halves_of_characters_in_a_failure_are_written_out(opened):
    outcome = Failed("Odd\udc80", "no file \udc80", "at \udc80", retryable=False)
    engine = await opened(WORK, execution=ends_with(outcome))

    (job_id,) = await add(engine, job(WORK))

    error = (await final(engine, job_id)).error
    assert (error.type, error.message, error.traceback) == (
        "Odd\\udc80",
        "no file \\udc80",
        "at \\udc80",
    )


@pytest.mark.parametrize("wait", [0.0, 0.3], ids=["with its end", "before its end"])
async def test_progress_that_cannot_be_stored_does_not_keep_a_job_from_ending(opened, wait):
    reported = asyncio.Event()

    async def tell() -> str:
        _running.get().report(Progress(1, 2, note="\udc80"))
        reported.set()
        await asyncio.sleep(wait)
        return "done"

    engine = await opened(declare(tell))
    (job_id,) = await add(engine, job(declare(tell)))
    await reported.wait()

    assert (await final(engine, job_id)).result == "done"


async def test_a_record_of_which_a_part_cannot_be_read_is_shown_without_it(opened, sql):
    engine = await opened()
    (job_id,) = await add(engine, job(WORK))

    sql.execute("""UPDATE job SET errors = '[{}]', progress = '{"done":1.5}'""")

    (record,) = await engine.store.page(JobFilter())
    assert record == await engine.store.get(job_id)
    assert (record.errors, record.progress) == ((), Progress())


async def test_stored_errors_that_cannot_be_read_do_not_keep_a_job_from_ending(opened, sql):
    async def refuse() -> None:
        sql.execute("UPDATE job SET errors = '[{}]'")
        raise ValueError("no")

    engine = await opened(declare(refuse, retries=0))
    (job_id,) = await add(engine, job(declare(refuse, retries=0)))

    assert [error.message for error in (await final(engine, job_id)).errors] == ["no"]
