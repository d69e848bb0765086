"""A database of the test's own, and an operation that is told what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.batch import Answer, Batch, NewItem
from penstock.batch.files import FileStore
from penstock.batch.records import Done
from penstock.batch.store import BatchStore
from penstock.batch.work import BatchWork
from penstock.clock import SystemClock
from penstock.db import Database
from penstock.errors import BudgetExhausted, InvalidInput
from penstock.observe.metrics import Metrics
from tests.databases import DATABASES, open_for_test

ENDPOINT = "/v1/numbers"
NOW = 1_700_000_000_000
SOON = 60.0


class Numbers:
    """Doubles numbers; the odd ones it refuses when it reads them.

    It waits for `gate` before it answers those in `held`, and raises `faults`.
    """

    endpoint = ENDPOINT
    version = "1"
    waits = True

    def __init__(self) -> None:
        self.ran: list[int] = []
        self.held: set[int] = set()
        self.gate = asyncio.Event()
        self.faults: dict[int, Exception] = {}
        self.seen = asyncio.Condition()

    def check(self, body: bytes) -> int:
        number: int = msgspec.json.decode(body, type=int)
        if number % 2:
            raise InvalidInput("is odd")
        return number

    def key(self, request: int) -> str:
        return str(request)

    async def run(self, request: int, *, owner: str, key: str | None) -> Answer[dict[str, Any]]:
        self.ran.append(request)
        async with self.seen:
            self.seen.notify_all()
        if request in self.held:
            await self.gate.wait()
        if request in self.faults:
            raise self.faults[request]
        return Answer({"double": request * 2, "owner": owner})

    async def until(self, fulfilled: Callable[[], bool]) -> None:
        """Wait until what ran fulfils something."""
        async with asyncio.timeout(SOON), self.seen:
            await self.seen.wait_for(fulfilled)


class SeenStore(BatchStore):
    """A store that tells when outcomes were written."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.wrote = asyncio.Condition()

    async def finish(self, batch_id: str, done: Sequence[Done], *, rate: float) -> None:
        await super().finish(batch_id, done, rate=rate)
        async with self.wrote:
            self.wrote.notify_all()

    async def until_done(self, batch_id: str, number: int) -> None:
        """Wait until so many items have their outcome on disk."""
        async with asyncio.timeout(SOON), self.wrote:
            while True:
                batch = await self.find(batch_id)
                if batch is not None and batch.completed >= number:
                    return
                await self.wrote.wait()


@pytest.fixture(params=DATABASES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database."""
    async with open_for_test(request.param, request, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> SeenStore:
    """The batches in it."""
    return SeenStore(database)


@pytest.fixture
def files(database: Database) -> FileStore:
    """The files in it."""
    return FileStore(database, clock=SystemClock(), keep=3600.0)


@pytest.fixture
def numbers() -> Numbers:
    """The operation."""
    return Numbers()


class Purse:
    """Says whether a key may spend: `left` times yes; `fault` is raised instead, once."""

    def __init__(self) -> None:
        self.left = 1 << 60
        self.fault: Exception | None = None
        self.asked: set[str | None] = set()

    async def may_spend(self, key: str | None) -> None:
        self.asked.add(key)
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        if not self.left:
            raise BudgetExhausted("the key's budget is used up", retry_after=60.0)
        self.left -= 1


@pytest.fixture
def purse() -> Purse:
    """What the key of a batch may spend."""
    return Purse()


@pytest.fixture
def work(store: BatchStore, files: FileStore, numbers: Numbers, purse: Purse) -> BatchWork:
    """What runs batches, four items at once."""
    return BatchWork(
        store=store,
        files=files,
        operations={ENDPOINT: numbers},
        clock=SystemClock(),
        metrics=Metrics(),
        concurrency=4,
        max_items=1000,
        keep=3600.0,
        may_spend=purse.may_spend,
    )


def new_batch(id: str = "batch_1", **fields: Any) -> Batch:
    """A batch as it is accepted."""
    now = int(SystemClock().now() * 1000)
    about: dict[str, Any] = {
        "owner": "team",
        "endpoint": ENDPOINT,
        "status": "validating",
        "completion_window": "24h",
        "digest": "d",
        "total": 0,
        "created_at": now,
        "expires_at": now + 86_400_000,
    }
    return Batch(id=id, **{**about, **fields})


def items_of(*numbers: int) -> list[NewItem]:
    """Items that ask for these numbers."""
    return [NewItem(at, str(number).encode(), f"id-{at}") for at, number in enumerate(numbers)]
