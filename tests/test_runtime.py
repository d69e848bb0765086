from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.errors import ConfigurationError, StorageError
from penstock.opening import prepare_home
from penstock.runtime import open_runtime
from penstock.settings import Settings

Threads = set[threading.Thread]
KIND = "Thank you all for the lovely evening."


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def left_since(before: Threads) -> list[str]:
    """Threads that a runtime left; the loop's own pool stays with the loop."""
    names = [thread.name for thread in threading.enumerate() if thread not in before]
    return [name for name in names if not name.startswith("asyncio")]


async def test_a_runtime_moderates_without_a_web(settings: Settings):
    async with open_runtime(settings) as runtime:
        first = await runtime.moderation.moderate(KIND, owner="me")
        second = await runtime.moderation.moderate(KIND, owner="me")

    assert first.decision == "approved"
    assert (first.from_cache, second.from_cache) == (False, True)


async def test_what_was_written_is_on_disk_when_it_has_closed(settings: Settings):
    async with open_runtime(settings) as runtime:
        await runtime.moderation.moderate(KIND, owner="me")
        await runtime.cache.set("user:1", {"a": 1})

    with sqlite3.connect(settings.home / "penstock.db") as database:
        assert database.execute("SELECT count(*) FROM moderation_verdicts").fetchone() == (1,)
    async with open_runtime(settings) as runtime:
        assert await runtime.cache.get("user:1") == {"a": 1}


async def test_closing_leaves_no_thread_behind(settings: Settings):
    before = set(threading.enumerate())

    async with open_runtime(settings) as runtime:
        await runtime.moderation.moderate(KIND, owner="me")

    assert left_since(before) == []


async def test_two_runtimes_share_one_folder(settings: Settings):
    async with open_runtime(settings) as one, open_runtime(settings) as other:
        await one.cache.set("user:1", "old")
        await one.cache.stats()  # asks the disk for its size: what was pending is written
        before = await other.cache.get("user:1")
        await one.cache.clear(pattern="user:*")
        after = await other.cache.get("user:1")

    assert (before, after) == ("old", None)


async def test_the_data_folder_is_its_owner_s_alone(settings: Settings):
    async with open_runtime(settings):
        mode = stat.S_IMODE(settings.home.stat().st_mode)

    assert mode == 0o700


async def test_expired_entries_leave_the_memory_without_being_asked_for(settings: Settings):
    """E-01, H-08"""
    clock = ManualClock()
    memory = settings.model_copy(update={"cache": ("memory",)})
    async with open_runtime(memory, clock=clock) as runtime:
        await runtime.cache.set("user:1", "x", ttl=30)
        await runtime.moderation.moderate(KIND, owner="me")  # the loop runs: upkeep sleeps
        before = (await runtime.cache.stats()).tiers["memory"].entries

        clock.advance(61)
        await runtime.moderation.moderate(f"{KIND} Again.", owner="me")
        found = await runtime.cache.stats()

    assert before == 2
    assert found.tiers["memory"].expired == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cache": ("memory", "disc")}, "no cache tier is called 'disc'; known: memory, disk"),
        ({"policy": Path("/no/such/policy.toml")}, "policy /no/such/policy.toml cannot be read"),
        ({"database_url": "oracle://host/db"}, "oracle"),
        ({"provider": ("ftp://host/v1",)}, "ftp"),
    ],
    ids=str,
)
async def test_what_cannot_be_used_is_told_before_anything_is_served(
    settings: Settings, changes: dict[str, object], told: str
):
    before = set(threading.enumerate())

    with pytest.raises(ConfigurationError) as caught:
        async with open_runtime(settings.model_copy(update=changes)):
            pass

    assert told in caught.value.detail
    assert left_since(before) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('on_provider_failure = "ignore"', "on_provider_failure"),
        ("[thresholds.rudeness]\nreview = 0.5", "no category is called 'rudeness'"),
        ("[thresholds.hate]\nreview = 5", "review"),
        ("[thresholds.hate]\nreviw = 0.5", "reviw"),
        ("thresholds = ", "policy"),
    ],
)
async def test_a_wrong_policy_is_told_with_its_place(
    settings: Settings, tmp_path: Path, text: str, told: str
):
    path = tmp_path / "policy.toml"
    path.write_text(text, "utf-8")

    with pytest.raises(ConfigurationError) as caught:
        async with open_runtime(settings.model_copy(update={"policy": path})):
            pass

    assert told in caught.value.detail


async def test_a_database_that_is_none_is_told_with_what_to_do(settings: Settings):
    settings.home.mkdir()
    (settings.home / "penstock.db").write_bytes(b"not a database at all" * 100)

    with pytest.raises(StorageError) as caught:
        async with open_runtime(settings):
            pass

    assert str(settings.home / "penstock.db") in caught.value.detail
    assert ";" in caught.value.detail


def test_a_folder_that_cannot_be_made_is_told_with_the_setting(tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="set PENSTOCK_HOME"):
        prepare_home(tmp_path / "file" / "home")
