from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from queue import SimpleQueue

import pytest

from penstock.observe.logging import request_id
from penstock.tasks.context import ctx
from penstock.tasks.engine import Completed, Failed, Stopped
from penstock.tasks.execution.threads import Threads
from penstock.tasks.retry import Retry
from penstock.tasks.task import declare
from tests.tasks.execution.conftest import Rig, soon

LONG = 60.0


@pytest.fixture
def release():
    """What the endless functions of a test wait for: they return when it is over."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_plain_function_gives_its_result(rig: Rig) -> None:
    @declare()
    def double(number: int) -> int:
        return 2 * number

    assert await rig.run(double, 21) == Completed(b"42")


async def test_a_failure_in_a_thread_names_where_it_was_raised(rig: Rig) -> None:
    @declare()
    def fail() -> None:
        raise Retry("busy", after=2.5)

    outcome = await rig.run(fail)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.message, outcome.after) == ("Retry", "busy", 2.5)
    assert "in fail\n    raise Retry" in outcome.traceback
    assert "embedded/threads.py" not in outcome.traceback


async def test_sys_exit_in_a_thread_is_a_failure(rig: Rig) -> None:
    @declare()
    def leave() -> None:
        sys.exit(3)

    outcome = await rig.run(leave)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.retryable) == ("SystemExit", False)


async def test_a_result_of_a_thread_that_is_no_json_fails_for_good(rig: Rig) -> None:
    @declare()
    def give() -> object:
        return object()

    outcome = await rig.run(give)

    assert isinstance(outcome, Failed)
    assert not outcome.retryable


async def test_a_function_that_blocks_leaves_the_loop_free(
    rig: Rig, release: threading.Event
) -> None:
    @declare()
    def block() -> bool:
        return release.wait(LONG)

    outcome = rig.start(block)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not outcome.done()
    release.set()

    assert await soon(outcome) == Completed(b"true")


async def test_any_number_of_functions_block_at_once(rig: Rig) -> None:
    together = threading.Barrier(20)

    @declare()
    def meet() -> None:
        together.wait(LONG)

    outcomes = await soon(asyncio.gather(*(rig.start(meet) for _ in range(20))))

    assert outcomes == [Completed(b"null")] * 20


async def test_a_thread_is_used_again(rig: Rig) -> None:
    @declare()
    def thread() -> int:
        return threading.get_ident()

    outcomes = {await rig.run(thread) for _ in range(20)}

    assert len(outcomes) < 5  # one that has just told its outcome may not be free yet


async def test_an_idle_thread_ends_and_another_one_takes_over() -> None:
    threads = Threads(stuck=1, idle_seconds=0.01)
    workers: SimpleQueue[threading.Thread] = SimpleQueue()

    for _ in range(2):
        threads.run(lambda: workers.put(threading.current_thread()))
        worker = await asyncio.to_thread(workers.get, timeout=LONG)
        await asyncio.to_thread(worker.join, LONG)

        assert not worker.is_alive()
    threads.close()


async def test_a_function_is_cancelled_where_it_checks(rig: Rig) -> None:
    @declare()
    def steps() -> None:
        while True:
            ctx.progress(1)
            ctx.check()

    outcome = rig.start(steps)
    await rig.progress()
    rig.execution.cancel(1)

    assert await soon(outcome) == Stopped()


async def test_a_cancelled_function_that_never_checks_runs_to_its_end(
    rig: Rig, release: threading.Event
) -> None:
    """Nobody can stop it; as long as it runs it is not said to have stopped."""
    seen = threading.Event()

    @declare()
    def block() -> bool:
        seen.set()
        release.wait(LONG)
        return ctx.cancelled

    outcome = rig.start(block)
    await asyncio.to_thread(seen.wait, LONG)
    rig.execution.cancel(1)
    done, _ = await asyncio.wait((outcome,), timeout=0.3)
    assert not done
    release.set()

    assert await soon(outcome) == Completed(b"true")


async def test_a_cancelled_function_past_its_time_is_given_up(
    rig: Rig, release: threading.Event
) -> None:
    @declare(timeout=0.05)
    def block() -> None:
        release.wait(LONG)

    outcome = rig.start(block)
    rig.execution.cancel(1)

    assert isinstance(await soon(outcome), Stopped)  # its thread may not have begun yet


async def test_a_function_past_its_time_ends_where_it_checks_and_may_be_tried_again(
    rig: Rig,
) -> None:
    @declare(timeout=1.0)  # its thread must have begun by then
    def steps() -> None:
        while True:
            ctx.check()

    outcome = await rig.run(steps)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.retryable) == ("Timeout", True)
    assert "in steps\n    ctx.check()" in outcome.traceback


async def test_a_function_that_never_returns_is_given_up_and_not_tried_again(
    rig: Rig, release: threading.Event
) -> None:
    @declare(timeout=1.0, name="endless")
    def block() -> None:
        release.wait(LONG)

    outcome = await rig.run(block)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.retryable) == ("Timeout", False)
    assert "still runs" in outcome.message
    assert "process=True" in outcome.message
    assert "in block\n    release.wait(LONG)" in outcome.traceback
    assert rig.metrics.total("penstock_job_threads_abandoned_total", task="endless") == 1


async def test_too_many_threads_that_never_return_are_said_so(
    make_rig: Callable[..., Rig], release: threading.Event
) -> None:
    @declare(timeout=0.01)
    def block() -> None:
        release.wait(LONG)

    @declare()
    def quick() -> int:
        return 1

    rig = make_rig(cancel_grace=0.01, stuck_threads=2)
    while rig.metrics.total("penstock_job_threads_abandoned_total") < 2:
        await rig.run(block)  # one whose thread had not begun in time is not stuck
    refused = await rig.run(quick)
    assert isinstance(refused, Failed)
    assert (refused.type, refused.retryable) == ("ThreadsStuck", True)
    release.set()

    async with asyncio.timeout(LONG):
        while isinstance(outcome := await rig.run(quick), Failed):
            pass  # the loop learns in a moment that they have returned
    assert outcome == Completed(b"1")


async def test_the_last_progress_of_a_thread_is_told_before_its_result(rig: Rig) -> None:
    @declare()
    def steps() -> None:
        for done in range(1, 10_001):
            ctx.progress(done, 10_000)

    await rig.run(steps)

    assert rig.reported[-1][1].done == 10_000


async def test_threads_see_no_context_but_their_job(rig: Rig) -> None:
    mark: ContextVar[str] = ContextVar("mark", default="none")

    @declare()
    def who() -> list[str | None]:
        before = mark.get()
        mark.set("left by the last job")
        return [before, ctx.job_id, request_id.get()]

    mark.set("the engine's")
    first = await rig.run(who, request_id="r")
    second = await rig.run(who)

    assert first == Completed(b'["none","job_1","r"]')
    assert second == Completed(b'["none","job_2",null]')


@pytest.mark.slow
def test_a_thread_that_never_returns_does_not_keep_the_process_from_ending() -> None:
    program = """
import asyncio, threading
from penstock.tasks.task import declare
from tests.tasks.execution.conftest import Rig

@declare()
def block() -> None:
    seen.set()
    threading.Event().wait(600)

async def main():
    rig = Rig(cancel_grace=0.05)
    outcome = rig.start(block)
    await asyncio.to_thread(seen.wait, 30)
    await rig.execution.stop(0)
    print(await outcome)
    await rig.execution.aclose()

seen = threading.Event()
asyncio.run(main())
"""

    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )

    assert run.stdout == "Stopped(has_begun=True)\n", run.stderr
