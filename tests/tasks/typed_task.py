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


async def arguments() -> None:
    await classify.enqueue(1)  # type: ignore[arg-type]
    await classify.enqueue("a", size=3)  # type: ignore[call-arg]
    await measure.options(delay=1).enqueue(text=1)  # type: ignore[arg-type]
    measure.call()  # type: ignore[call-arg]
    measure.options(dealy=1)  # type: ignore[call-arg]
    measure.options(priority="soon")  # type: ignore[arg-type]


def options() -> None:
    task(retry=1)  # type: ignore[call-overload]
    task(priority="soon")  # type: ignore[call-overload]


async def queue(queue: TaskQueue) -> None:
    assert_type(await queue.enqueue(measure, ("a",)), Job[int])
    queue.register([classify, measure, report])
    named: Task[[str], int] = Task(len, name="len")
    assert_type(await named.enqueue("a"), Job[int])
