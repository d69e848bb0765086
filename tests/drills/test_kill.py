"""kill -9 of a server under load: what it acknowledged is on record, and it starts again."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import ADMIN

pytestmark = [pytest.mark.drill, pytest.mark.slow]

ROUNDS = 8
CALLERS = 16
ACKNOWLEDGED = 400  # verdicts of a round, before the kill
HEADERS = {"Authorization": f"Bearer {ADMIN}"}


async def load(url: str, prefix: str, seen: list[str], enough: asyncio.Event) -> None:
    """Ask for new texts until the server is gone; `seen` are the ids that were promised."""
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=10) as client:
        for number in range(100_000):
            body = {"input": f"Parcel {prefix} {number} has arrived."}
            reply = await client.post("/v1/moderations", json=body)
            block = reply.json()["results"][0]["penstock"]
            if block["recorded"]:
                seen.append(block["id"])
            if len(seen) >= ACKNOWLEDGED:
                enough.set()


def recorded(home: Path) -> set[str]:
    with closing(sqlite3.connect(home / "penstock.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {row[0] for row in database.execute("SELECT id FROM moderation_verdicts")}


async def test_no_acknowledged_verdict_is_lost_by_kill_9(serve, tmp_path: Path):
    home = tmp_path / "home"
    promised: set[str] = set()

    for number in range(ROUNDS):
        seen: list[str] = []
        enough = asyncio.Event()
        with serve(home=home) as live:
            callers = [
                asyncio.ensure_future(load(live.url, f"{number}-{caller}", seen, enough))
                for caller in range(CALLERS)
            ]
            async with asyncio.timeout(60):
                await enough.wait()
            live.process.kill()
            for caller in callers:
                with suppress(httpx.HTTPError):
                    await caller
        promised |= set(seen)

        assert promised <= recorded(home)

    assert len(promised) >= ROUNDS * ACKNOWLEDGED


async def test_a_stopped_server_answers_what_it_has_begun(serve, tmp_path: Path):
    """SIGTERM: the requests in flight are answered, none is cut."""
    texts = [f"Parcel {number} has arrived." for number in range(200)]
    replies: list[int] = []

    with serve(home=tmp_path / "home") as live:
        async with httpx.AsyncClient(base_url=live.url, headers=HEADERS, timeout=30) as client:
            asked = [
                asyncio.ensure_future(client.post("/v1/moderations", json={"input": texts}))
                for _ in range(8)
            ]
            done, pending = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            live.process.terminate()
            for reply in [*done, *pending]:
                with suppress(httpx.ConnectError):
                    replies.append((await reply).status_code)

    assert set(replies) == {200}
