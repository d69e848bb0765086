from __future__ import annotations

import pytest

from penstock.cache import MemoryStore, open_store
from penstock.errors import ConfigurationError


def test_memory_with_a_bound():
    store = open_store("memory://?max_bytes=64m")

    assert isinstance(store, MemoryStore)
    assert store.max_bytes == 64 << 20


async def test_disk_takes_a_path_and_makes_its_folders(tmp_path):
    store = open_store(f"disk://{tmp_path}/deep/er/my%20cache.db?max_bytes=1g")
    stats = await store.stats()

    assert (stats.state, stats.max_bytes) == ("up", 1 << 30)
    assert (tmp_path / "deep" / "er" / "my cache.db").exists()
    await store.aclose()


async def test_a_folder_gets_the_usual_file(tmp_path):
    store = open_store(f"disk://{tmp_path}")

    assert store.path == tmp_path / "cache.db"
    await store.aclose()


@pytest.mark.parametrize("url", ["disc://x", "x", "memory://?max_bytes=lots"])
def test_what_cannot_be_opened_is_named(url):
    with pytest.raises(ConfigurationError):
        open_store(url)
