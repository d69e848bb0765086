"""Commands of many callers in few round trips: what is asked while one is under way leaves in the
next, in the order of asking. Nobody waits for a timer or for a connection: there is one, and a slow
Redis makes larger parcels.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from penstock.hub.redis.link import is_cancelled
from penstock.net.redis import FAULTS, ask, is_replica

PARCEL: Final = 100  # commands in one round trip: below 2 ms to pack

Command = Callable[[Any], object]
"""Puts one command into the pipeline that it is given."""


class Trips:
    """The round trips of one client, on one loop."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._waiting: deque[tuple[Command, asyncio.Future[Any]]] = deque()
        self._trip: asyncio.Task[None] | None = None

    def ask(self, command: Command) -> asyncio.Future[Any]:
        """Its answer, or one of `FAULTS`. What is cancelled may have left, and is not waited for:
        what is asked next arrives after it.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if self._trip is None or self._trip.done():
            self._trip = asyncio.ensure_future(self._travel())
        return answer

    async def aclose(self) -> None:
        """Ask nothing more; who still waits is told so."""
        if self._trip is not None:
            self._trip.cancel()
            await asyncio.gather(self._trip, return_exceptions=True)
        self._fail(self._waiting, ConnectionError("the hub was closed"))

    async def _travel(self) -> None:
        while self._waiting and not is_cancelled():
            count = min(PARCEL, len(self._waiting))
            parcel = [self._waiting.popleft() for _ in range(count)]
            try:
                replies = await self._ask_all([command for command, _ in parcel])
            except asyncio.CancelledError:
                self._fail(parcel, ConnectionError("the hub was closed"))
                raise
            except Exception as error:
                self._fail(parcel, error)
                if isinstance(error, FAULTS):  # not each of them after a time-out of its own
                    self._fail(self._waiting, error)
                    self._waiting.clear()
                continue
            for (_, answer), reply in zip(parcel, replies, strict=True):
                if isinstance(reply, BaseException):
                    self._fail([(_, answer)], reply)
                elif not answer.done():
                    answer.set_result(reply)

    async def _ask_all(self, commands: list[Command]) -> list[Any]:
        async def exchange() -> list[Any]:
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                command(pipeline)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
            for reply in replies:
                if isinstance(reply, BaseException) and is_replica(reply):
                    raise reply  # to ask once more, on a new connection
            return replies

        return await ask(self._client, exchange)

    def _fail(
        self, parcel: Iterable[tuple[Command, asyncio.Future[Any]]], error: BaseException
    ) -> None:
        for _, answer in parcel:
            if not answer.done():
                answer.set_exception(error)
