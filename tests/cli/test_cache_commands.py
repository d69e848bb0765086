from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from penstock.cache import Cache, open_store
from penstock.cli.cache import Selected, preview
from penstock.hub import LocalHub


@pytest.fixture
def opened(home: Path) -> Callable[[], AbstractAsyncContextManager[Cache]]:
    """The disk tier that the command line sees, without the rest of a runtime."""

    @asynccontextmanager
    async def open_cache() -> AsyncIterator[Cache]:
        home.mkdir(exist_ok=True)
        hub = LocalHub(home)
        cache = Cache([open_store(f"disk://{home / 'cache.db'}")], hub=hub)
        yield cache
        await cache.aclose()
        hub.close()

    return open_cache


@pytest.fixture
def filled(opened) -> Callable[[], list[str]]:
    """Three entries on disk; the returned function tells which keys are left."""

    async def fill() -> None:
        async with opened() as cache:
            await cache.set("a:1", {"n": 1}, tags=("red",))
            await cache.set("a:2", [2])
            await cache.set("b:[1]", "three")

    async def left() -> list[str]:
        async with opened() as cache:
            return sorted(entry.key for entry in await cache.scan("*", 10))

    asyncio.run(fill())
    return lambda: asyncio.run(left())


def test_stats_show_what_outlives_a_process(run_json, filled):
    stats = run_json("cache", "stats")

    assert stats["enabled"] is True
    assert list(stats["tiers"]) == ["disk"]
    assert stats["tiers"]["disk"]["entries"] == 3
    assert stats["tiers"]["disk"]["state"] == "up"


def test_stats_in_words_name_tier_and_size(run, filled):
    header, disk = run("cache", "stats").stdout.splitlines()

    assert header.split() == ["tier", "entries", "size", "most", "state", "detail"]
    assert disk.split()[:2] == ["disk", "3"]


def test_a_redis_without_maxmemory_is_unbounded(run, redis, monkeypatch):
    monkeypatch.setenv("REDIS_URL", redis.url)

    (line,) = [x for x in run("cache", "stats").stdout.splitlines() if x.startswith("redis")]

    assert "unbounded" in line


def test_list_shows_what_a_pattern_names(run, run_json, filled):
    found = run_json("cache", "list", "a:*")

    assert sorted(entry["key"] for entry in found) == ["a:1", "a:2"]
    assert "b:[1]" in run("cache", "list").stdout


def test_get_prints_the_value(run, run_json, filled):
    assert json.loads(run("cache", "get", "a:1").stdout) == {"n": 1}
    assert run_json("cache", "get", "a:1")["source"] == "disk"


@pytest.mark.parametrize("command", ["get", "delete"])
def test_a_key_that_is_not_there_is_exit_code_1(run, command):
    result = run("cache", command, "a:9")

    assert result.exit_code == 1
    assert result.stderr == "error: there is no cached key 'a:9'\n"


def test_delete_forgets_one_key(run, filled):
    result = run("cache", "delete", "a:1")

    assert result.stdout == "deleted a:1\n"
    assert filled() == ["a:2", "b:[1]"]


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (["--namespace", "a", "--older-than", "1d"], ["a:1", "a:2", "b:[1]"]),
        (["--tag", "red"], ["a:2", "b:[1]"]),
        (["--pattern", "*:?"], ["b:[1]"]),
    ],
)
def test_clear_forgets_what_is_named(run, filled, selection, left):
    result = run("cache", "clear", "--yes", *selection)

    assert result.exit_code == 0
    assert filled() == left


def test_clear_says_how_many_that_would_be_and_waits_for_a_yes(run, filled):
    result = run("cache", "clear", "--namespace", "a", stdin="n\n")

    assert result.exit_code == 1
    assert "2 entries will be forgotten. Go on?" in result.stderr
    assert len(filled()) == 3


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"pattern": "b*"}, "1 entries"),
        ({"namespace": "a", "pattern": "*2"}, "1 entries"),
        ({"older_than": 86400.0}, "0 entries"),
        ({"tag": "red"}, "every entry with the tag 'red'"),
        ({}, "3 entries"),
    ],
)
async def test_a_preview_counts_what_clear_would_forget(opened, selection, said):
    async with opened() as cache:
        for key in ("a:1", "a:2", "b:[1]"):
            await cache.set(key, 1)

        assert await preview(cache, Selected(**selection)) == said


def test_clear_goes_on_after_a_yes(run, filled):
    result = run("cache", "clear", "--json", stdin="y\n")

    assert json.loads(result.stdout) == {"cleared": 3}
    assert filled() == []


def test_clear_takes_a_tag_or_a_namespace(run):
    result = run("cache", "clear", "--tag", "red", "--namespace", "a")

    assert result.exit_code == 2


def test_the_cache_can_be_cleared_while_the_database_is_broken(run, filled, home: Path):
    (home / "penstock.db").write_bytes(b"no database" * 100)

    result = run("cache", "clear", "--yes")

    assert result.exit_code == 0
    assert filled() == []


def test_warm_learns_a_file_and_then_knows_it(run_json, tmp_path: Path):
    path = tmp_path / "texts.txt"
    path.write_text("Have a lovely day.\nGood morning.\nGood morning.\n", "utf-8")

    first, second = run_json("cache", "warm", str(path)), run_json("cache", "warm", str(path))

    assert first == {"computed": 2, "known": 0, "failed": 0, "refused": 0}
    assert second == {"computed": 0, "known": 2, "failed": 0, "refused": 0}


def test_warm_names_the_lines_that_it_refuses(run):
    result = run("cache", "warm", "-", "--json", stdin="Good morning.\nnul\0\n")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["refused"] == 1
    assert "line 2: the text contains U+0000" in result.stderr
