from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from contextvars import ContextVar

import pytest

from penstock.errors import (
    InvalidInput,
    JobCancelled,
    ProviderRefused,
    ProviderThrottled,
    RateLimited,
)
from penstock.observe.logging import request_id, trace_id
from penstock.tasks.context import ctx
from penstock.tasks.engine import Completed, Failed, Stopped
from penstock.tasks.execution import held
from penstock.tasks.retry import Retry
from penstock.tasks.task import declare
from tests.tasks.execution.conftest import DEADLINE, Rig, soon


async def test_a_coroutine_gives_its_result_as_json(rig: Rig) -> None:
    @declare()
    async def double(number: int) -> dict[str, int]:
        return {"doubled": 2 * number}

    outcome = await rig.run(double, 21)

    assert outcome == Completed(b'{"doubled":42}')
    assert not rig.execution.running


async def test_a_job_that_runs_is_listed(rig: Rig) -> None:
    @declare()
    async def wait() -> None:
        await asyncio.Event().wait()

    rig.start(wait)

    assert [run.job_id for run in rig.execution.running.values()] == ["job_1"]


async def test_a_failure_names_the_exception_and_where_it_was_raised(rig: Rig) -> None:
    @declare()
    async def fail() -> None:
        secret = "not to be shown"
        raise ValueError(f"wrong: {len(secret)}")

    outcome = await rig.run(fail)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.message, outcome.retryable) == ("ValueError", "wrong: 15", True)
    assert outcome.traceback.startswith("Traceback (most recent call last):\n")
    assert 'in fail\n    raise ValueError(f"wrong: {len(secret)}")' in outcome.traceback
    assert "execution.py" not in outcome.traceback
    assert "not to be shown" not in outcome.traceback


async def test_a_failure_shows_its_cause_and_the_last_frames_alone(rig: Rig) -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            raise KeyError("the cause")
        deeper(depth - 1)

    @declare()
    async def fail() -> None:
        try:
            deeper(30)
        except KeyError as error:
            raise RuntimeError("the effect") from error

    outcome = await rig.run(fail)

    assert isinstance(outcome, Failed)
    assert "the cause" in outcome.traceback
    assert "the effect" in outcome.traceback
    assert outcome.traceback.count(" in deeper") <= 10


