"""The ledger's SQL on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.db import Database
from penstock.usage.store import DAY, Counts, Mark, UsageFilter, UsageStore
from tests.databases import DATABASES, open_for_test

EVERYTHING = UsageFilter(first_day=0, last_day=10 * DAY)


@pytest.fixture(params=DATABASES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_for_test(request.param, request, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> UsageStore:
    return UsageStore(database)


def used(calls: int, micros: int) -> Counts:
    return Counts("team", calls=calls, tokens_in=calls * 10, spent_micros=micros)


def part(number: int, *, source: str = "server") -> Mark:
    """The mark of a part."""
    return Mark(DAY, source, number)


async def test_what_is_added_is_summed_up(store: UsageStore) -> None:
    await store.add(part(1), [((DAY, "key_1", "moderation", "USD"), used(1, 5))])
    await store.add(
        part(2),
        [
            ((DAY, "key_1", "moderation", "USD"), used(2, 6)),
            ((DAY, "key_1", "moderation", "EUR"), used(3, 7)),
            ((2 * DAY, "key_2", "moderation", "USD"), used(4, 8)),
        ],
    )

    total = await store.total(EVERYTHING)

    assert (total.calls, total.tokens_in) == (10, 100)
    assert total.spent_micros == {"USD": 19, "EUR": 7}
    assert type(total.calls) is int


async def test_sums_of_nothing_are_none(store: UsageStore) -> None:
    total = await store.total(EVERYTHING)

    assert (total.calls, total.spent_micros) == (0, {})
    assert await store.page(EVERYTHING, group=["day"], after=None, limit=5) == []


async def test_sums_come_in_pages(store: UsageStore) -> None:
    places = [(day * DAY, f"key_{key}", "moderation", "USD") for day in (1, 2) for key in (1, 2)]
    await store.add(part(1), [(place, used(1, 1)) for place in places])

    first = await store.page(EVERYTHING, group=["day", "key"], after=None, limit=3)
    last = (first[-1].day, first[-1].owner, first[-1].key_id)
    rest = await store.page(EVERYTHING, group=["day", "key"], after=last, limit=3)

    found = [(row.day, row.key_id) for row in first + rest]
    assert found == [(2 * DAY, "key_2"), (2 * DAY, "key_1"), (DAY, "key_2"), (DAY, "key_1")]


async def test_servers_that_add_to_the_same_rows_in_any_order_lose_nothing(
    store: UsageStore,
) -> None:
    places = [(DAY, f"key_{number}", "moderation", "USD") for number in range(20)]
    counted = [(place, used(1, 1)) for place in places]

    await asyncio.gather(
        *(
            store.add(part(1, source=f"server-{n}"), counted if n % 2 else counted[::-1])
            for n in range(10)
        )
    )

    assert (await store.total(EVERYTHING)).calls == 200


async def test_a_part_that_comes_again_adds_nothing(store: UsageStore) -> None:
    """Also when the first one is being written still: its connection may have broken."""
    counted = [((DAY, f"key_{number}", "moderation", "USD"), used(1, 1)) for number in range(5)]
    await store.add(part(1), counted)

    await asyncio.gather(*(store.add(part(2), counted) for _ in range(4)))
    await store.add(part(1), counted)
    await store.add(part(3), counted)

    assert (await store.total(EVERYTHING)).calls == 15
