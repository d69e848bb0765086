from __future__ import annotations

import sys
from pathlib import Path

import pytest

from penstock.errors import ConfigurationError
from penstock.tasks import find_tasks

SHOP = """
from penstock import task

@task
async def send(to: str) -> None: ...

@task(queue="analytics")
def count() -> int: ...

same = send
number = 7
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, from which modules can be imported; forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("shop"):  # what else was imported meanwhile must not come to be twice
            del sys.modules[name]


def test_the_tasks_of_a_module_are_found_each_once(folder: Path):
    (folder / "shop_tasks.py").write_text(SHOP)

    tasks = find_tasks(["shop_tasks", "shop_tasks"])

    assert [(task.name, task.queue) for task in tasks] == [
        ("shop_tasks:send", "default"),
        ("shop_tasks:count", "analytics"),
    ]


def test_a_module_in_a_package_is_found(folder: Path):
    (folder / "shop").mkdir()
    (folder / "shop" / "later.py").write_text(SHOP)

    assert len(find_tasks(["shop.later"])) == 2


@pytest.mark.parametrize("name", ["nowhere_at_all", "shop_tasks.deeper", "nowhere.at.all"])
def test_a_module_that_is_not_there_is_named(folder: Path, name):
    (folder / "shop_tasks.py").write_text(SHOP)

    with pytest.raises(ConfigurationError, match=f"no module '{name}' was found") as raised:
        find_tasks([name])
    assert str(folder) in str(raised.value)


def test_a_package_that_a_module_lacks_is_named(folder: Path):
    (folder / "shop_tasks.py").write_text("import not_installed_here")

    with pytest.raises(ConfigurationError, match=r"shop_tasks.* imports 'not_installed_here'"):
        find_tasks(["shop_tasks"])


def test_a_module_that_fails_says_why(folder: Path):
    (folder / "shop_tasks.py").write_text("1 / 0")

    with pytest.raises(ConfigurationError, match=r"fails .* ZeroDivisionError: division by zero"):
        find_tasks(["shop_tasks"])
