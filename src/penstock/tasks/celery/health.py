"""Whether jobs can be added, and whether somebody takes those of every queue."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from penstock.clock import Clock
from penstock.errors import StorageError
from penstock.tasks.celery.address import Address
from penstock.tasks.celery.remote import Remote, fault
from penstock.tasks.job import PRIORITIES, QUEUES

ALIVE: Final = 15_000  # milliseconds since a worker was heard of
ALONE: Final = 30.0  # seconds without a living worker that say nothing: one may be starting
NOBODY: Final = "no Celery worker takes jobs; start one: celery -A penstock.celery_app worker"
NOBODY_OF: Final = (
    "no Celery worker takes jobs of {}, where some wait; start one: "
    "celery -A penstock.celery_app worker -Q {}"
)
ANSWER: Final = 1.5  # seconds that the broker may take to say how it is
LEVELS: Final = range(max(PRIORITIES.values()) + 1)


class Described(msgspec.Struct):
    """What a worker tells about itself."""

    pid: int
    host: str
    started_at: int
    queues: list[str] = []
    concurrency: int = 0


class QueueHealth:
    """Remembers since when nobody takes jobs."""

    def __init__(self, address: Address, remote: Remote, *, clock: Clock) -> None:
        self._address = address
        self._remote = remote
        self._monotonic = clock.monotonic
        self._manned_at = self._monotonic()  # when nothing was lacking, or nobody knew

    async def told(self) -> str:
        """Why no job can be added, or nobody takes some; one round trip."""
        now = self._monotonic()
        try:
            async with asyncio.timeout(ANSWER):
                lacking = await self._lacking()
        except (StorageError, TimeoutError) as error:
            self._manned_at = now  # nobody knows
            told = error if isinstance(error, StorageError) else fault(error, self._address.broker)
            return told.detail
        if not lacking:
            self._manned_at = now
        return lacking if now - self._manned_at >= ALONE else ""

    async def _lacking(self) -> str:
        """What jobs wait for in vain. Raises StorageError where none could be added."""
        prefix = self._remote.prefix
        _, (seconds, _), seen, told, paused, *ready = await self._remote.pipe(
            [
                ("SETRANGE", f"{prefix}probe", 0, ""),  # changes nothing; refused as a job would be
                ("TIME",),
                ("ZRANGE", f"{prefix}workers", 0, -1, "WITHSCORES"),
                ("HGETALL", f"{prefix}worker"),
                ("SMEMBERS", f"{prefix}paused"),
                *(("EXISTS", *(f"{prefix}ready:{name}:{n}" for n in LEVELS)) for name in QUEUES),
            ]
        )
        living = [told.get(node, b"") for node, at in seen if seconds * 1000 - at < ALIVE]
        if not living:
            return NOBODY
        manned = {name for one in living for name in _queues_of(one)}
        lacking = [
            name
            for name, count in zip(QUEUES, ready, strict=True)
            if count and name not in manned and name.encode() not in paused
        ]
        return NOBODY_OF.format(", ".join(lacking), ",".join(lacking)) if lacking else ""


def _queues_of(told: bytes) -> list[str]:
    """The queues that a worker takes jobs from; any, where another version wrote what it told."""
    try:
        return msgspec.json.decode(told, type=Described).queues or list(QUEUES)
    except msgspec.MsgspecError:
        return list(QUEUES)
