"""Limits and budgets of keys over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.usage import Usage
from tests.server.conftest import App
from tests.usage.receipts import receipt

LIMITS = {
    "rate_limit": 60,
    "route_limits": {"POST /v1/batches": "10/h"},
    "budget_micros": 500,
    "budget_tokens": 1000,
    "budget_period": "day",
}
SHOWN = {
    "rate_limit": 60,
    "route_limits": {"POST /v1/batches": "10/h"},
    "budget": {"micros": 500, "tokens": 1000, "period": "day"},
}


async def made(app: App, **fields: Any) -> dict[str, Any]:
    reply = await app.client.post("/v1/keys", json={"name": "a", "role": "operator", **fields})
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()
    return found


def limits_of(view: dict[str, Any]) -> dict[str, Any]:
    return {name: view[name] for name in SHOWN}


async def test_a_key_is_made_with_its_limits(app: App) -> None:
    key = await made(app, **LIMITS)

    seen = (await app.client.get(f"/v1/keys/{key['id']}")).json()

    assert limits_of(key) == limits_of(seen) == SHOWN


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ({"rate_limit": 5}, {"rate_limit": 5}),
        ({"rate_limit": None}, {"rate_limit": None}),
        ({"route_limits": {"/v1/jobs": "1/s"}}, {"route_limits": {"/v1/jobs": "1/s"}}),
        ({"route_limits": None}, {"route_limits": {}}),
        (
            {"budget_micros": None},
            {"budget": {"micros": None, "tokens": 1000, "period": "day"}},
        ),
        ({"budget_micros": None, "budget_tokens": None}, {"budget": None}),
        (
            {"budget_period": "month"},
            {"budget": {"micros": 500, "tokens": 1000, "period": "month"}},
        ),
        ({"name": "b"}, {}),
        ({}, {}),
    ],
)
async def test_what_is_given_is_changed_and_the_rest_stays(
    app: App, change: dict[str, Any], after: dict[str, Any]
) -> None:
    key = await made(app, **LIMITS)

    reply = await app.client.patch(f"/v1/keys/{key['id']}", json=change)

    assert reply.status_code == 200
    assert limits_of(reply.json()) == {**SHOWN, **after}
    assert reply.json()["name"] == change.get("name", "a")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"rate_limit": -1}, "/rate_limit"),
        ({"route_limits": {"jobs": "1/m"}}, "/route_limits"),
        ({"route_limits": {"/v1/jobs": "1"}}, "/route_limits"),
        ({"route_limits": {f"/v1/{n}": "1/m" for n in range(51)}}, "/route_limits"),
        ({"budget_micros": -1}, "/budget_micros"),
        ({"budget_period": "year"}, "/budget_period"),
        ({"name": ""}, "/name"),
        ({"role": "admin"}, "/role"),
    ],
)
async def test_what_cannot_be_changed_is_refused_with_its_place(
    app: App, change: dict[str, Any], pointer: str
) -> None:
    key = await made(app)

    replies = [await app.client.patch(f"/v1/keys/{key['id']}", json=change)]

    assert [reply.status_code for reply in replies] == [422]
    assert [one["pointer"] for one in replies[0].json()["errors"]] == [pointer]


async def test_only_admins_change_keys_and_only_live_ones(app: App) -> None:
    key = await made(app)
    here = f"/v1/keys/{key['id']}"
    operator = await app.key("operator")

    weak = await operator.patch(here, json={"rate_limit": 0})
    missing = await app.client.patch("/v1/keys/key_0", json={"rate_limit": 0})
    await app.client.delete(here)
    revoked = await app.client.patch(here, json={"rate_limit": 0})

    assert [weak.status_code, missing.status_code, revoked.status_code] == [403, 404, 409]


async def test_a_change_is_on_the_audit_log(app: App) -> None:
    key = await made(app)

    await app.client.patch(f"/v1/keys/{key['id']}", json={"rate_limit": 9})

    log = (await app.client.get("/v1/audit", params={"action": "key.changed"})).json()["items"]
    assert [(entry["subject"], entry["detail"]) for entry in log] == [
        (key["id"], {"rate_limit": 9})
    ]


async def test_a_key_sees_what_is_left_of_its_budget(app: App) -> None:
    key = await made(app, **LIMITS)
    usage: Usage = app.runtime.usage
    one = receipt(spent=123, tokens=(10, 5, 0))
    usage.add(key_id=key["id"], owner=key["owner"], service="moderation", receipt=one)

    seen = (await app.connect(key["token"]).get("/v1/keys/current")).json()

    assert seen["route_limits"] == SHOWN["route_limits"]
    budget = seen["budget"]
    assert budget.pop("resets_at").endswith("T00:00:00Z")
    assert budget == {**SHOWN["budget"], "spent_micros": {"USD": 123}, "used_tokens": 15}
