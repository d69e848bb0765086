from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from penstock.clock import ManualClock
from penstock.db import open_database
from penstock.http.problems import Problems
from penstock.http.request_id import RequestId
from penstock.server.routes.usage import router
from penstock.usage import Usage
from penstock.web import errors
from penstock.web.principal import Principal, Role
from tests.usage.receipts import ASKED, CACHED, receipt


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000.0)  # 2023-11-14, 22:13:20 UTC


@pytest.fixture
async def usage(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Usage]:
    """What two keys of team a and one of team b used, on two days."""
    database = open_database(folder=tmp_path)
    usage = Usage(database, clock=clock)
    usage.add(key_id="key_1", owner="a", service="moderation", receipt=ASKED)
    clock.advance(86_400)
    usage.add(key_id="key_1", owner="a", service="moderation", receipt=CACHED)
    usage.add(key_id="key_2", owner="a", service="filterx", receipt=receipt("local"))
    usage.add(key_id="key_3", owner="b", service="moderation", receipt=receipt(currency="EUR"))
    yield usage
    await database.aclose()


def connect(
    usage: Usage, clock: ManualClock, *, role: Role = "admin", owner: str = "admin"
) -> httpx.AsyncClient:
    """A client whose key has `role` and `owner`."""
    api = FastAPI()
    errors.install(api)
    api.include_router(router(usage, clock))

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        scope["penstock"]["principal"] = Principal("key_9", owner, role)
        await Problems(api)(scope, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(RequestId(app)), base_url="http://test")


@pytest.fixture
def admin(usage: Usage, clock: ManualClock) -> httpx.AsyncClient:
    return connect(usage, clock)


def found(reply: httpx.Response) -> dict[tuple[Any, ...], int]:
    assert reply.status_code == 200, reply.text
    names = ("day", "key_id", "service")
    items = reply.json()["items"]
    return {tuple(one[name] for name in names if one[name]): one["calls"] for one in items}


async def test_usage_is_told_by_day_and_key(admin: httpx.AsyncClient) -> None:
    reply = await admin.get("/v1/usage", params={"key_id": "key_1"})

    assert reply.json() == {
        "items": [
            {
                "calls": 1,
                "cached": 1,
                "tokens": {"in": 0, "out": 0, "saved": 120},
                "spent_micros": {"USD": 0},
                "saved_micros": {"USD": 7},
                "day": "2023-11-15",
                "owner": "a",
                "key_id": "key_1",
                "service": None,
            },
            {
                "calls": 1,
                "cached": 0,
                "tokens": {"in": 100, "out": 20, "saved": 0},
                "spent_micros": {"USD": 7},
                "saved_micros": {"USD": 0},
                "day": "2023-11-14",
                "owner": "a",
                "key_id": "key_1",
                "service": None,
            },
        ],
        "next": None,
        "first_day": "2023-10-17",
        "last_day": "2023-11-15",
        "total": {
            "calls": 2,
            "cached": 1,
            "tokens": {"in": 100, "out": 20, "saved": 120},
            "spent_micros": {"USD": 7},
            "saved_micros": {"USD": 7},
        },
    }


@pytest.mark.parametrize(
    ("group", "calls"),
    [
        (["day"], {("2023-11-15",): 3, ("2023-11-14",): 1}),
        (["key"], {("key_1",): 2, ("key_2",): 1, ("key_3",): 1}),
        (["service"], {("moderation",): 3, ("filterx",): 1}),
        (["service", "service"], {("moderation",): 3, ("filterx",): 1}),
        (
            ["service", "day"],
            {
                ("2023-11-15", "moderation"): 2,
                ("2023-11-14", "moderation"): 1,
                ("2023-11-15", "filterx"): 1,
            },
        ),
    ],
)
async def test_usage_is_grouped_as_asked(
    admin: httpx.AsyncClient, group: list[str], calls: dict[tuple[Any, ...], int]
) -> None:
    reply = await admin.get("/v1/usage", params={"group": group})

    assert found(reply) == calls


@pytest.mark.parametrize(
    ("asked", "calls"),
    [
        ({}, 4),
        ({"owner": "b"}, 1),
        ({"owner": "nobody"}, 0),
        ({"from": "2023-11-15"}, 3),
        ({"to": "2023-11-14"}, 1),
        ({"from": "2023-11-14", "to": "2023-11-14"}, 1),
        ({"from": "2024-01-01"}, 0),
    ],
)
async def test_an_admin_asks_for_whom_and_when(
    admin: httpx.AsyncClient, asked: dict[str, str], calls: int
) -> None:
    reply = await admin.get("/v1/usage", params=asked)

    assert reply.json()["total"]["calls"] == calls


async def test_others_see_their_own_owner_only(usage: Usage, clock: ManualClock) -> None:
    viewer = connect(usage, clock, role="viewer", owner="a")

    own = await viewer.get("/v1/usage", params={"group": "key"})
    named = await viewer.get("/v1/usage", params={"group": "key", "owner": "a"})
    foreign_key = await viewer.get("/v1/usage", params={"key_id": "key_3"})
    foreign_owner = await viewer.get("/v1/usage", params={"owner": "b"})

    assert found(own) == found(named) == {("key_1",): 2, ("key_2",): 1}
    assert own.json()["total"]["calls"] == 3
    assert foreign_key.json()["total"]["calls"] == 0
    assert foreign_owner.status_code == 403


async def test_pages_hold_every_sum_once(admin: httpx.AsyncClient) -> None:
    items, asked = [], {"limit": "1"}
    while True:
        page = (await admin.get("/v1/usage", params=asked)).json()
        items += [(one["day"], one["key_id"]) for one in page["items"]]
        assert page["total"]["calls"] == 4
        if page["next"] is None:
            break
        asked["cursor"] = page["next"]

    assert len(items) == len(set(items)) == 4


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"from": "2023-11-16", "to": "2023-11-15"}, "/from"),
        ({"from": "2020-01-01", "to": "2023-11-15"}, "/from"),
        ({"to": "9999-12-31"}, "/to"),
        ({"to": "0001-01-01"}, "/to"),
        ({"to": "yesterday"}, "/to"),
        ({"group": "colour"}, "/group/0"),
        ({"group": ["day"] * 9}, "/group"),
        ({"limit": "0"}, "/limit"),
        ({"cursor": "????"}, "/cursor"),
        ({"cursor": "k6FhoWKhYw"}, "/cursor"),  # three strings
    ],
)
async def test_what_cannot_be_asked_is_refused(
    admin: httpx.AsyncClient, asked: dict[str, Any], pointer: str
) -> None:
    reply = await admin.get("/v1/usage", params=asked)

    assert reply.status_code == 422
    assert [one["pointer"] for one in reply.json()["errors"]] == [pointer]
