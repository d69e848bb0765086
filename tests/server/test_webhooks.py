"""The routes below /v1/webhooks, over the parts that they stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from penstock.audit import AuditLog
from penstock.clock import SystemClock
from penstock.db import open_database
from penstock.http.problems import Problems
from penstock.http.request_id import RequestId
from penstock.hub import LocalHub
from penstock.net.dial import Dialler
from penstock.net.guard import Guard
from penstock.notify import Mailer, Webhooks
from penstock.observe.metrics import Metrics
from penstock.server.routes.webhooks import router
from penstock.tasks import open_queue
from penstock.web import errors
from penstock.web.principal import Principal, Role

URL = "http://127.0.0.1:9999/hook"
WANTED = {"url": URL, "events": ["verdict.*"]}


@pytest.fixture
async def webhooks(tmp_path: Path) -> AsyncIterator[Webhooks]:
    database, hub = open_database(folder=tmp_path), LocalHub(tmp_path)
    clock, metrics = SystemClock(), Metrics()
    queue = open_queue(f"embedded://{tmp_path / 'tasks.db'}", clock=clock, workers=0)
    webhooks = Webhooks(
        database,
        hub=hub,
        queue=queue,
        dialler=Dialler(Guard(allow=["127.0.0.1:9999"])),
        clock=clock,
        metrics=metrics,
        audit=AuditLog(database, clock=clock),
        mail=Mailer(None, sender="", to=(), events=(), queue=queue, clock=clock),
    )
    queue.register(webhooks.tasks())
    async with queue:
        yield webhooks
    await database.aclose()
    hub.close()


def connect(
    webhooks: Webhooks, role: Role = "operator", *, owner: str = "team"
) -> httpx.AsyncClient:
    """A client whose key has `role`."""
    api = FastAPI()
    errors.install(api)
    api.include_router(router(webhooks))

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        scope["penstock"]["principal"] = Principal("key_1", owner, role)
        await Problems(api)(scope, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(RequestId(app)), base_url="http://test")


async def make(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    reply = await client.post("/v1/webhooks", json={**WANTED, **more})
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def test_the_secret_is_shown_once(webhooks: Webhooks) -> None:
    client = connect(webhooks)

    reply = await client.post("/v1/webhooks", json={**WANTED, "description": "shop"})

    made = reply.json()
    assert reply.headers["location"] == f"/v1/webhooks/{made['id']}"
    assert reply.headers["cache-control"] == "no-store"
    assert made.pop("secret").startswith("whsec_")
    assert made["owner"] == "team"
    assert (await client.get(f"/v1/webhooks/{made['id']}")).json() == made
    assert (await client.get("/v1/webhooks")).json() == {"items": [made], "next": None}


async def test_a_new_secret_is_shown_once(webhooks: Webhooks) -> None:
    client = connect(webhooks)
    made = await make(client)

    reply = await client.post(f"/v1/webhooks/{made['id']}/rotate")

    rotated = reply.json()
    assert rotated["secret"] != made["secret"]
    assert rotated["old_secret_until"] is not None
    assert reply.headers["cache-control"] == "no-store"
    assert "secret" not in (await client.get(f"/v1/webhooks/{made['id']}")).json()


async def test_a_webhook_is_changed_in_part(webhooks: Webhooks) -> None:
    client = connect(webhooks)
    made = await make(client)

    change = {"events": ["case.opened", "case.decided"], "enabled": False, "url": None}
    changed = (await client.patch(f"/v1/webhooks/{made['id']}", json=change)).json()

    assert changed["events"] == ["case.opened", "case.decided"]
    assert (changed["enabled"], changed["url"]) == (False, URL)


async def test_a_webhook_is_deleted(webhooks: Webhooks) -> None:
    client = connect(webhooks)
    made = await make(client)

    assert (await client.delete(f"/v1/webhooks/{made['id']}")).status_code == 204
    assert (await client.get(f"/v1/webhooks/{made['id']}")).status_code == 404


async def test_a_test_event_is_a_job(webhooks: Webhooks) -> None:
    client = connect(webhooks)
    made = await make(client)

    reply = await client.post(f"/v1/webhooks/{made['id']}/test")

    assert reply.status_code == 202
    assert reply.headers["location"] == f"/v1/jobs/{reply.json()['job_id']}"
    await client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": False})
    assert (await client.post(f"/v1/webhooks/{made['id']}/test")).status_code == 409


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**WANTED, "url": "http://169.254.169.254/"}, "/url"),
        ({**WANTED, "url": "http://8.8.8.8/"}, "/url"),
        ({**WANTED, "events": ["case.open"]}, "/events/0"),
        ({**WANTED, "events": []}, "/events"),
        ({**WANTED, "secret": "mine"}, "/secret"),
        ({"events": ["*"]}, "/url"),
    ],
)
async def test_what_is_wrong_is_told_by_its_place(
    webhooks: Webhooks, body: dict[str, Any], pointer: str
) -> None:
    reply = await connect(webhooks).post("/v1/webhooks", json=body)

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == pointer


async def test_webhooks_of_others_are_not_there(webhooks: Webhooks) -> None:
    made = await make(connect(webhooks, owner="others"))
    client, path = connect(webhooks), f"/v1/webhooks/{made['id']}"

    replies = [
        await client.get(path),
        await client.patch(path, json={"enabled": False}),
        await client.delete(path),
        await client.post(f"{path}/rotate"),
        await client.post(f"{path}/test"),
    ]

    assert [reply.status_code for reply in replies] == [404] * 5
    assert (await client.get("/v1/webhooks")).json()["items"] == []


async def test_only_administrators_hear_of_everyone(webhooks: Webhooks) -> None:
    operator, admin = connect(webhooks), connect(webhooks, "admin")
    body = {**WANTED, "everyone": True}

    refused = await operator.post("/v1/webhooks", json=body)
    made = await make(admin, everyone=True)
    own = await make(operator)

    assert refused.status_code == 403
    path = f"/v1/webhooks/{own['id']}"
    assert (await operator.patch(path, json={"everyone": True})).status_code == 403
    assert (await operator.get(f"/v1/webhooks/{made['id']}")).status_code == 404
    assert [one["id"] for one in (await operator.get("/v1/webhooks")).json()["items"]] == [
        own["id"]
    ]
    assert len((await admin.get("/v1/webhooks")).json()["items"]) == 2


async def test_viewers_have_no_part_in_it(webhooks: Webhooks) -> None:
    """A URL may be a secret of its own."""
    client = connect(webhooks, "viewer")

    assert (await client.get("/v1/webhooks")).status_code == 403
    assert (await client.post("/v1/webhooks", json=WANTED)).status_code == 403


async def test_pages_follow_one_another(webhooks: Webhooks) -> None:
    client = connect(webhooks)
    made = {(await make(client))["id"] for _ in range(3)}

    first = (await client.get("/v1/webhooks", params={"limit": 2})).json()
    asked = {"limit": 2, "cursor": first["next"]}
    second = (await client.get("/v1/webhooks", params=asked)).json()

    assert {one["id"] for one in first["items"] + second["items"]} == made
    assert second["next"] is None
