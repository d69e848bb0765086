"""Webhooks over a real queue and database, and a receiver on loopback that is told what to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.audit import AuditLog
from penstock.clock import Clock, SystemClock
from penstock.db import Database, open_database
from penstock.hub import LocalHub
from penstock.net.dial import Dialler
from penstock.net.guard import Guard
from penstock.notify import Event, Mailer, NewWebhook, Webhooks, new_event, open_server
from penstock.observe.metrics import Metrics
from penstock.tasks import JobFilter, JobRecord, TaskQueue, open_queue
from tests.databases import DATABASES, address_for_test

SOON = 60.0
HANG = -1


@dataclass
class Posted:
    """One request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found


@dataclass
class Receiver:
    """Answers each request with the next of `script`, the last one for ever."""

    script: list[int] = field(default_factory=lambda: [204])
    headers: str = ""
    port: int = 0
    posted: list[Posted] = field(default_factory=list)
    seen: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.place}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
            }
            body = await reader.readexactly(int(headers["content-length"]))
            status = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            async with self.seen:
                self.posted.append(Posted(first.split(" ")[1], headers, body))
                self.seen.notify_all()
            if status == HANG:
                await reader.read()
            else:
                said = f"HTTP/1.1 {status} Said\r\n{self.headers}Content-Length: 0\r\n\r\n"
                writer.write(said.encode())
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def until(self, count: int) -> list[Posted]:
        """Wait until so many requests came."""
        async with asyncio.timeout(SOON), self.seen:
            await self.seen.wait_for(lambda: len(self.posted) >= count)
        return self.posted


@asynccontextmanager
async def receiver(*script: int, headers: str = "") -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    here = Receiver(list(script) or [204], headers)
    server = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()


@dataclass
class Rig:
    """The open parts of one process."""

    webhooks: Webhooks
    queue: TaskQueue
    database: Database
    hub: LocalHub
    metrics: Metrics
    clock: Clock
    audit: AuditLog

    async def subscribe(
        self, url: str, *events: str, owner: str = "team", **more: Any
    ) -> NewWebhook:
        return await self.webhooks.create(
            url, events=events or ("*",), owner=owner, actor="key_1", **more
        )

    def event(
        self, type: str = "verdict.rejected", *, owner: str | None = "team", **data: Any
    ) -> Event:
        return new_event(type, subject="mod_1", owner=owner, data=data, clock=self.clock)

    async def tell(self, *events: Event) -> list[JobRecord]:
        """Emit events and have them become jobs; these jobs."""
        for event in events:
            self.webhooks.emit(event)
        await self.webhooks.flush()
        return await self.jobs()

    async def jobs(self) -> list[JobRecord]:
        """All deliveries, the oldest first."""
        found = await self.queue.store.page(JobFilter(), limit=1000)
        return sorted(found, key=lambda job: job.id)

    async def until_jobs(self, count: int, turn: Callable[[], None] = lambda: None) -> None:
        """Wait until there are so many jobs; between looks something may take its turn."""
        async with asyncio.timeout(SOON):
            while len(await self.jobs()) < count:
                turn()
                await asyncio.sleep(0)

    async def until_taken_over(self) -> None:
        """Wait until nothing is left of what stopped processes left."""
        left: object = True
        while left:
            await asyncio.sleep(0)
            left = await self.webhooks._store.left()

    async def ended(self, job: JobRecord) -> JobRecord:
        async with asyncio.timeout(SOON):
            return await self.queue.store.ended(job.id)

    async def failed_once(self, job: JobRecord) -> JobRecord:
        """The job after its first error."""
        async with asyncio.timeout(SOON):
            async for now in self.queue.store.watch(job.id):
                if now.errors:
                    return now
        raise AssertionError("it ended without an error")

    async def deliver(self, event: Event | None = None) -> JobRecord:
        """Tell one event to one webhook; its job, ended."""
        known = len(await self.jobs())
        (job,) = (await self.tell(event or self.event()))[known:]
        return await self.ended(job)


Open = Callable[..., Any]


on_both = pytest.mark.parametrize("address", DATABASES, indirect=True)
"""For what depends on how a database keeps webhooks; the other tests run on SQLite."""


@pytest.fixture
async def address(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Where the database is, of all processes of the test."""
    async with address_for_test(getattr(request, "param", "sqlite"), request, tmp_path) as url:
        yield url


@pytest.fixture
def opened(tmp_path: Path, address: str) -> Open:
    """`async with opened(receiver, ...) as rig:` opens all parts on the test's folder."""

    @asynccontextmanager
    async def open(
        *receivers: Receiver,
        workers: int = 4,
        clock: Clock | None = None,
        allow: Sequence[str] = (),
        engine: str = f"embedded://{tmp_path / 'tasks.db'}",
        smtp: str | None = None,
        to: Sequence[str] = ("ops@example.com",),
        mail_events: Sequence[str] = ("alert.raised",),
    ) -> AsyncIterator[Rig]:
        clock, metrics = clock or SystemClock(), Metrics()
        async with AsyncExitStack() as stack:
            hub = LocalHub(tmp_path)
            stack.callback(hub.close)
            database = open_database(address, folder=tmp_path)
            stack.push_async_callback(database.aclose)
            queue = open_queue(engine, clock=clock, metrics=metrics, workers=workers)
            audit = AuditLog(database, clock=clock)
            guard = Guard(allow=[one.place for one in receivers] + list(allow))
            webhooks = Webhooks(
                database,
                hub=hub,
                queue=queue,
                dialler=Dialler(guard),
                clock=clock,
                metrics=metrics,
                audit=audit,
                mail=Mailer(
                    open_server(smtp) if smtp else None,
                    sender="penstock@example.com",
                    to=to if smtp else (),
                    events=mail_events,
                    queue=queue,
                    clock=clock,
                ),
            )
            queue.register(webhooks.tasks())
            stack.push_async_callback(queue.stop, 0.1)
            await queue.start()
            yield Rig(webhooks, queue, database, hub, metrics, clock, audit)

    return open


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again without a wait."""
    monkeypatch.setattr("penstock.notify.delivery.WAITS", (0.0,) * 7)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that hangs is given up soon."""
    monkeypatch.setattr("penstock.notify.delivery.ATTEMPT_SECONDS", 0.3)
