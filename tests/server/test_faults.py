"""What goes on when the disk fails: the answers. Health says so, and names what to do."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.errors import ConfigurationError
from penstock.settings import Settings
from tests.conftest import ADMIN
from tests.server.asking import assert_problem, fist, moderate, source_of
from tests.server.conftest import App, Start

TEXTS = [f"Parcel number {number} has arrived." for number in range(6)]
LONG = [f"Parcel number {number} has arrived. " * 500 for number in range(3)]  # several pages


async def report(app: App) -> dict[str, Any]:
    found: dict[str, Any] = (await app.client.get("/health")).json()
    return found


@pytest.mark.parametrize("damage", [b"", b"not a database", b"\x00" * 8192])
async def test_a_cache_file_damaged_before_the_start_is_set_aside(
    start: Start, settings: Settings, damage: bytes
):
    settings.home.mkdir()
    (settings.home / "cache.db").write_bytes(damage)

    async with start() as app:
        first = await moderate(app.client, TEXTS[0])
        again = await moderate(app.client, TEXTS[0])
        health = await report(app)
    async with start() as app:
        after = await moderate(app.client, TEXTS[0])

    sources = [source_of(result) for result in (first, again, after)]
    assert sources == ["local", "memory", "disk"]
    assert health["status"] == "healthy"


async def test_a_cache_file_damaged_in_its_middle_costs_no_answer(start: Start, settings: Settings):
    async with start() as app:
        for text in TEXTS:
            await moderate(app.client, text)
    overwrite(settings.home / "cache.db", keep=4096)

    async with start() as app:
        results = [await moderate(app.client, text) for text in TEXTS]
        again = [await moderate(app.client, text) for text in TEXTS]

    assert all(result["penstock"]["decision"] == "approved" for result in results)
    assert {source_of(result) for result in again} == {"memory"}


async def test_a_cache_file_damaged_while_it_is_open_costs_no_answer(
    start: Start, settings: Settings
):
    async with start(cache=("disk",)) as app:
        await moderate(app.client, TEXTS[0])
        await report(app)  # asks the disk for its size: what was pending is written
        overwrite(settings.home / "cache.db", keep=0)
        results = [await moderate(app.client, text) for text in TEXTS]

    assert all(result["penstock"]["decision"] == "approved" for result in results)


async def test_a_cache_file_that_is_removed_while_it_is_open_costs_no_answer(
    start: Start, settings: Settings
):
    async with start() as app:
        await moderate(app.client, TEXTS[0])
        for path in settings.home.glob("cache.db*"):
            path.unlink()
        results = [await moderate(app.client, text) for text in TEXTS]

    assert [source_of(result) for result in results] == ["memory", *["local"] * 5]


async def test_a_full_database_is_told_with_the_answer_which_goes_on(start: Start):
    async with start(store_text=True) as app:
        await moderate(app.client, LONG[0])
        await limit_pages(app, spare=0)
        during = [await moderate(app.client, text) for text in LONG]
        await limit_pages(app, spare=100_000)
        after = await moderate(app.client, LONG[1])
        found = await app.client.get(f"/api/results/{during[1]['penstock']['id']}")

    told = [result["penstock"]["recorded"] for result in during]
    assert told == [True, False, False]  # the first was on record before
    assert (source_of(after), after["penstock"]["recorded"]) == ("memory", True)
    assert found.status_code == 200


@pytest.mark.slow
async def test_a_disk_that_takes_no_byte_costs_records_and_no_answers(serve):
    """As far as a process can be kept from writing: no file may grow (RLIMIT_FSIZE)."""
    with serve() as live:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(base_url=live.url, headers=headers) as client:
            before = await moderate(client, TEXTS[0])
            limit_files(live.process.pid, 0)
            during = [await moderate(client, text) for text in TEXTS]
            health = (await client.get("/health")).json()
            key = await client.post("/v1/keys", json={"name": "a", "role": "viewer"})
            limit_files(live.process.pid, resource.RLIM_INFINITY)
            after = await moderate(client, TEXTS[-1])
            made = await client.post("/v1/keys", json={"name": "a", "role": "viewer"})

    assert before["penstock"]["recorded"] is True
    assert [r["penstock"]["decision"] for r in during] == ["approved"] * len(TEXTS)
    assert [r["penstock"]["recorded"] for r in during] == [True, *[False] * (len(TEXTS) - 1)]
    assert health["status"] == "degraded"
    assert health["checks"]["database"]["status"] == "degraded"
    assert health["checks"]["database"]["fix"]
    assert health["checks"]["cache.disk"]["status"] == "degraded"
    assert_problem(key, 503)
    assert after["penstock"]["recorded"] is True
    assert made.status_code == 201


async def test_a_locked_database_is_told_too(start: Start, settings: Settings):
    async with start() as app:
        await moderate(app.client, TEXTS[0])
        path = settings.home / "penstock.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            await app.runtime.database.write("PRAGMA busy_timeout = 50")
            other.execute("BEGIN IMMEDIATE")
            during = await moderate(app.client, TEXTS[1])
            health = await report(app)
            other.execute("ROLLBACK")
        after = await fist(app.client, TEXTS[1])

        found = await app.client.get(f"/api/results/{after['moderation_id']}")

    assert during["penstock"]["recorded"] is False
    assert "fuser" in health["checks"]["database"]["fix"]
    assert found.status_code == 200


async def test_a_folder_that_cannot_be_made_is_told_before_the_start(start: Start, tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="PENSTOCK_HOME"):
        async with start(home=tmp_path / "file" / "home"):
            pass


async def limit_pages(app: App, *, spare: int) -> None:
    """Let the database grow by `spare` pages and no more, as a full disk would."""
    (pages,) = await app.runtime.database.row("PRAGMA page_count") or (0,)
    await app.runtime.database.write(f"PRAGMA max_page_count = {pages + spare}")


def limit_files(pid: int, size: int) -> None:
    """Let no file of a process grow beyond `size` bytes."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def overwrite(path: Path, *, keep: int) -> None:
    """Damage a file in place: its first bytes stay."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(keep)
        file.write(b"\xa5" * (size - keep))
