"""Reading from Redis with little around it: a few connections, one question at a time on each.

redis-py's client takes a connection from a pool, looks whether it is alive, and starts a task per
command to limit its time: 95 us for a GET of which the exchange is 55. A lane keeps its connection,
and one deadline covers all of a question, connecting included. A connection that was ended while
nobody used it is made anew once; nothing else is tried again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.net.redis import FAULTS, REFUSALS


class Lanes:
    """The reading connections of one event loop; as many as questions are asked at once."""

    def __init__(self, client: Any, *, timeout: float) -> None:
        pool = client.connection_pool
        self._kind = pool.connection_class
        # The deadline is ours: theirs would be a task for each command.
        self._terms = {**pool.connection_kwargs, "socket_timeout": None}
        self._timeout = timeout
        self._idle: list[Any] = []
        self._drops = 0
        self._closed = False

    async def ask(self, *command: str) -> Any:
        """What Redis answers; raises one of `net.redis.FAULTS`."""
        connection = self._idle.pop() if self._idle else self._kind(**self._terms)
        known, drops = connection.is_connected, self._drops
        try:
            async with asyncio.timeout(self._timeout):
                try:
                    return await _exchange(connection, command)
                except REFUSALS:
                    raise
                except FAULTS:
                    if not known:
                        raise
                    await connection.disconnect(nowait=True)
                    return await _exchange(connection, command)
        except REFUSALS:
            raise  # an answer like any other
        except BaseException:
            # What was asked may still be answered: not to whoever asks next.
            await connection.disconnect(nowait=True)
            raise
        finally:
            if self._closed or drops != self._drops:
                await connection.disconnect()
            else:
                self._idle.append(connection)

    async def aclose(self) -> None:
        """End the connections."""
        self._closed = True
        await self.drop()

    async def drop(self) -> None:
        """End the connections, one that is being asked with its answer; the next are new."""
        self._drops += 1
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect()


async def _exchange(connection: Any, command: tuple[str, ...]) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()
