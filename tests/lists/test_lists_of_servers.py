"""User lists of several servers on one database: what one writes, the others learn, all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.audit import AuditLog
from penstock.clock import ManualClock
from penstock.db import open_database
from penstock.errors import Conflict, StorageUnavailable
from penstock.hub import LocalHub
from penstock.lists import Lists, store
from penstock.lists.index import LOOK_SECONDS
from penstock.lists.store import ListStore
from penstock.observe.metrics import Metrics
from tests.databases import DATABASES, address_for_test
from tests.plans import plan_of

WRITERS = 4
EACH = 10


@dataclass
class Server:
    """The lists of one server, and their database."""

    lists: Lists
    store: ListStore


Open = Callable[..., Awaitable[Server]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=DATABASES)
async def server(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Open]:
    """Opens one more server; `deaf` ones hear of nobody, as when Redis is away."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(
            address_for_test(request.param, request, tmp_path)
        )

        async def opened(*, deaf: bool = False) -> Server:
            database = open_database(address, folder=tmp_path)
            stack.push_async_callback(database.aclose)
            lists = Lists(
                database,
                hub=LocalHub(None if deaf else tmp_path),
                clock=clock,
                audit=AuditLog(database, clock=clock),
                metrics=Metrics(),
            )
            stack.push_async_callback(lists.aclose)
            await lists.refresh()
            return Server(lists, ListStore(database))

        yield opened


async def made(server: Server) -> str:
    return (await server.lists.create("words", kind="block", actor="test")).id


async def test_whoever_reads_what_is_new_misses_nothing_that_others_write(server: Open) -> None:
    """No entry may be committed behind a higher number than its own."""
    writers = [await server() for _ in range(WRITERS)]
    reader = await server()
    list_id = await made(writers[0])
    seen: dict[int, int] = {}
    after = 0
    done = asyncio.Event()

    async def write(place: int, lists: Lists) -> None:
        for number in range(EACH):
            words = [("phrase", f"word{place}x{number}x{each}", "") for each in range(2)]
            await lists.add(list_id, words, actor="test")

    async def follow() -> None:
        nonlocal after
        last = False
        while not last:
            last = done.is_set()
            for change in await reader.store.changed(after=after, limit=3):
                seen[change.id] = change.change
                after, last = change.change, False
            await asyncio.sleep(0)

    following = asyncio.ensure_future(follow())
    await asyncio.gather(*(write(place, each.lists) for place, each in enumerate(writers)))
    done.set()
    await following

    assert len(seen) == WRITERS * EACH * 2
    assert len(set(seen.values())) == len(seen)


async def test_every_server_knows_what_all_have_written_at_once(server: Open) -> None:
    servers = [await server() for _ in range(WRITERS)]
    list_id = await made(servers[0])

    await asyncio.gather(
        *(
            each.lists.add(list_id, [("phrase", f"word{place}x{number}", "")], actor="test")
            for place, each in enumerate(servers)
            for number in range(EACH)
        )
    )

    for each in servers:
        await each.lists.refresh()
        assert each.lists.count(list_id) == WRITERS * EACH
    decided = [each.lists.match("word2x7", key=None).decision for each in servers]
    assert decided == ["rejected"] * WRITERS


async def test_a_word_acts_elsewhere_within_a_second_although_nobody_tells(
    server: Open, clock: ManualClock
) -> None:
    here, there = await server(deaf=True), await server(deaf=True)
    list_id = await made(here)
    await here.lists.add(list_id, [("phrase", "badword", "")], actor="test")
    assert not there.lists.stale

    clock.advance(LOOK_SECONDS)

    assert there.lists.stale
    await there.lists.refresh()
    assert there.lists.match("a badword", key=None).decision == "rejected"


async def test_of_changes_at_once_that_cannot_both_be_one_is_refused(server: Open) -> None:
    servers = [await server(deaf=True) for _ in range(WRITERS)]

    outcomes = await asyncio.gather(
        *(each.lists.create("same name", kind="block", actor="test") for each in servers),
        return_exceptions=True,
    )

    assert sum(isinstance(each, Conflict) for each in outcomes) == WRITERS - 1
    assert len(await servers[0].lists.page(after=None, limit=10, seen_by=None)) == 1


async def test_what_is_added_again_is_counted_as_skipped(server: Open) -> None:
    lists = (await server()).lists
    list_id = await made(await server())
    await lists.add(list_id, [("phrase", "one", "first"), ("phrase", "two", "")], actor="test")
    (entry, _) = await lists.entries(list_id)
    await lists.remove(list_id, entry.id, actor="test")

    given = [("phrase", word, "später") for word in ("one", "two", "naïve ☃")]
    report = await lists.add(list_id, given, actor="test", partial=True)

    assert (report.taken, report.skipped) == (2, 1)
    notes = {each.value: each.note for each in await lists.entries(list_id)}
    assert notes == {"one": "später", "two": "", "naïve ☃": "später"}


async def test_while_the_database_hangs_requests_go_on_with_what_is_known(
    server: Open, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await server()
    list_id = await made(here)
    await here.lists.add(list_id, [("phrase", "badword", "")], actor="test")
    here.lists._look._patience = 0.01
    gate = asyncio.Event()
    working = here.lists._store.state

    async def hanging() -> tuple[int, int, int]:
        await gate.wait()
        return await working()

    monkeypatch.setattr(here.lists._store, "state", hanging)
    clock.advance(LOOK_SECONDS)
    for _ in range(3):
        await here.lists.refresh()
        assert not here.lists.stale
        assert here.lists.match("a badword", key=None).decision == "rejected"
        clock.advance(LOOK_SECONDS)

    gate.set()
    await (await server()).lists.add(list_id, [("phrase", "worse", "")], actor="test")
    async with asyncio.timeout(60):
        while here.lists.match("worse", key=None).decision != "rejected":
            clock.advance(LOOK_SECONDS)
            await here.lists.refresh()


async def test_while_the_database_cannot_be_read_what_is_known_counts(
    server: Open, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await server()
    list_id = await made(here)
    await here.lists.add(list_id, [("phrase", "badword", "")], actor="test")

    async def broken() -> tuple[int, int, int]:
        raise StorageUnavailable("away")

    with monkeypatch.context() as away:
        away.setattr(here.lists._store, "state", broken)
        clock.advance(LOOK_SECONDS)
        await here.lists.refresh()
        assert here.lists.match("a badword", key=None).decision == "rejected"
        await (await server()).lists.add(list_id, [("phrase", "worse", "")], actor="test")
        await here.lists.refresh()
        assert here.lists.match("worse", key=None).decision is None

    clock.advance(LOOK_SECONDS)
    await here.lists.refresh()
    assert here.lists.match("worse", key=None).decision == "rejected"


@pytest.mark.parametrize(
    ("sql", "params", "index"),
    [
        (store._CHANGED, (5, 10), "ix_moderation_entries_change"),
        (store._FIND_VALUE, ("l", "phrase", "x"), "list_id_kind_value"),
    ],
)
async def test_what_is_asked_often_has_an_index(
    server: Open, sql: str, params: tuple[object, ...], index: str
) -> None:
    database = (await server()).store._database

    plan = await plan_of(database, sql, params)

    assert index in plan or "sqlite_autoindex_moderation_entries" in plan
    assert "SCAN" not in plan.replace("Index Scan", "")
    assert "Sort" not in plan
