"""What a type checker must see of `@task`; read by mypy in test_typing.py, never run.

An ignore below is an error that must be there: mypy complains of one that is not needed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

from penstock import Job, ctx, group, task
from penstock.tasks import Task, TaskQueue


@task
async def classify(text: str, limit: int = 10) -> dict[str, float]:
    return {text: float(limit)}


@task(retries=5, timeout="5m", key="text:{text}", backoff=(1, "1m"), retry_on=OSError)
def measure(text: str) -> int:
    ctx.progress(1, 2, note=text)
    return len(text)


@task(queue="analytics", schedule="every 15m", priority="urgent", rate="10/s", process=True)
def report() -> None: ...


async def calls() -> None:
    assert_type(await classify("a", limit=3), dict[str, float])
    assert_type(measure("a"), int)


async def jobs() -> None:
    assert_type(await classify.enqueue("a", limit=3), Job[dict[str, float]])
    assert_type(await measure.enqueue_many(["a", ("b",)]), list[Job[int]])
    assert_type(await (await measure.enqueue("a")).result(), int)
    assert_type(measure.enqueue_sync("a").result_sync(), int)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    bound = measure.options(priority="urgent", delay=60, key="k", run_at=at, owner="ann")
    assert_type(await bound.enqueue("a"), Job[int])
    assert_type(await (await group(measure.call("a"), bound.call("b"))).results(), list[int])
    assert_type(await (await measure.enqueue("a")).result(timeout="10s"), int)


async def groups() -> None:
    several = await group(*(measure.call(text) for text in "abcde"))
    assert_type(await several.results("1m"), list[int])
    two = await group(measure.call("a"), classify.call("b"))
    assert_type(await two.results(), list[int | dict[str, float]])
    four = await group(measure.call("a"), classify.call("b"), report.call(), measure.call("c"))
    assert_type(await four.results(), list[int | dict[str, float] | None])
    calls = (measure.call("a"), classify.call("b"), report.call(), measure.call("c"), report.call())
    await group(*calls)


async def arguments() -> None:
    await classify.enqueue(1)  # type: ignore[arg-type]
    await classify.enqueue("a", size=3)  # type: ignore[call-arg]
    await measure.options(delay=1).enqueue(text=1)  # type: ignore[arg-type]
    measure.call()  # type: ignore[call-arg]
    measure.options(dealy=1)  # type: ignore[call-arg]
    measure.options(priority="soon")  # type: ignore[arg-type]
    measure.options(queue="fast")  # type: ignore[arg-type]


def options() -> None:
    task(retry=1)  # type: ignore[call-overload]
    task(priority="soon")  # type: ignore[call-overload]
    task(queue="fast")  # type: ignore[call-overload]
    task(retry_on=[ValueError])  # type: ignore[call-overload]


async def queue(queue: TaskQueue) -> None:
    assert_type(await queue.enqueue(measure, ("a",)), Job[int])
    queue.register([classify, measure, report])
    named: Task[[str], int] = Task(len, name="len")
    assert_type(await named.enqueue("a"), Job[int])
