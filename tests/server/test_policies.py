from __future__ import annotations

from typing import Any

import httpx
import pytest

from benchmarks.rigs.upstream import Upstream
from penstock.server.policies import change_of
from penstock.services.moderation.rehearsal import Change
from tests.server.conftest import SHARED, App, Start

HATE = "the people of that village are vermin"


def forum(review: float = 0.3, id: str = "forum", **more: Any) -> dict[str, Any]:
    return {"id": id, "thresholds": {"hate": {"review": review}}, **more}


async def draft(client: httpx.AsyncClient, document: dict[str, Any], note: str = "") -> Any:
    reply = await client.post("/v1/policies", json={"policy": document, "note": note})
    assert reply.status_code == 201, reply.text
    return reply.json()


async def activate(client: httpx.AsyncClient, id: str, revision: int, **more: Any) -> Any:
    reply = await client.post(f"/v1/policies/{id}/activate", json={"revision": revision, **more})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def decide(client: httpx.AsyncClient, text: str) -> tuple[str, str]:
    reply = await client.post("/v1/moderations", json={"input": text})
    assert reply.status_code == 200, reply.text
    ours = reply.json()["results"][0]["penstock"]
    return ours["decision"], ours["policy"]["version"]


@SHARED
async def test_the_policy_of_the_settings_is_listed_first(shared: App) -> None:
    listed = (await shared.client.get("/v1/policies")).json()

    first = listed["items"][0]
    assert (first["id"], first["is_default"], first["active"]) == ("default", True, 0)
    assert listed["next"] is None


@SHARED
async def test_a_policy_is_drafted_activated_and_shown(shared: App) -> None:
    made = await draft(shared.client, forum(id="shown"), note="for the forum")
    before = await shared.client.get("/v1/policies/shown")
    await activate(shared.client, "shown", 1)

    after = await shared.client.get("/v1/policies/shown")

    assert (made["revision"], made["note"], made["created_by"]) == (1, "for the forum", "env")
    assert made["policy"]["thresholds"]["violence"]["review"] == 0.2
    assert (before.json()["active"], before.headers["etag"]) == (None, '"0"')
    assert (after.json()["active"], after.headers["etag"]) == (1, '"1"')
    assert after.json()["policy"] == made["policy"]
    assert [each["revision"] for each in after.json()["revisions"]] == [1]


@SHARED
async def test_revisions_are_paged_and_compared(shared: App) -> None:
    for review in (0.1, 0.2, 0.3):
        await draft(shared.client, forum(review, "paged"))

    first = (await shared.client.get("/v1/policies/paged/revisions?limit=2")).json()
    rest = await shared.client.get("/v1/policies/paged/revisions", params={"cursor": first["next"]})
    diff = (await shared.client.get("/v1/policies/paged/diff?from=1&to=3")).json()
    one = (await shared.client.get("/v1/policies/paged/revisions/2")).json()

    assert [each["revision"] for each in first["items"]] == [3, 2]
    assert [each["revision"] for each in rest.json()["items"]] == [1]
    assert diff == {
        "from": 1,
        "to": 3,
        "changes": [{"pointer": "/thresholds/hate/review", "from": 0.1, "to": 0.3}],
    }
    assert one["policy"]["thresholds"]["hate"]["review"] == 0.2


@SHARED
async def test_of_two_admins_who_activate_at_once_one_is_told(shared: App) -> None:
    for review in (0.1, 0.2):
        await draft(shared.client, forum(review, "race"))
    etag = (await shared.client.get("/v1/policies/race")).headers["etag"]
    await activate(shared.client, "race", 1, expected=0)

    by_header = await shared.client.post(
        "/v1/policies/race/activate", json={"revision": 2}, headers={"if-match": etag}
    )
    by_body = await shared.client.post("/v1/policies/race/rollback", json={"expected": 2})

    for refused in (by_header, by_body):
        assert refused.status_code == 409
        assert "revision 1 is active now" in refused.json()["detail"]
        assert refused.json()["active"] == 1


@SHARED
async def test_a_roll_back_needs_no_body(shared: App) -> None:
    for number, review in enumerate((0.1, 0.2), 1):
        await draft(shared.client, forum(review, "undo"))
        await activate(shared.client, "undo", number)

    undone = await shared.client.post("/v1/policies/undo/rollback")
    again = await shared.client.post("/v1/policies/undo/rollback")

    assert (undone.status_code, undone.json()["active"]) == (200, 1)
    assert again.status_code == 409


