"""What a key that has spent its budget still gets: all that costs nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from benchmarks.rigs.upstream import Upstream, declining
from penstock.settings import Settings
from tests.images.made import data_url, encoded, plain
from tests.server.asking import MODERATIONS, assert_problem, fist, moderate, source_of
from tests.server.conftest import App, Start

KNOWN = "a parcel that was asked about before"
NEW = "a parcel that nobody asked about"
IMAGE = data_url(encoded(plain(), "PNG"))
WARM = "/v1/cache/warm"


async def used(app: App, key: httpx.AsyncClient) -> dict[str, Any]:
    """What the ledger has of a key."""
    me = (await key.get("/v1/keys/current")).json()["key_id"]
    reply = await app.client.get("/v1/usage", params={"key_id": me, "group": "key"})
    total: dict[str, Any] = reply.json()["total"]
    return total


async def spend(key: httpx.AsyncClient) -> None:
    """Let a key with a budget of one token spend it."""
    assert source_of(await moderate(key, KNOWN)) == "provider"


@pytest.fixture
def asking(behind: Start, upstream: Upstream):
    """Servers with a provider whose answers have a price in tokens."""
    prompted = {"provider": (upstream.url,), "provider_vision": "on", "provider_timeout": 30.0}
    return lambda **more: behind(**prompted, **more)


async def test_a_remembered_answer_is_served_when_the_budget_is_spent(asking, upstream: Upstream):
    async with asking() as app:
        key = await app.key("operator", budget_tokens=1)
        await spend(key)
        calls = upstream.calls

        again = await moderate(key, KNOWN)
        refused = await key.post(MODERATIONS, json={"input": NEW})
        mixed = await key.post(MODERATIONS, json={"input": [KNOWN, NEW]})

    assert source_of(again) == "memory"
    assert assert_problem(refused, 429)["title"] == "Budget used up"
    assert int(refused.headers["retry-after"]) > 0
    assert_problem(mixed, 429)
    assert upstream.calls == calls


async def test_what_only_the_disk_remembers_is_served_too(asking, upstream: Upstream):
    """After a restart, and the ledger says what was spent."""
    async with asking() as app:
        key = await app.key("operator", budget_tokens=1)
        await spend(key)
        calls = upstream.calls
        token = key.headers["authorization"].removeprefix("Bearer ")

    async with asking() as app:
        key = app.connect(token)
        again = await moderate(key, KNOWN)
        refused = await key.post(MODERATIONS, json={"input": NEW})

    assert source_of(again) == "disk"
    assert_problem(refused, 429)
    assert upstream.calls == calls


async def test_an_image_that_is_known_is_judged_and_a_new_one_is_not_sent(
    asking, upstream: Upstream
):
    known = [{"type": "image_url", "image_url": {"url": IMAGE}}]
    other = data_url(encoded(plain(colour=(30, 30, 200)), "PNG"))
    async with asking() as app:
        key = await app.key("operator", budget_tokens=1)
        first = await moderate(key, known)
        calls = upstream.calls

        again = await moderate(key, known)
        new = [{"type": "image_url", "image_url": {"url": other}}]
        refused = await key.post(MODERATIONS, json={"input": new})

    assert first["penstock"]["receipt"]["source"] == "provider"
    assert source_of(again) == "memory"
    assert_problem(refused, 429)
    assert upstream.calls == calls


async def test_fist_s_path_and_another_key_s_work_are_no_exception(asking, upstream: Upstream):
    async with asking() as app:
        rich, poor = await app.key("operator"), await app.key("operator", budget_tokens=0)
        await moderate(rich, KNOWN)

        found = await moderate(poor, KNOWN)
        refused = await poor.post("/api/moderate", json={"content": NEW})
        await fist(rich, NEW)

    assert source_of(found) == "memory"
    assert refused.status_code == 429
    assert upstream.calls == 2


async def test_a_budget_that_is_raised_holds_from_the_next_request_on(asking):
    async with asking() as app:
        key = await app.key("operator", budget_tokens=1)
        await spend(key)
        me = (await key.get("/v1/keys/current")).json()["key_id"]
        before = await key.post(MODERATIONS, json={"input": NEW})

        await app.client.patch(f"/v1/keys/{me}", json={"budget_tokens": None})
        after = await key.post(MODERATIONS, json={"input": NEW})

    assert [before.status_code, after.status_code] == [429, 200]


async def test_without_a_provider_there_is_nothing_to_spend(app: App):
    key = await app.key("operator", budget_tokens=0, budget_micros=0)

    assert source_of(await moderate(key, NEW)) == "local"


async def test_refusals_are_counted(asking):
    async with asking() as app:
        key = await app.key("operator", budget_tokens=0)
        await key.post(MODERATIONS, json={"input": NEW})
        await key.post(WARM, json={"texts": [NEW]})
        counted = app.runtime.metrics.total("penstock_limited_total", reason="budget")

    assert counted == 2


async def test_warming_is_charged_to_the_key_that_asks_for_it(asking, upstream: Upstream):
    async with asking() as app:
        key = await app.key("operator")
        warmed = (await key.post(WARM, json={"texts": [KNOWN, NEW, KNOWN]})).json()
        await key.post(WARM, json={"texts": [KNOWN]})
        total = await used(app, key)

    assert warmed == {"computed": 2, "known": 0, "failed": 0}
    assert upstream.calls == 2
    assert (total["calls"], total["cached"]) == (3, 1)
    assert total["tokens"]["in"] > 0
    assert total["tokens"]["saved"] > 0


async def test_warming_ends_with_the_budget(asking, upstream: Upstream):
    async with asking() as app:
        key = await app.key("operator", budget_tokens=1)
        first = await key.post(WARM, json={"texts": [KNOWN]})
        known = await key.post(WARM, json={"texts": [KNOWN]})
        refused = await key.post(WARM, json={"texts": [KNOWN, NEW]})

    assert first.json() == {"computed": 1, "known": 0, "failed": 0}
    assert known.json() == {"computed": 0, "known": 1, "failed": 0}
    assert assert_problem(refused, 429)["type"].endswith("budget-exhausted")
    assert upstream.calls == 1


async def test_nothing_of_a_refused_warming_goes_on_behind_the_answer(asking, upstream: Upstream):
    async with asking() as app:
        key = await app.key("operator", budget_tokens=1)
        await spend(key)
        calls = upstream.calls

        refused = await key.post(WARM, json={"texts": [f"{NEW}: {n}" for n in range(1000)]})
        left = [task for task in asyncio.all_tasks() if "Service.warm" in repr(task)]
        counted = app.runtime.metrics.total("penstock_limited_total", reason="budget")

    assert_problem(refused, 429)
    assert not left
    assert counted < 1000  # the rest never began
    assert upstream.calls == calls


async def test_warming_counts_against_the_limits_of_the_key(asking):
    async with asking() as app:
        key = await app.key("operator", route_limits={f"POST {WARM}": "1/h"})
        codes = [(await key.post(WARM, json={"texts": [KNOWN]})).status_code for _ in range(2)]

    assert codes == [200, 429]


async def test_what_is_warmed_is_found_by_texts_that_differ_in_blanks_alone(
    asking, settings: Settings
):
    async with asking(normalise_texts=True) as app:
        await app.client.post(WARM, json={"texts": [f"  {KNOWN} "]})

        assert source_of(await moderate(app.client, KNOWN)) == "memory"


async def test_a_model_that_declines_to_judge_is_paid_all_the_same(asking, upstream: Upstream):
    """Nothing of it is kept, so that it would be asked and paid again and again."""
    upstream.always(declining())
    async with asking() as app:
        key = await app.key("operator", budget_tokens=1)
        first = await moderate(key, NEW)
        spent = (await used(app, key))["tokens"]
        again = await key.post(MODERATIONS, json={"input": NEW})

    assert first["penstock"]["degraded"]
    assert spent["in"] > 0
    assert first["penstock"]["receipt"]["tokens"]["in"] == spent["in"]
    assert_problem(again, 429)
    assert upstream.calls == 1


async def test_who_waits_for_another_s_useless_answer_does_not_pay_for_it(
    asking, upstream: Upstream
):
    upstream.always(declining())
    async with asking() as app:
        keys = [await app.key("operator") for _ in range(3)]
        await asyncio.gather(*(moderate(key, NEW) for key in keys))
        spent = [(await used(app, key))["tokens"]["in"] for key in keys]

    assert sum(spent) > 0
    assert len([tokens for tokens in spent if tokens]) == upstream.calls


async def test_what_was_paid_for_a_request_that_is_refused_is_charged(asking, upstream: Upstream):
    broken = {"url": "data:image/png;base64,bm90IGFuIGltYWdl"}
    parts = [{"type": "text", "text": NEW}, {"type": "image_url", "image_url": broken}]
    async with asking() as app:
        key = await app.key("operator")
        before = upstream.calls

        refused = await key.post(MODERATIONS, json={"input": parts})
        charged = await used(app, key)

    assert_problem(refused, 422)
    assert upstream.calls == before + 1
    assert charged["tokens"]["in"] > 0
