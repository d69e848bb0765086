"""Calls the scripts, from the loop (`Remote`) and from threads (`RemoteSync`).

A command that fails because Redis cannot be used raises StorageUnavailable, which says what to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from redis.exceptions import (
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    ResponseError,
)

from penstock.errors import StorageError, StorageFull, StorageUnavailable
from penstock.net.redis import (
    FAULTS,
    ask,
    connect,
    connect_sync,
    drop_connections_of_threads,
    explain,
    is_replica,
)
from penstock.tasks.celery.address import Address
from penstock.tasks.celery.scripts import Group, Word, script

TIMEOUT: Final = 2.0  # seconds that Redis may take: a thousand jobs are written in 50 ms
CONNECTIONS: Final = 8

ONCE: Final = frozenset(("cancel", "retry"))  # whose second answer would be a refusal

T = TypeVar("T")


class Remote:
    """The broker's Redis, for coroutines of one loop."""

    def __init__(self, address: Address) -> None:
        self.prefix = f"{address.prefix}:"
        self._url = address.broker
        self._client = connect(
            address.broker, timeout=TIMEOUT, connections=CONNECTIONS, name="penstock-jobs"
        )

    async def ask(self, group: Group, command: str, *words: Word) -> Any:
        """What a command answers. Raises StorageError.

        It may be made twice, when its connection dies: most say the same then; the others (`ONCE`)
        go out on a connection that has just answered.
        """
        source, sha = script(group)
        if command in ONCE:
            await self.pipe([("PING",)])

        async def call() -> Any:
            try:
                return await self._client.evalsha(sha, 1, self.prefix, command, *words)
            except NoScriptError:
                return await self._client.eval(source, 1, self.prefix, command, *words)  # type: ignore[arg-type] # bytes do

        return await self._tried(call, again=command not in ONCE)

    async def fields(self, job_id: str, names: tuple[str, ...]) -> list[Any]:
        """Fields of one job's hash. Raises StorageError."""
        (found,) = await self.fields_of([job_id], names)
        return found

    async def fields_of(self, ids: list[str], names: tuple[str, ...]) -> list[list[Any]]:
        """The same of many jobs, in one round trip."""
        return await self.pipe([("HMGET", self.job(job_id), *names) for job_id in ids])

    async def pipe(self, commands: list[tuple[Word, ...]]) -> list[Any]:
        """What several commands answer, in one round trip. Raises StorageError."""
        if not commands:
            return []

        async def call() -> list[Any]:
            if len(commands) == 1:
                client: Any = self._client
                return [await client.execute_command(*commands[0])]
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute()

        return await self._tried(call)

    async def _tried(self, call: Callable[[], Awaitable[T]], *, again: bool = True) -> T:
        """Call; `again` on a new connection where this one was dead, or leads to a replica.

        Before Python 3.12, `asyncio.wait_for` forgets a cancellation that comes while what it waits
        for ends, and redis-py sends commands through it: who waits for a job would wait for ever.
        """
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        with understood(self._url):
            answer = await (ask(self._client, call) if again else call())
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
        return answer

    def job(self, job_id: str) -> str:
        """The key of a job's hash."""
        return f"{self.prefix}job:{job_id}"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class RemoteSync:
    """The same for threads."""

    def __init__(self, address: Address, *, timeout: float = TIMEOUT) -> None:
        self.prefix = f"{address.prefix}:"
        self._url = address.broker
        self.client = connect_sync(
            address.broker, timeout=timeout, connections=CONNECTIONS, name="penstock-worker"
        )

    def ask(self, group: Group, command: str, *words: Word) -> Any:
        """What a command answers. Raises StorageError."""
        source, sha = script(group)

        def call() -> Any:
            try:
                return self.client.evalsha(sha, 1, self.prefix, command, *words)
            except NoScriptError:
                return self.client.eval(source, 1, self.prefix, command, *words)  # type: ignore[arg-type] # bytes do

        return self._tried(call)

    def command(self, *words: Word) -> Any:
        """What one command of Redis' own answers. Raises StorageError."""
        client: Any = self.client
        return self._tried(lambda: client.execute_command(*words))

    def _tried(self, call: Callable[[], T]) -> T:
        with understood(self._url):
            try:
                return call()
            except FAULTS as error:
                if not (isinstance(error, ConnectionError) or is_replica(error)):
                    raise
                drop_connections_of_threads(self.client)
                return call()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


@contextmanager
def understood(url: str) -> Iterator[None]:
    """Turn the client's faults into ours."""
    try:
        yield
    except FAULTS as error:
        raise fault(error, url) from error


def fault(error: BaseException, url: str) -> StorageError:
    """What such a fault means for who asked."""
    told = explain(error, url).replace("REDIS_URL", "CELERY_BROKER_URL (or REDIS_URL)")
    told = told.replace(
        ", or let it evict: volatile-lru, never allkeys", "; a broker must evict nothing"
    )
    is_full = isinstance(error, OutOfMemoryError) or (
        isinstance(error, ResponseError) and "OOM" in str(error)
    )
    return StorageFull(told) if is_full else StorageUnavailable(told)