@SHARED
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"policy": forum(thresholds={"hatred": {}})}, "/policy/thresholds/hatred"),
        ({"policy": forum(thresholds={})}, "/policy/thresholds"),
        ({"policy": forum(2)}, "/policy/thresholds/hate/review"),
        ({"policy": forum(stages=["oracle"])}, "/policy/stages/0"),
        ({"policy": forum(stages=["local", "local"])}, "/policy/stages"),
        ({"policy": forum(lifetimes={"approved": 0.001})}, "/policy/lifetimes/approved"),
        ({"policy": forum(id="x" * 20_000)}, "/policy"),
        (
            {"policy": forum(thresholds={"hate": {"review": 0.9, "reject": 0.1}})},
            "/policy/thresholds/hate/review",
        ),
        ({"policy": {"thresholds": {"hate": {}}}}, "/policy/id"),
        ({"policy": forum(id="no/name")}, "/policy/id"),
        ({"policy": forum(), "colour": "red"}, "/colour"),
        ({"policy": 3}, "/policy"),
        ({"policy": forum(), "note": "x" * 501}, "/note"),
    ],
)
async def test_a_draft_that_is_no_policy_is_refused_with_the_place(
    shared: App, body: dict[str, Any], pointer: str
) -> None:
    reply = await shared.client.post("/v1/policies", json=body)

    assert reply.status_code == 422, reply.text
    assert pointer in [error["pointer"] for error in reply.json()["errors"]]


@SHARED
@pytest.mark.parametrize("number", [b"NaN", b"1e999", b"-1e999"])
async def test_numbers_that_are_none_are_refused(shared: App, number: bytes) -> None:
    body = b'{"policy": {"id": "x", "thresholds": {"hate": {"review": %s}}}}' % number

    reply = await shared.client.post(
        "/v1/policies", content=body, headers={"content-type": "application/json"}
    )

    assert reply.status_code == 422


@SHARED
async def test_half_a_surrogate_pair_is_no_name(shared: App) -> None:
    for body in (
        rb'{"policy": {"id": "\ud800", "thresholds": {"hate": {}}}}',
        rb'{"policy": {"id": "x", "thresholds": {"\ud800": {}}}}',
        rb'{"policy": {"id": "x", "thresholds": {"hate": {}}}, "note": "\ud800"}',
    ):
        reply = await shared.client.post(
            "/v1/policies", content=body, headers={"content-type": "application/json"}
        )

        assert reply.status_code == 422


@SHARED
async def test_what_does_not_exist_is_not_found(shared: App) -> None:
    for method, path, body in (
        ("GET", "/v1/policies/none", None),
        ("GET", "/v1/policies/default/revisions/99", None),
        ("POST", "/v1/policies/none/activate", {"revision": 1}),
        ("POST", "/v1/policies/none/rollback", {}),
        ("POST", "/v1/policies/none/dry-run", {}),
        ("POST", "/v1/policies/none/suggest", {"reviews_per_day": 1}),
        ("PUT", "/v1/policies/default/keys/key_none", None),
        ("DELETE", "/v1/policies/default/keys/key_none", None),
    ):
        reply = await shared.client.request(method, path, json=body)
        assert reply.status_code == 404, (method, path, reply.text)


@SHARED
async def test_viewers_read_operators_try_and_admins_change(shared: App) -> None:
    await draft(shared.client, forum(id="roles"))
    viewer, operator = await shared.key("viewer"), await shared.key("operator")

    assert (await viewer.get("/v1/policies/roles")).status_code == 200
    assert (await viewer.post("/v1/policies/roles/dry-run", json={})).status_code == 403
    assert (await operator.post("/v1/policies/roles/dry-run", json={})).status_code == 200
    for method, path, body in (
        ("POST", "/v1/policies", {"policy": forum()}),
        ("POST", "/v1/policies/roles/activate", {"revision": 1}),
        ("POST", "/v1/policies/roles/rollback", {}),
        ("PUT", "/v1/policies/roles/keys/env", None),
        ("DELETE", "/v1/policies/roles/keys/env", None),
    ):
        assert (await operator.request(method, path, json=body)).status_code == 403


