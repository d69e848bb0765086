from __future__ import annotations

from pathlib import Path

import pytest

from penstock.db import open_database
from penstock.db.location import dsn, locate
from penstock.errors import ConfigurationError


def test_without_a_url_the_database_lives_in_the_folder(tmp_path: Path) -> None:
    assert locate(None, folder=tmp_path).path == tmp_path / "penstock.db"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a/b.db", Path.cwd() / "a/b.db"),
        ("sqlite:////var/lib/b.db", Path("/var/lib/b.db")),
        ("sqlite:////with space/100%25?/b.db?mode=ro", Path("/with space/100%25?/b.db")),
    ],
)
def test_a_url_is_read_and_written_back(url: str, path: Path) -> None:
    location = locate(url)

    assert location.path == path
    assert location.read_only == url.endswith("?mode=ro")
    assert locate(location.url) == location


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://root:hunter2@host/db",
        "penstock.db",
        "me:hunter2@host/db",
    ],
)
def test_another_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="write sqlite:///") as caught:
        locate(url)

    assert "hunter2" not in caught.value.detail


@pytest.mark.parametrize("url", ["postgresql://u:c2Vj/cmV0@h/db", "postgres://u:12#cmV0@h/db"])
def test_a_password_that_ends_the_host_too_early_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded: %2F for /") as caught:
        dsn(url)

    assert "cmV0" not in caught.value.detail


async def test_any_folder_name_works(tmp_path: Path) -> None:
    folder = tmp_path / "what? 100% #1 ü"

    database = open_database(folder=folder)
    await database.aclose()

    assert (folder / "penstock.db").exists()
