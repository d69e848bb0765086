"""Joins what is asked at the same time into one question to a server.

    few callers      each asks for itself, at once
    many callers     while `AT_ONCE` questions are on their way, others gather, and go out
                     together as one when the first of those is answered

No timer is needed: the busier the server, the more keys each question has. A server that does not
answer costs everybody one time-out: who waits for a turn is told what those before were told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

AT_ONCE = 4  # questions on their way
MOST = 1000  # keys of one question

Found = dict[str, bytes | None]
Ask = Callable[[Sequence[str]], Awaitable[Found]]


class Joining:
    """One loop's questions; `ask` must be safe to call for any set of keys."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._flying = 0
        self._gathered: dict[str, None] = {}
        self._answer: asyncio.Future[Found] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, keys: Sequence[str]) -> Found:
        """What is there of `keys`; raises what `ask` raises."""
        if self._flying >= AT_ONCE or len(keys) > MOST:
            return await self._together(keys)
        self._flying += 1
        try:
            found = await self._ask(keys)
        except BaseException as error:
            self._landed(error)
            raise
        self._landed(None)
        return found

    async def aclose(self) -> None:
        """Cancel what is on its way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _together(self, keys: Sequence[str]) -> Found:
        found: Found = {}
        for at in range(0, len(keys), MOST):
            part = keys[at : at + MOST]
            answer = self._answer
            if answer is None or len(self._gathered) + len(part) > MOST:
                self._launch()
                answer = self._answer = asyncio.get_running_loop().create_future()
                answer.add_done_callback(_heard)
            self._gathered.update(dict.fromkeys(part))
            if self._flying < AT_ONCE:
                self._launch()
            told = await asyncio.shield(answer)  # which is for others too
            found.update({key: told.get(key) for key in part})
        return found

    def _launch(self) -> None:
        """Send out what has gathered."""
        answer, self._answer = self._answer, None
        keys, self._gathered = list(self._gathered), {}
        if answer is None:
            return
        self._flying += 1
        task = asyncio.get_running_loop().create_task(self._fetch(keys, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, keys: Sequence[str], answer: asyncio.Future[Found]) -> None:
        try:
            found = await self._ask(keys)
        except BaseException as error:
            if isinstance(error, Exception):
                answer.set_exception(error)
            else:
                answer.cancel()
            self._landed(error)
            if not isinstance(error, Exception):
                raise
        else:
            answer.set_result(found)
            self._landed(None)

    def _landed(self, error: BaseException | None) -> None:
        self._flying -= 1
        if self._answer is None:
            return
        if isinstance(error, Exception):
            answer, self._answer = self._answer, None
            self._gathered = {}
            answer.set_exception(error)
        else:
            self._launch()


def _heard(answer: asyncio.Future[Found]) -> None:
    """Somebody may have left before the answer: then nobody asks for its error."""
    if not answer.cancelled():
        answer.exception()