@SHARED
async def test_operators_try_policies_on_their_owners_verdicts_only(shared: App) -> None:
    await decide(shared.client, "what a lovely day for the admin")
    mine = await shared.key("operator", owner="mine")
    await decide(mine, "what a lovely day for me")

    found = await mine.post("/v1/policies/default/dry-run", json={"revision": 0})
    other = await mine.post("/v1/policies/default/dry-run", json={"owner": "admin"})

    assert found.json()["examined"] == 1
    assert other.status_code == 403


@SHARED
async def test_a_policy_can_be_tried_before_it_is_drafted(shared: App) -> None:
    await decide(shared.client, "it is a fine morning in the harbour")
    lenient = forum(id="idea", thresholds={"hate": {"review": 0.0}})

    found = await shared.client.post("/v1/policies/idea/dry-run", json={"policy": lenient})
    both = await shared.client.post(
        "/v1/policies/idea/dry-run", json={"policy": lenient, "revision": 1}
    )
    misnamed = await shared.client.post("/v1/policies/other/dry-run", json={"policy": lenient})

    assert found.status_code == 200
    assert found.json()["changed"] > 0
    assert found.json()["model_calls"] == 0
    assert (both.status_code, misnamed.status_code) == (422, 422)
    assert (await shared.client.get("/v1/policies/idea")).status_code == 404


@SHARED
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"since": "2024-01-01T00:00:00"}, "/since"),  # in which zone?
        ({"against": "yesterday"}, "/against"),
        ({"limit": 201}, "/limit"),
        ({"limits": 2}, "/limits"),
        ({"policy": {"thresholds": {}}}, "/policy/thresholds"),
    ],
)
async def test_a_dry_run_that_cannot_be_understood_is_refused(
    shared: App, body: dict[str, Any], pointer: str
) -> None:
    reply = await shared.client.post("/v1/policies/default/dry-run", json=body)

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == pointer


@SHARED
async def test_a_dry_run_names_what_it_is_compared_with_and_rounds_risks(shared: App) -> None:
    await decide(shared.client, f"{HATE}, it was said")
    lenient = forum(0.9, "default", on_other_language="ignore")

    found = [
        (
            await shared.client.post(
                "/v1/policies/default/dry-run",
                json={"policy": {**lenient, "thresholds": {"hate": {"reject": None}}}, **against},
            )
        ).json()
        for against in ({}, {"against": "active"})
    ]

    assert found[0]["against"] == "recorded"
    assert found[1]["against"]["id"] == "default"
    for examples in (each["examples"] for each in found):
        for change in examples:
            assert change["from_risk"] == round(change["from_risk"], 6)
            assert change["to_risk"] == round(change["to_risk"], 6)


@pytest.mark.parametrize(
    ("risk", "shown"),
    [
        (0.123456789, 0.123457),
        (0.2, 0.2),
        (0.19999999, 0.199999),
        (0.7999999999, 0.799999),
        (0.8, 0.8),
        (1.0, 1.0),
    ],
)
def test_a_risk_below_a_threshold_is_not_rounded_up_to_it(risk: float, shown: float) -> None:
    change = Change("mod_1", "0" * 64, 0, "approved", "review", "", "", risk, risk, "hate")

    view = change_of(change)

    assert (view.risk_before, view.risk_after) == (shown, shown)


@SHARED
async def test_thresholds_are_suggested_ready_to_be_posted(shared: App) -> None:
    for number in range(5):
        await decide(shared.client, f"{HATE}, said neighbour {number}")

    reply = await shared.client.post("/v1/policies/default/suggest", json={"reviews_per_day": 2})

    found = reply.json()
    assert reply.status_code == 200, reply.text
    assert found["fits"]
    assert found["after"] <= 2
    assert found["dry_run"]["model_calls"] == 0
    made = await draft(shared.client, {**found["policy"], "id": "suggested"})
    assert made["policy"]["thresholds"] == found["policy"]["thresholds"]


