"""Two servers on one data folder, one of them in a process of its own; and one with two workers."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from penstock.settings import Settings
from tests.conftest import ADMIN, Live
from tests.server.asking import MODERATIONS, assert_problem, moderate, source_of
from tests.server.conftest import SHARED, App, opened

pytestmark = [pytest.mark.slow, SHARED]

KIND = "Thank you all for the lovely evening, the soup was delicious."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(shared_server: Live) -> AsyncIterator[App]:
    """A server in this process on the folder of the one in the other."""
    settings = Settings(home=shared_server.home, admin_key=SecretStr(ADMIN), log_level="error")
    async with opened(settings) as app:
        yield app


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def empty(here: App) -> None:
    await here.runtime.cache.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def there(shared_server: Live) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server in the other process."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with httpx.AsyncClient(base_url=shared_server.url, headers=headers) as client:
        yield client


def bearing(client: httpx.AsyncClient) -> dict[str, str]:
    return {"Authorization": client.headers["authorization"]}


async def test_a_key_made_here_works_there_at_once_and_is_revoked_at_once(
    here: App, there: httpx.AsyncClient
):
    made = await here.key("operator")

    works = await there.get("/v1/keys/current", headers=bearing(made))
    await here.client.delete(f"/v1/keys/{works.json()['key_id']}")
    refused = await there.get("/v1/keys/current", headers=bearing(made))

    assert works.json()["role"] == "operator"
    assert_problem(refused, 401)


async def test_a_key_revoked_here_is_refused_there_on_a_hot_entry(
    here: App, there: httpx.AsyncClient
):
    made = await here.key("operator")
    ask = {"json": {"input": KIND}, "headers": bearing(made)}
    hot = [await there.post(MODERATIONS, **ask) for _ in range(2)]
    me = (await made.get("/v1/keys/current")).json()["key_id"]

    await here.client.delete(f"/v1/keys/{me}")

    assert source_of(hot[1].json()["results"][0]) == "memory"
    assert_problem(await there.post(MODERATIONS, **ask), 401)


async def test_what_is_known_here_is_on_disk_there(here: App, there: httpx.AsyncClient):
    text = f"{KIND} Known here."
    await moderate(here.client, text)
    await here.client.get("/v1/cache")  # asks the disk for its size: what was pending is written

    assert source_of(await moderate(there, text)) == "disk"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/cache/clear", None),
        ("POST", "/api/v2/cache/clear", None),
        ("POST", "/v1/cache/clear", {"pattern": "moderation:*"}),
        ("POST", "/v1/cache/clear", {"namespace": "moderation"}),
        ("POST", "/v1/cache/clear", {"tag": "user:u1"}),
    ],
)
async def test_what_is_cleared_here_is_a_miss_there(
    here: App, there: httpx.AsyncClient, method: str, path: str, body: dict[str, str] | None
):
    await moderate(there, KIND, user="u1")
    hot = await moderate(there, KIND)

    await here.client.request(method, path, json=body)

    assert source_of(hot) == "memory"
    assert source_of(await moderate(there, KIND)) == "local"


async def test_both_write_and_nothing_is_lost(here: App, there: httpx.AsyncClient):
    texts = [f"Parcel number {number} has arrived." for number in range(30)]

    for text in texts:
        await moderate(here.client, text)
        await moderate(there, text, user="other")

    rows = await here.runtime.database.rows(
        "SELECT count(*) FROM moderation_verdicts WHERE word_count = 5"
    )
    assert rows[0][0] == len(texts)
    assert (await there.get("/health")).json()["status"] == "healthy"


async def test_a_limit_holds_over_both(here: App, there: httpx.AsyncClient):
    made = await here.key("viewer", rate_limit=2)

    statuses = [
        (await made.get("/v1/models")).status_code,
        (await there.get("/v1/models", headers=bearing(made))).status_code,
        (await made.get("/v1/models")).status_code,
        (await there.get("/v1/models", headers=bearing(made))).status_code,
    ]

    assert statuses == [200, 200, 429, 429]


async def test_two_workers_serve_on_one_port(serve):
    with serve("--workers", "2") as live:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        results = []
        for number in range(12):  # each connection may meet another worker
            async with httpx.AsyncClient(base_url=live.url, headers=headers) as client:
                results.append(await moderate(client, f"Parcel number {number % 2} has arrived."))
        async with httpx.AsyncClient(base_url=live.url, headers=headers) as client:
            made = (await client.post("/v1/keys", json={"name": "w", "role": "viewer"})).json()
        seen = set()
        for _ in range(8):
            async with httpx.AsyncClient(base_url=live.url) as client:
                reply = await client.get(
                    "/v1/keys/current", headers={"Authorization": f"Bearer {made['token']}"}
                )
                seen.add(reply.status_code)

    assert {result["penstock"]["decision"] for result in results} == {"approved"}
    assert all(result["penstock"]["recorded"] for result in results)
    assert seen == {200}
    with closing(sqlite3.connect(live.home / "penstock.db")) as database:
        assert database.execute("SELECT count(*) FROM moderation_verdicts").fetchone() == (2,)
