from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from penstock.tasks.context import ctx
from penstock.tasks.engine import Completed, Failed, Outcome, Run, Stopped
from penstock.tasks.execution.run import CoroutineAttempt
from penstock.tasks.task import declare
from tests.tasks.execution import functions
from tests.tasks.execution.conftest import Rig, soon

LONG = 60.0


@declare()
async def wait() -> None:
    await asyncio.Event().wait()


def what_there_is() -> set[object]:
    """Tasks, threads, and open files with what they are open on."""
    files = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that this listing is read from
            files.add((each.name, str(each.readlink())))
    return {*asyncio.all_tasks(), *threading.enumerate(), *files}


async def test_a_stop_lets_jobs_end_within_the_grace(rig: Rig) -> None:
    go = asyncio.Event()

    @declare()
    async def finish() -> str:
        await go.wait()
        return "done"

    outcome = rig.start(finish)
    asyncio.get_running_loop().call_soon(go.set)
    await soon(asyncio.ensure_future(rig.execution.stop(LONG)))

    assert outcome.result() == Completed(b'"done"')


async def test_a_stop_stops_what_is_left(rig: Rig) -> None:
    @declare()
    def steps() -> None:
        while True:
            ctx.check()

    outcomes = [rig.start(wait), rig.start(steps)]
    await asyncio.sleep(0)
    await rig.execution.stop(0.01)

    assert [outcome.result() for outcome in outcomes] == [Stopped(), Stopped()]
    assert not rig.execution.running


async def test_a_stop_returns_although_a_thread_does_not(rig: Rig) -> None:
    release = threading.Event()

    @declare()
    def block() -> None:
        release.wait(LONG)

    outcome = rig.start(block)
    await rig.execution.stop(0)

    assert isinstance(outcome.result(), Stopped)  # its thread may not have begun yet
    release.set()


async def test_a_run_that_comes_after_the_stop_is_stopped(rig: Rig) -> None:
    await rig.execution.stop(0)

    assert await rig.run(wait) == Stopped(has_begun=False)


def test_a_job_is_stopped_not_failed_when_the_loop_is_torn_down() -> None:
    """As asyncio.run does with whatever is left on the loop, before the engine asks for it."""
    outcomes: list[Outcome] = []
    begun = asyncio.Event()

    @declare()
    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def keep(rig: Rig, outcome: asyncio.Future[Outcome]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            outcomes.append(await outcome)
            await rig.execution.aclose()

    async def main() -> asyncio.Task[None]:
        rig = Rig()
        keeper = asyncio.ensure_future(keep(rig, rig.start(hang)))
        await begun.wait()
        return keeper

    asyncio.run(main())

    assert outcomes == [Stopped()]


async def test_an_attempt_that_no_thread_can_be_had_for_has_failed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    @declare()
    def plain() -> int:
        return 1

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        outcome = rig.start(plain)

    failed = await soon(outcome)
    assert (failed.type, failed.retryable) == ("RuntimeError", True)
    assert await rig.run(plain) == Completed(b"1")


async def test_a_function_that_raises_what_closes_generators_has_failed(rig: Rig) -> None:
    @declare()
    async def leave() -> None:
        raise GeneratorExit

    failed = await rig.run(leave)

    assert isinstance(failed, Failed)
    assert failed.type == "GeneratorExit"


async def test_a_coroutine_that_is_thrown_away_tells_nobody(rig: Rig) -> None:
    @declare()
    async def linger() -> None:
        begun.set()
        await asyncio.Event().wait()

    begun = asyncio.Event()
    outcome = rig.start(linger)
    await begun.wait()
    attempt = rig.execution._desk.attempts[1]
    assert isinstance(attempt, CoroutineAttempt)
    assert attempt.task is not None

    # As the collector does with what a closed loop has left.
    cast(Coroutine[Any, Any, None], attempt.task.get_coro()).close()

    assert not outcome.done()


async def test_a_job_that_cancels_itself_has_failed(rig: Rig) -> None:
    @declare()
    async def give_in() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    outcome = await rig.run(give_in)

    assert isinstance(outcome, Failed)
    assert outcome.type == "CancelledError"


async def test_an_engine_that_fails_to_take_an_outcome_harms_no_other_job(
    rig: Rig, told: Callable[[], list[str]]
) -> None:
    @declare()
    async def one() -> int:
        return 1

    def refuse(run: Run, outcome: Outcome) -> None:
        raise RuntimeError("the engine is broken")

    rig.execution.start(Run(1_000, "job_x", one, one.pack((), {}), 1, refuse))

    assert await rig.run(one) == Completed(b"1")
    assert any("outcome_refused" in line for line in told())


@pytest.mark.slow
async def test_nothing_is_left_after_closing(make_rig: Callable[..., Rig], tmp_path: Path) -> None:
    @declare()
    def plain() -> int:
        return 1

    @declare()
    async def coroutine() -> int:
        return 1

    before = what_there_is()

    rig = make_rig(cancel_grace=0.2)
    await rig.run(plain)
    await rig.run(coroutine)
    await rig.run(functions.double, 1)
    running = [rig.start(wait), rig.start(functions.endless, str(tmp_path))]
    await rig.progress(5)
    await rig.execution.aclose()

    assert what_there_is() <= before  # what an earlier test left may end meanwhile
    assert [outcome.result() for outcome in running] == [Stopped(), Stopped()]
