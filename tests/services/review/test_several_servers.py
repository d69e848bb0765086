"""Several servers on one PostgreSQL put alike content into one case, whoever is first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from penstock.clock import ManualClock
from penstock.db import Database
from penstock.db.database import Call
from penstock.errors import Conflict, StorageUnavailable
from penstock.services.review.alone_store import _LOCK, Alone
from penstock.services.review.placing import content_of, new_case, place, sign
from penstock.services.review.schemas import Decision, Filter, Item, Reviewer
from tests.services.conftest import another
from tests.services.review.conftest import ADMIN, Desk, Referral, refers
from tests.services.review.test_similar import ADVERT

SERVERS = 4
HALT = 42  # a lock at which a transaction is held up
DECISIONS: tuple[Decision, ...] = ("approved", "rejected")
ALIKE = [bytes(32), b"\x01" + bytes(31), bytes(31) + b"\x80", b"\x03" * 8 + bytes(24)]
"""Hashes of images; each is within the distance of the others."""
OTHERS = [ADVERT.replace("handbags", word) for word in ("jewellery", "trousers", "furniture")]

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
async def holder(database: Database, postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Holds locks that others wait for."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


@pytest.fixture
async def desks(
    database: Database, postgres_url: str, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[list[Desk]]:
    """The review service of every server, each with connections of its own."""
    async with AsyncExitStack() as opened:
        found = []
        for _ in range(SERVERS):
            server = another(postgres_url, tmp_path)
            opened.push_async_callback(server.aclose)
            found.append(Desk(server, clock))
        yield found


async def settled(holder: asyncpg.Connection, *tasks: asyncio.Task[object]) -> None:
    """Return when every task is done or its transaction waits for another."""
    sql = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(60):
        # PostgreSQL tells nobody who waits.
        while await holder.fetchval(sql) < sum(not each.done() for each in tasks):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def live(desk: Desk) -> list[int]:
    """How many items the live cases have."""
    listed = await desk.service.page(Filter(), who=ADMIN, limit=200)
    return sorted(case.items for case in listed.cases)


@pytest.mark.parametrize("said", [[ADVERT, *OTHERS], ["you are an idiot"] * SERVERS, ALIKE])
async def test_of_all_that_looked_before_any_wrote_one_opens_a_case(
    desks: list[Desk], holder: asyncpg.Connection, said: list[str | bytes]
) -> None:
    async with holder.transaction():
        await holder.execute(_LOCK[0])
        placed = [
            asyncio.ensure_future(desk.service.refer(_said(each, f"mod_{number}")))
            for number, (desk, each) in enumerate(zip(desks, said, strict=True))
        ]
        await settled(holder, *placed)
    await asyncio.gather(*placed)

    assert await live(desks[0]) == [SERVERS]


def _said(what: str | bytes, id: str) -> Referral:
    """A referral of a text, or of an image by its hash."""
    if isinstance(what, str):
        return refers(what, id)
    return refers(what.hex(), id, text=None, images=(what,))


async def test_a_case_that_comes_to_light_after_a_later_one_is_found(
    desks: list[Desk], holder: asyncpg.Connection
) -> None:
    """PostgreSQL numbers rows before it commits them."""
    halt: Call = (f"SELECT pg_advisory_xact_lock({HALT})", None)
    async with holder.transaction():
        await holder.execute(halt[0])
        slow = asyncio.ensure_future(_place(desks[0], "you are an idiot", "mod_1", halt))
        await settled(holder, slow)
        await _place(desks[1], "what a fool", "mod_2")
        same = asyncio.ensure_future(_place(desks[2], "you are an idiot", "mod_3"))
        await settled(holder, slow, same)
    await asyncio.gather(slow, same)

    assert await live(desks[0]) == [1, 2]


async def test_what_is_about_something_else_waits_for_nobody(
    desks: list[Desk], holder: asyncpg.Connection
) -> None:
    halt: Call = (f"SELECT pg_advisory_xact_lock({HALT})", None)
    other = await desks[0].refer("what a fool")
    async with holder.transaction():
        await holder.execute(halt[0])
        slow = asyncio.ensure_future(_place(desks[0], "you are an idiot", "mod_1", halt))
        await settled(holder, slow)

        await desks[1].service.refer(refers(ADVERT))
        await desks[1].service.refer(refers("what a fool", "mod_2"))
        await desks[2].service.decide(other, "rejected", who=ADMIN)
        assert not slow.done()
    await slow

    assert await live(desks[0]) == [1, 1]


async def test_who_removes_what_is_about_a_user_waits_for_what_is_being_placed(
    desks: list[Desk], holder: asyncpg.Connection
) -> None:
    halt: Call = (f"SELECT pg_advisory_xact_lock({HALT})", None)
    await desks[0].service.refer(refers(ADVERT, user_id="u-1"))
    async with holder.transaction():
        await holder.execute(halt[0])
        slow = asyncio.ensure_future(_place(desks[0], OTHERS[0], "mod_1", halt))
        await settled(holder, slow)
        erased = asyncio.ensure_future(desks[1].service.erase("u-1"))
        await settled(holder, slow, erased)
    await asyncio.gather(slow, erased)

    assert await live(desks[0]) == [1]


async def _place(desk: Desk, content: str, id: str, *then: Call) -> None:
    referral = refers(content, id)
    item = Item(
        verdict_id=id,
        key_id="key_app",
        case_id="",
        owner="team",
        user_id=None,
        content_key=referral.content_key,
        content_hash=referral.content_hash,
        decision="review",
        created_at=desk.now,
    )
    said = content_of(item, risk=0.5, category=None, words=None, keep=0.0)
    signed = await sign(content)
    case = new_case(item, kind="review", content=said, reason="", sla=60.0, signed=signed)
    await place(desk.store, case, item, said, then=lambda _: then)


async def test_what_comes_at_once_to_all_servers_is_one_case_for_each_content(
    desks: list[Desk],
) -> None:
    contents = [f"{number} of you are idiots and so is the {number}th" for number in range(6)]

    for content in contents:
        await asyncio.gather(
            *(
                desk.service.refer(refers(content, f"mod_{hash((content, number)):x}"))
                for number in range(8)
                for desk in [desks[number % SERVERS]]
            )
        )

    assert await live(desks[0]) == [8] * len(contents)


async def test_while_other_content_is_put_on_record_too(desks: list[Desk]) -> None:
    """Numbers of cases are given before others can see them: a later one may be seen first."""
    same = [refers("you are an idiot", f"mod_same_{number}") for number in range(12)]
    others = [refers(f"{number} idiots", f"mod_{number}") for number in range(24)]
    mixed = [each for pair in zip(same, others[:12], others[12:], strict=True) for each in pair]

    await asyncio.gather(
        *(desks[at % SERVERS].service.refer(each) for at, each in enumerate(mixed))
    )

    assert await live(desks[0]) == [1] * 24 + [12]


async def test_of_reviewers_on_several_servers_one_claims_and_one_decides(
    desks: list[Desk],
) -> None:
    claimed, decided = await desks[0].refer("idiot"), await desks[0].refer("fool")

    claims = await asyncio.gather(
        *(
            desk.service.claim(claimed, who=Reviewer(f"key_{number}", "team"))
            for number, desk in enumerate(desks)
        ),
        return_exceptions=True,
    )
    await asyncio.gather(
        *(
            desk.service.decide(decided, decision, who=ADMIN)
            for desk in desks
            for decision in DECISIONS
        ),
        return_exceptions=True,
    )

    file = await desks[2].service.open_file(decided, who=ADMIN)
    assert sum(isinstance(each, Conflict) for each in claims) == SERVERS - 1
    assert [event.action for event in file.events] == ["opened", "decided"]


async def test_a_write_that_waits_too_long_for_those_before_it_is_told_so(
    database: Database, holder: asyncpg.Connection
) -> None:
    alone = Alone(database, patience=0.01, at_once=1)
    nothing: Call = ("DELETE FROM review_cases", None)
    async with holder.transaction():
        await holder.execute(_LOCK[0])
        first = asyncio.ensure_future(alone.write(nothing))
        await settled(holder, first)
        with pytest.raises(StorageUnavailable, match="repeat the request"):
            await alone.write(nothing)
    await first

    assert await alone.write(nothing) == 0