async def test_from_draft_to_roll_back_without_asking_the_provider_again(
    behind: Start, upstream: Upstream
) -> None:
    async with behind(provider_timeout=30.0) as app:
        client = app.client
        texts = [f"{HATE}, wrote reader {number}" for number in range(3)]
        before = [await decide(client, text) for text in texts]
        asked = upstream.calls
        strict = {"id": "default", "thresholds": {"violence": {"review": 0.0, "reject": 0.0}}}
        await draft(client, strict, note="nothing passes")

        tried = (await client.post("/v1/policies/default/dry-run", json={"limit": 2})).json()
        page = await client.post(
            "/v1/policies/default/dry-run/changes", json={"cursor": tried["next"]}
        )
        await activate(client, "default", 1, expected=0)
        during = [await decide(client, text) for text in texts]
        await client.post("/v1/policies/default/rollback", json={"expected": 1})
        after = [await decide(client, text) for text in texts]

        assert (tried["examined"], tried["changed"], tried["model_calls"]) == (3, 3, 0)
        assert tried["against"] == "recorded"
        assert {move["to"] for move in tried["decisions"]} == {"rejected"}
        assert tried["categories"] == [{"category": "violence", "stricter": 3, "looser": 0}]
        assert len(tried["examples"]) == 2
        assert [change["to"] for change in page.json()["items"]] == ["rejected"]
        assert page.json()["next"] is None
        assert {decision for decision, _ in during} == {"rejected"}
        assert before == after
        assert upstream.calls == asked


async def test_a_keys_own_policy_decides_what_it_asks(app: App) -> None:
    text = "please pass the salt"
    strict = forum(id="kids", thresholds={"harassment": {"review": 0.0, "reject": 0.0}})
    await draft(app.client, strict)
    await activate(app.client, "kids", 1)
    child = await app.key("operator")
    id = (await child.get("/v1/keys/current")).json()["key_id"]

    assigned = await app.client.put(f"/v1/policies/kids/keys/{id}")
    strictly = await decide(child, text)
    usual = await decide(app.client, text)
    shown = (await app.client.get("/v1/policies/kids")).json()["keys"]
    await app.client.delete(f"/v1/policies/kids/keys/{id}")

    assert assigned.status_code == 204
    assert (strictly[0], usual[0]) == ("rejected", "approved")
    assert shown == [id]
    assert (await decide(child, text))[0] == "approved"


async def test_only_admins_see_the_keys_of_others(app: App) -> None:
    await draft(app.client, forum(id="kids"))
    await activate(app.client, "kids", 1)
    asking = {role: await app.key(role) for role in ("viewer", "operator")}
    ids = {
        role: (await key.get("/v1/keys/current")).json()["key_id"] for role, key in asking.items()
    }
    await app.client.put(f"/v1/policies/kids/keys/{ids['viewer']}")
    await app.client.put("/v1/policies/kids/keys/env")

    seen = {role: (await key.get("/v1/policies/kids")).json() for role, key in asking.items()}
    everything = (await app.client.get("/v1/policies/kids")).json()

    assert seen["viewer"]["keys"] == [ids["viewer"]]
    assert seen["operator"]["keys"] == []
    assert sorted(everything["keys"]) == sorted(["env", ids["viewer"]])


async def test_a_policy_under_which_nobody_reads_holds_with_a_warning(
    start: Start, behind: Start
) -> None:
    blind = forum(id="default", stages=["provider"])
    async with start() as app:
        await draft(app.client, blind)
        held = await activate(app.client, "default", 1)
        listed = (await app.client.get("/v1/policies")).json()["items"][0]
        reply = await app.client.post("/v1/moderations", json={"input": "a lovely day"})
        undone = (await app.client.post("/v1/policies/default/rollback")).json()
    async with behind() as app:
        seeing = await activate(app.client, "default", 1)

    ours = reply.json()["results"][0]["penstock"]
    assert "not-judged" in held["notes"][0]
    assert listed["notes"] == held["notes"]
    assert (ours["decision"], ours["degraded"]["code"]) == ("review", "not-judged")
    assert ours["reason"].startswith("nobody has looked at it")
    assert (undone["notes"], seeing["notes"]) == ([], [])


async def test_changes_are_in_the_audit_log_and_outlive_a_restart(start: Start) -> None:
    async with start() as app:
        await draft(app.client, forum(id="default"))
        await activate(app.client, "default", 1)

    async with start() as app:
        listed = (await app.client.get("/v1/audit", params={"subject": "default"})).json()
        held = (await app.client.get("/v1/policies/default")).json()

    assert [entry["action"] for entry in listed["items"]] == [
        "policy.activated",
        "policy.drafted",
    ]
    assert held["active"] == 1
    assert held["policy"]["thresholds"]["hate"]["review"] == 0.3
