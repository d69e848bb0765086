"""Calls the scripts, from the loop (`Remote`) and from threads (`RemoteSync`).

A command that fails because Redis cannot be used raises StorageUnavailable, which says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

from penstock.errors import StorageError, StorageFull, StorageUnavailable
from penstock.net.redis import FAULTS, connect, connect_sync, explain
from penstock.tasks.celery.address import Address
from penstock.tasks.celery.scripts import Group, Word, script

TIMEOUT: Final = 2.0  # seconds that Redis may take: a thousand jobs are written in 50 ms
CONNECTIONS: Final = 8

Fallible = Callable[[], Any]


class Remote:
    """The broker's Redis, for coroutines of one loop."""

    def __init__(self, address: Address) -> None:
        self.prefix = f"{address.prefix}:"
        self._url = address.broker
        self._client = connect(
            address.broker, timeout=TIMEOUT, connections=CONNECTIONS, name="penstock-jobs"
        )

    async def ask(self, group: Group, command: str, *words: Word) -> Any:
        """What a command answers. Raises StorageError."""
        source, sha = script(group)
        with understood(self._url):
            try:
                return await self._client.evalsha(sha, 1, self.prefix, command, *words)
            except NoScriptError:
                return await self._client.eval(source, 1, self.prefix, command, *words)  # type: ignore[arg-type] # bytes do

    async def fields(self, job_id: str, names: tuple[str, ...]) -> list[Any]:
        """Fields of one job's hash. Raises StorageError."""
        with understood(self._url):
            found: list[Any] = await self._client.hmget(self.job(job_id), list(names))
            return found

    async def fields_of(self, ids: list[str], names: tuple[str, ...]) -> list[list[Any]]:
        """The same of many jobs, in one round trip."""
        if not ids:
            return []
        with understood(self._url):
            pipeline = self._client.pipeline(transaction=False)
            for job_id in ids:
                pipeline.hmget(self.job(job_id), list(names))
            found: list[list[Any]] = await pipeline.execute()
            return found

    async def pipe(self, commands: list[tuple[Word, ...]]) -> list[Any]:
        """What several commands answer, in one round trip. Raises StorageError."""
        if not commands:
            return []
        with understood(self._url):
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            found: list[Any] = await pipeline.execute()
            return found

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
        with understood(self._url):
            try:
                return self.client.evalsha(sha, 1, self.prefix, command, *words)
            except NoScriptError:
                return self.client.eval(source, 1, self.prefix, command, *words)  # type: ignore[arg-type] # bytes do

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
    is_full = isinstance(error, OutOfMemoryError) or (
        isinstance(error, ResponseError) and "OOM" in str(error)
    )
    return StorageFull(told) if is_full else StorageUnavailable(told)
