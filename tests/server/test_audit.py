from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from penstock.audit import AuditLog
from penstock.clock import ManualClock
from penstock.db import open_database
from penstock.http.problems import Problems
from penstock.http.request_id import RequestId
from penstock.server.routes.audit import router
from penstock.web import errors
from penstock.web.principal import Principal, Role


@pytest.fixture
async def audit(tmp_path: Path) -> AsyncIterator[AuditLog]:
    database = open_database(folder=tmp_path)
    yield AuditLog(database, clock=ManualClock())
    await database.aclose()


def connect(audit: AuditLog, role: Role) -> httpx.AsyncClient:
    """A client whose key has `role`."""
    api = FastAPI()
    errors.install(api)
    api.include_router(router(audit))

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        scope["penstock"]["principal"] = Principal("key_1", "owner", role)
        await Problems(api)(scope, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(RequestId(app)), base_url="http://test")


async def test_an_admin_reads_who_changed_what(audit: AuditLog) -> None:
    await audit.record("key_9", "policy.activated", "policy_1", {"revision": 3})

    reply = await connect(audit, "admin").get("/v1/audit")

    assert reply.json() == {
        "items": [
            {
                "number": 1,
                "at": "2023-11-14T22:13:20Z",
                "actor": "key_9",
                "action": "policy.activated",
                "subject": "policy_1",
                "detail": {"revision": 3},
            }
        ],
        "next": None,
    }


async def test_an_instant_that_no_calendar_has_does_not_hide_the_others(
    tmp_path: Path, audit: AuditLog
) -> None:
    wrong = AuditLog(audit._store._database, clock=ManualClock(1e15))
    await wrong.record("key_9", "policy.activated", "policy_1")

    reply = await connect(audit, "admin").get("/v1/audit")

    assert reply.json()["items"][0]["at"] == "9999-12-31T23:59:59Z"


async def test_changes_are_paged_and_filtered(audit: AuditLog) -> None:
    for n in range(5):
        await audit.record("key_9", "list.made", f"list_{n}")
        await audit.record("cli", "list.made", f"list_{n}")
    client = connect(audit, "admin")

    first = (await client.get("/v1/audit", params={"actor": "cli", "limit": 3})).json()
    asked = {"actor": "cli", "limit": 3, "cursor": first["next"]}
    second = (await client.get("/v1/audit", params=asked)).json()

    found = [entry["subject"] for entry in first["items"] + second["items"]]
    assert found == [f"list_{n}" for n in (4, 3, 2, 1, 0)]
    assert second["next"] is None


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_only_admins_read_the_audit_log(audit: AuditLog, role: Role) -> None:
    reply = await connect(audit, role).get("/v1/audit")

    assert reply.status_code == 403


@pytest.mark.parametrize("asked", [{"cursor": "%%%"}, {"limit": 0}, {"limit": 1000}])
async def test_a_page_that_cannot_be_is_refused(audit: AuditLog, asked: dict[str, str]) -> None:
    reply = await connect(audit, "admin").get("/v1/audit", params=asked)

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] in {"/cursor", "/query/limit", "/limit"}
