"""Several things at once. When one fails, no other begins, and what was paid for is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

_T = TypeVar("_T")


async def together(
    work: Sequence[Coroutine[Any, Any, _T]],
    *,
    gate: asyncio.Semaphore | None = None,
    lost: Callable[[_T], None] | None = None,
) -> list[_T]:
    """Do everything side by side, as many at once as `gate` lets; results in the order of `work`.

    Raises what the first to fail raised, once those under way have ended: they may have been paid
    for, and `lost` is told their results. The rest never begins. All begin one after the other, so
    that requests of others come between.
    """
    if len(work) == 1:
        return [await work[0]]
    failed: list[BaseException] = []
    tasks: list[asyncio.Task[_T | None]] = []

    async def one(each: Coroutine[Any, Any, _T]) -> _T | None:
        async with gate or nullcontext():
            if failed:
                return None
            try:
                return await each
            except BaseException as error:
                failed.append(error)
                return None

    try:
        for each in work:
            if failed:
                break
            tasks.append(asyncio.ensure_future(one(each)))
            await asyncio.sleep(0)
        if tasks:
            await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for each in work:
            each.close()
    results = [result for result in found if not isinstance(result, BaseException)]
    if failed:
        for result in results:
            if result is not None and lost is not None:
                lost(result)
        raise failed[0]
    return results  # type: ignore[return-value] # None is what failed, or never began
