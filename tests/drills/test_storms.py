"""Long bad weather: a flapping provider, a damaged cache, a disk that comes and goes."""

from __future__ import annotations

import asyncio
import random
import resource
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.rigs.upstream import (
    WORDS,
    Turn,
    Upstream,
    answering,
    cut,
    drip,
    failing,
    garbage,
    scores_of,
    throttled,
    wrong_schema,
)
from tests.conftest import ADMIN

pytestmark = [pytest.mark.drill, pytest.mark.slow]

HEADERS = {"Authorization": f"Bearer {ADMIN}"}
WEATHER: list[Turn] = [
    *[answering()] * 12,
    *(failing(500), failing(503), throttled(0), throttled(), garbage(), wrong_schema(), cut()),
    drip(0.001),
]


def texts(number: int, seed: int) -> list[str]:
    drawn = random.Random(seed)
    words = [*WORDS, "parcel", "weather", "train", "garden", "letter"]
    return [f"{' '.join(drawn.choices(words, k=4))} {index % 97}" for index in range(number)]


async def ask(client: httpx.AsyncClient, text: str) -> dict[str, Any]:
    reply = await client.post("/v1/moderations", json={"input": text})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()["results"][0]
    return found


async def in_turns(client: httpx.AsyncClient, asked: list[str], width: int) -> list[dict[str, Any]]:
    gate = asyncio.Semaphore(width)

    async def one(text: str) -> dict[str, Any]:
        async with gate:
            return await ask(client, text)

    return await asyncio.gather(*(one(text) for text in asked))


async def test_no_weather_puts_a_wrong_verdict_into_the_cache(serve, upstream: Upstream):
    asked = texts(1000, seed=1)
    drawn = random.Random(2)

    with serve(
        PENSTOCK_PROVIDER=f"{upstream.url}?api=moderations",
        PENSTOCK_MODEL="stub",
        PENSTOCK_PROVIDER_RETRIES="1",
        PENSTOCK_PROVIDER_TIMEOUT="3",
    ) as live:
        async with httpx.AsyncClient(base_url=live.url, headers=HEADERS, timeout=60) as client:
            upstream.script(drawn.choices(WEATHER, k=2000))
            during = await in_turns(client, asked, width=32)
            upstream.reset()
            await asyncio.wait_for(recovery(client), timeout=60)
            after = await in_turns(client, sorted(set(asked)), width=8)

    for text, result in zip(asked, during, strict=True):
        block = result["penstock"]
        if block["degraded"] is None and block["receipt"]["source"] != "prescreen":
            assert result["category_scores"]["hate"] >= scores_of(text)["hate"] - 1e-6
        elif block["degraded"]:
            assert block["receipt"]["source"] in ("local", "prescreen")
            assert block["decision"] != "approved"
    assert all(result["penstock"]["degraded"] is None for result in after)


async def recovery(client: httpx.AsyncClient) -> None:
    """Return when the provider answers again: its breaker lets a call through after a pause."""
    for number in range(10_000):
        result = await ask(client, f"Has the weather changed? {number}")
        if result["penstock"]["degraded"] is None:
            return
        await asyncio.sleep(0.2)


async def test_a_cache_file_damaged_again_and_again_costs_no_answer(serve):
    asked = texts(400, seed=3)
    drawn = random.Random(4)

    with serve(PENSTOCK_CACHE="disk") as live:
        async with httpx.AsyncClient(base_url=live.url, headers=HEADERS, timeout=60) as client:
            expected = [r["penstock"]["decision"] for r in await in_turns(client, asked, width=8)]
            for _ in range(15):
                damage(live.home / "cache.db", drawn)
                found = await in_turns(client, asked, width=8)

                assert [result["penstock"]["decision"] for result in found] == expected


def damage(path: Path, drawn: random.Random) -> None:
    """Overwrite a part of the file, cut it, or remove it."""
    if not path.exists() or not path.stat().st_size:
        return
    match drawn.choice(("overwrite", "cut", "remove")):
        case "overwrite":
            with path.open("r+b") as file:
                file.seek(drawn.randrange(path.stat().st_size))
                file.write(drawn.randbytes(4096))
        case "cut":
            with path.open("r+b") as file:
                file.truncate(drawn.randrange(path.stat().st_size))
        case "remove":
            path.unlink()


async def test_a_disk_that_comes_and_goes_costs_records_only_while_it_is_gone(serve):
    with serve() as live:
        pid = live.process.pid
        async with httpx.AsyncClient(base_url=live.url, headers=HEADERS, timeout=60) as client:
            for number in range(10):
                good = [f"Good {number} {index} parcel." for index in range(50)]
                bad = [f"Bad {number} {index} parcel." for index in range(50)]
                before = await in_turns(client, good, width=8)
                limit(pid, 0)
                during = await in_turns(client, bad, width=8)
                limit(pid, resource.RLIM_INFINITY)
                after = await in_turns(client, bad, width=8)

                assert all(result["penstock"]["recorded"] for result in before + after)
                assert not any(result["penstock"]["recorded"] for result in during)
            health = (await client.get("/health")).json()

    assert health["checks"]["database"]["status"] == "healthy"


def limit(pid: int, size: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


async def test_two_servers_under_load_agree_on_keys_and_clears(serve, tmp_path: Path):
    """Made on one, works on the other; revoked on one, refused on the other; at every turn."""
    home = tmp_path / "home"
    drawn = random.Random(5)

    with serve(home=home) as one, serve(home=home) as other:
        async with (
            httpx.AsyncClient(base_url=one.url, headers=HEADERS, timeout=60) as here,
            httpx.AsyncClient(base_url=other.url, headers=HEADERS, timeout=60) as there,
        ):
            for turn in range(25):  # 30 wrong keys a minute are 429
                near, far = drawn.sample((here, there), 2)
                made = (await near.post("/v1/keys", json={"name": "a", "role": "viewer"})).json()
                own = {"Authorization": f"Bearer {made['token']}"}
                noise = asyncio.gather(*(in_turns(c, texts(30, turn), 8) for c in (near, far)))

                works = await far.get("/v1/keys/current", headers=own)
                await near.delete(f"/v1/keys/{made['id']}")
                refused = await far.get("/v1/keys/current", headers=own)
                await noise
                await ask(far, "known text")
                await near.delete("/api/cache/clear")
                cleared = await ask(far, "known text")

                assert (works.status_code, refused.status_code) == (200, 401)
                assert cleared["penstock"]["receipt"]["source"] == "local"