@pytest.mark.parametrize(
    ("error", "retryable", "after"),
    [
        (ValueError("x"), True, None),
        (Retry(), True, None),
        (Retry("busy", after=7), True, 7.0),
        (InvalidInput("no such user"), False, None),
        (RateLimited("slow down", retry_after=3.0), True, 3.0),
        (ProviderThrottled("429", retry_after=9.0), True, 9.0),
        (ProviderRefused("wrong key"), False, None),
        (SystemExit(1), False, None),
        (asyncio.CancelledError(), True, None),
        (JobCancelled("another job was"), True, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
async def test_an_error_says_whether_and_when_to_try_again(
    rig: Rig, error: BaseException, retryable: bool, after: float | None
) -> None:
    @declare()
    async def fail() -> None:
        raise error

    outcome = await rig.run(fail)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.retryable, outcome.after) == (
        type(error).__name__,
        retryable,
        after,
    )


async def test_an_error_that_the_task_does_not_name_is_not_tried_again(rig: Rig) -> None:
    @declare(retry_on=ConnectionError)
    async def fail(kind: str) -> None:
        raise {"connection": ConnectionResetError, "key": KeyError}[kind]

    lost, wrong = await rig.run(fail, "connection"), await rig.run(fail, "key")

    assert isinstance(lost, Failed)
    assert isinstance(wrong, Failed)
    assert (lost.retryable, wrong.retryable) == (True, False)


async def test_an_error_that_cannot_be_shown_is_still_a_failure(rig: Rig) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    @declare()
    async def fail() -> None:
        raise Mute

    outcome = await rig.run(fail)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.message) == ("Mute", "its message cannot be shown: RuntimeError")


async def test_a_result_that_is_no_json_fails_for_good(rig: Rig) -> None:
    @declare()
    async def give() -> object:
        return object()

    outcome = await rig.run(give)

    assert isinstance(outcome, Failed)
    assert not outcome.retryable


async def test_a_coroutine_is_cancelled_at_its_next_await(rig: Rig) -> None:
    cleaned = asyncio.Event()

    @declare()
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    outcome = rig.start(wait)
    await asyncio.sleep(0)
    rig.execution.cancel(1)

    assert await soon(outcome) == Stopped()
    assert cleaned.is_set()


async def test_a_coroutine_is_cancelled_before_its_first_step(rig: Rig) -> None:
    @declare()
    async def never() -> None:
        raise AssertionError

    outcome = rig.start(never)
    rig.execution.cancel(1)

    assert await soon(outcome) == Stopped(has_begun=False)


async def test_a_coroutine_that_finishes_although_it_was_cancelled_has_completed(rig: Rig) -> None:
    @declare()
    async def finish() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "part of it"
        return ""

    outcome = rig.start(finish)
    await asyncio.sleep(0)
    rig.execution.cancel(1)

    assert await soon(outcome) == Completed(b'"part of it"')


async def test_a_coroutine_that_ignores_a_cancel_is_given_up(rig: Rig, told) -> None:
    release = asyncio.Event()

    @declare()
    async def ignore() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    outcome = rig.start(ignore)
    await asyncio.sleep(0)
    rig.execution.cancel(1)

    assert await soon(outcome) == Stopped()
    assert any("job_does_not_end" in line for line in told())
    release.set()
    await asyncio.sleep(0)
    assert rig.told == [1]


async def test_a_cancel_of_nothing_does_nothing(rig: Rig) -> None:
    rig.execution.cancel(99)

    assert rig.told == []


async def test_a_coroutine_that_takes_too_long_fails_with_where_it_was(rig: Rig) -> None:
    @declare(timeout=0.02)
    async def wait() -> None:
        await asyncio.Event().wait()

    outcome = await rig.run(wait)

    assert isinstance(outcome, Failed)
    assert outcome[:2] == ("Timeout", "it took longer than its 0.02 s")
    assert "in wait\n    await asyncio.Event().wait()" in outcome.traceback
    assert outcome.retryable


async def test_a_time_out_inside_the_function_is_its_own_affair(rig: Rig) -> None:
    @declare(timeout=20)
    async def wait() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "went on"
        return ""

    assert await rig.run(wait) == Completed(b'"went on"')


async def test_progress_of_a_coroutine_is_told_at_once(rig: Rig) -> None:
    @declare()
    async def steps() -> None:
        ctx.progress(1, 2, "half", failed=1, cached=1)

    await rig.run(steps)

    [(number, progress)] = rig.reported
    assert (number, progress.done, progress.total, progress.note) == (1, 1, 2, "half")
    assert (progress.failed, progress.cached) == (1, 1)


async def test_progress_of_a_thread_that_a_coroutine_uses_is_told_on_the_loop(rig: Rig) -> None:
    @declare()
    async def steps() -> None:
        await asyncio.to_thread(lambda: [ctx.progress(done) for done in range(1, 1_001)])
        await rig.progress()

    await rig.run(steps)

    assert rig.reported[-1][1].done == 1_000


async def test_progress_after_the_end_is_dropped(rig: Rig) -> None:
    late = asyncio.Event()

    @declare()
    async def leave_behind() -> None:
        async def rest() -> None:
            await late.wait()
            ctx.progress(5)

        left.append(asyncio.ensure_future(rest()))

    left: list[asyncio.Future[None]] = []
    await rig.run(leave_behind)
    late.set()
    await soon(left[0])

    assert rig.reported == []


async def test_a_job_knows_itself_and_the_request_that_it_came_from(rig: Rig) -> None:
    @declare()
    async def who() -> list[object]:
        return [ctx.job_id, ctx.attempt, ctx.owner, request_id.get(), trace_id.get()]

    outcome = await rig.run(who, attempt=2, owner="o", request_id="r", trace_id="t")

    assert outcome == Completed(b'["job_1",2,"o","r","t"]')


async def test_jobs_see_neither_the_context_of_who_starts_them_nor_of_one_another(rig: Rig) -> None:
    mark: ContextVar[str] = ContextVar("mark", default="none")

    @declare()
    async def who() -> list[str | None]:
        before = [mark.get(), request_id.get()]
        mark.set("left by the last job")
        return before

    mark.set("the engine's")
    request_id.set("someone's request")
    outcomes = [await rig.run(who), await rig.run(who)]

    assert outcomes == [Completed(b'["none",null]')] * 2
    assert mark.get() == "the engine's"


async def test_a_coroutine_that_holds_the_loop_is_named_with_its_line(rig: Rig, told) -> None:
    @declare(name="greedy")
    async def hold() -> None:
        end = loop.time() + DEADLINE
        while loop.time() < end and not any("loop_held" in line for line in told()):
            sum(range(100))

    loop = asyncio.get_running_loop()
    await rig.run(hold)

    [line] = [line for line in told() if "loop_held" in line]
    assert "task='greedy'" in line
    assert "test_coroutines.py" in line
    assert "def: those run in threads" in line


async def test_the_watch_over_the_loop_sleeps_while_there_is_nothing_to_see(
    rig: Rig, told, monkeypatch: pytest.MonkeyPatch
) -> None:
    @declare()
    async def short() -> None: ...

    @declare(name="greedy")
    async def hold() -> None:
        end = loop.time() + DEADLINE
        while loop.time() < end and not any("loop_held" in line for line in told()):
            sum(range(100))

    monkeypatch.setattr(held, "QUIET", 1)
    loop = asyncio.get_running_loop()
    await rig.run(short)
    async with asyncio.timeout(DEADLINE):
        while not rig.execution._watch.sleeps:
            await asyncio.to_thread(threading.Event().wait, held.INTERVAL)
    await rig.run(hold)

    assert [line for line in told() if "loop_held" in line]


async def test_many_short_coroutines_at_once_are_not_held_against_one(rig: Rig, told) -> None:
    @declare()
    async def short() -> None:
        end = loop.time() + 0.005
        while loop.time() < end:
            sum(range(100))

    loop = asyncio.get_running_loop()
    await soon(asyncio.gather(*(rig.start(short) for _ in range(80))))

    assert not [line for line in told() if "loop_held" in line]


async def test_a_finished_job_leaves_nothing_behind(rig: Rig) -> None:
    class Thing:
        pass

    kept: list[weakref.ref[Thing]] = []

    @declare()
    async def use() -> None:
        thing = Thing()
        kept.append(weakref.ref(thing))
        ctx.progress(1)
        await asyncio.sleep(0)

    @declare()
    async def fail() -> None:
        thing = Thing()
        kept.append(weakref.ref(thing))
        raise ValueError(thing)

    await rig.run(use)
    await rig.run(fail)
    gc.collect()

    assert [reference() for reference in kept] == [None, None]
    assert not rig.execution.running


async def test_ten_thousand_jobs_do_not_grow_the_process(rig: Rig) -> None:
    @declare()
    async def nothing(number: int) -> int:
        return number

    async def some(count: int) -> int:
        for _ in range(count // 100):
            await asyncio.gather(*(rig.start(nothing, n) for n in range(100)))
        gc.collect()
        return sys.getallocatedblocks()

    await some(500)
    before = await some(500)
    rig.told.clear()
    after = await some(5_000)

    assert after - before < 7_000  # `rig.told` itself; a job that stays is dozens of blocks
