"""How many bytes of images are in memory, and who waits for whom."""

from __future__ import annotations

import asyncio
import base64

import pytest

from penstock.errors import InvalidInput
from penstock.images import Limits
from penstock.net.dial import Dialler
from penstock.net.guard import Guard
from penstock.services.moderation import image_sources
from penstock.services.moderation.image_sources import ImageSources, Room, unpacked


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_room_is_taken_in_the_order_of_asking() -> None:
    room, order = Room(10), list[str]()

    async def take(name: str, size: int) -> None:
        await room.take(size)
        order.append(name)

    await room.take(8)
    async with asyncio.TaskGroup() as group:
        group.create_task(take("large", 5))
        group.create_task(take("small", 1))  # would fit, and waits
        await settle()
        assert order == []
        room.give(8)

    assert order == ["large", "small"]
    assert room.taken == 6


async def test_one_who_gives_up_waiting_holds_up_nobody() -> None:
    room = Room(10)
    await room.take(8)
    large = asyncio.ensure_future(room.take(5))
    small = asyncio.ensure_future(room.take(1))
    await settle()

    large.cancel()

    assert await small == 1
    assert room.taken == 9


async def test_one_who_gives_up_while_it_is_served_keeps_nothing() -> None:
    room = Room(10)
    await room.take(8)
    large = asyncio.ensure_future(room.take(5))
    await settle()

    room.give(8)
    large.cancel()
    await asyncio.gather(large, return_exceptions=True)

    assert room.taken == 0


async def test_more_than_there_is_in_all_is_all_of_it() -> None:
    room = Room(10)

    room.give(await room.take(1_000))

    assert room.taken == 0


async def test_an_image_takes_room_until_whoever_asked_has_done_with_it() -> None:
    sources = ImageSources(Dialler(Guard()), limits=Limits())
    url = "data:image/png;base64," + base64.b64encode(bytes(300)).decode()

    async with sources.open(url) as (declared, data):
        assert (declared, data) == ("image/png", bytes(300))
        assert sources.taken == 300

    assert sources.taken == 0


async def test_an_image_that_cannot_be_unpacked_takes_no_room() -> None:
    sources = ImageSources(Dialler(Guard()), limits=Limits())

    with pytest.raises(InvalidInput):
        async with sources.open("data:image/png;base64,$$$$"):
            pass

    assert sources.taken == 0


@pytest.mark.parametrize("size", [*range(40), 191, 192, 193])
def test_base64_is_unpacked_by_slices_as_in_one_piece(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_sources, "_SLICE", 16)
    data = bytes(range(size))

    assert unpacked("data:," + base64.b64encode(data).decode(), 6) == data


@pytest.mark.parametrize(
    "wrong", ["QQ==QUFB", "QUE=QUFB", "QUFBQUE=QUFB", "QUFBQUFB==", "QUFBQUFBQ"]
)
def test_padding_stands_at_the_end_alone(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_sources, "_SLICE", 4)
    with pytest.raises(InvalidInput, match="strict base64"):
        unpacked(wrong, 0)
