from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from penstock.clock import ManualClock
from penstock.db import open_database
from penstock.http.problems import Problems
from penstock.http.request_id import RequestId
from penstock.hub import LocalHub
from penstock.server.auth import Auth
from penstock.server.keys import KeyRing
from penstock.server.routes.keys import router
from penstock.web import errors

Connect = Callable[[str | None], httpx.AsyncClient]


@pytest.fixture
async def ring(tmp_path: Path) -> AsyncIterator[KeyRing]:
    database = open_database(folder=tmp_path)
    yield KeyRing(database, LocalHub(), ManualClock())
    await database.aclose()


@pytest.fixture
def connect(ring: KeyRing) -> Connect:
    api = FastAPI()
    errors.install(api)
    api.include_router(router(ring))
    app = Auth(api, keys=ring, hub=LocalHub(), clock=ManualClock())

    def connected(token: str | None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(RequestId(Problems(app))),
            base_url="http://127.0.0.1:8000",
            headers={} if token is None else {"authorization": f"Bearer {token}"},
        )

    return connected


@pytest.fixture
async def admin(ring: KeyRing, connect: Connect) -> httpx.AsyncClient:
    return connect(await ring.ensure_admin())


async def test_a_key_is_made_and_its_token_shown_once(
    admin: httpx.AsyncClient, connect: Connect
) -> None:
    asked = {"name": "app", "role": "viewer", "rate_limit": 60, "expires_in_seconds": 3600}

    made = await admin.post("/v1/keys", json=asked)

    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    body = made.json()
    token = body.pop("token")
    assert (await admin.get(made.headers["location"])).json() == body
    lifetime = datetime.fromisoformat(body["expires_at"]) - datetime.fromisoformat(
        body["created_at"]
    )
    assert lifetime.total_seconds() == 3600
    current = await connect(token).get("/v1/keys/current")
    assert current.json() == {
        "key_id": body["id"],
        "owner": body["id"],
        "role": "viewer",
        "rate_limit": 60,
        "route_limits": {},
        "budget": None,
    }


async def test_who_made_and_who_revoked_a_key_is_on_the_audit_log(
    admin: httpx.AsyncClient, ring: KeyRing
) -> None:
    actor = (await admin.get("/v1/keys/current")).json()["key_id"]
    made = (await admin.post("/v1/keys", json={"name": "app", "role": "viewer"})).json()
    await admin.delete(f"/v1/keys/{made['id']}")

    found = await ring._audit.page(subject=made["id"])

    assert [(each.actor, each.action) for each in found] == [
        (actor, "key.revoked"),
        (actor, "key.created"),
    ]


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"name": "line\nbreak"}, "/name"),
        ({"name": "nul\x00"}, "/name"),
        ({"name": 7}, "/name"),
        ({"role": "root"}, "/role"),
        ({"owner": ""}, "/owner"),
        ({"rate_limit": -1}, "/rate_limit"),
        ({"rate_limit": 1 << 70}, "/rate_limit"),
        ({"rate_limit": 1.5}, "/rate_limit"),
        ({"expires_in_seconds": 0}, "/expires_in_seconds"),
        ({"expires_in_seconds": 1 << 40}, "/expires_in_seconds"),
        ({"prefix": "A_"}, "/prefix"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_written(
    admin: httpx.AsyncClient, ring: KeyRing, wrong: dict[str, Any], pointer: str
) -> None:
    answer = await admin.post("/v1/keys", json={"name": "app", "role": "viewer", **wrong})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert len(await ring.page()) == 1


async def test_half_a_surrogate_pair_is_refused(admin: httpx.AsyncClient) -> None:
    body = b'{"name": "\\ud800", "role": "viewer"}'

    answer = await admin.post(
        "/v1/keys", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 422


async def test_keys_are_listed_in_pages(admin: httpx.AsyncClient) -> None:
    for number in range(4):
        await admin.post("/v1/keys", json={"name": f"key {number}", "role": "viewer"})

    first = (await admin.get("/v1/keys", params={"limit": 3})).json()
    second = (await admin.get("/v1/keys", params={"limit": 3, "cursor": first["next"]})).json()

    names = [item["name"] for item in first["items"] + second["items"]]
    assert sorted(names) == ["first admin key", "key 0", "key 1", "key 2", "key 3"]
    assert second["next"] is None
    assert "token" not in first["items"][0]
    assert "digest" not in first["items"][0]


@pytest.mark.parametrize("cursor", ["x", "", "gsDA", "kgGheA", "ks__________oXg"])
async def test_a_foreign_cursor_breaks_nothing(admin: httpx.AsyncClient, cursor: str) -> None:
    answer = await admin.get("/v1/keys", params={"cursor": cursor})

    assert answer.status_code in (200, 422)


async def test_a_revoked_key_stops_working(admin: httpx.AsyncClient, connect: Connect) -> None:
    made = (await admin.post("/v1/keys", json={"name": "app", "role": "viewer"})).json()

    revoked = await admin.delete(f"/v1/keys/{made['id']}")

    assert revoked.status_code == 200
    assert revoked.json()["revoked_at"] is not None
    assert (await connect(made["token"]).get("/v1/keys/current")).status_code == 401


async def test_the_last_admin_key_is_kept_with_a_conflict(admin: httpx.AsyncClient) -> None:
    own = (await admin.get("/v1/keys/current")).json()["key_id"]

    answer = await admin.delete(f"/v1/keys/{own}")

    assert answer.status_code == 409
    assert "make another one first" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_key_is_not_found(admin: httpx.AsyncClient, method: str) -> None:
    assert (await admin.request(method, "/v1/keys/key_none")).status_code == 404


@pytest.mark.parametrize("role", ["viewer", "operator", None])
async def test_only_admins_see_and_change_keys(ring: KeyRing, connect: Connect, role: Any) -> None:
    """P-100, F-46: 403 with a weaker key, 401 without one, and nothing changes."""
    victim = await ring.create("victim", actor="test", role="viewer")
    token = (await ring.create("weak", actor="test", role=role)).token if role else None
    client, refused = connect(token), 403 if role else 401
    here = f"/v1/keys/{victim.record.id}"

    answers = [
        await client.post("/v1/keys", json={"name": "own", "role": "admin"}),
        await client.get("/v1/keys"),
        await client.get(here),
        await client.delete(here),
    ]

    assert [answer.status_code for answer in answers] == [refused] * 4
    await ring.refresh()
    assert ring.verify(victim.token) is not None
