"""`__all__` is the list of what a package promises: complete, sorted, and all of it is there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import penstock

SOURCE = Path(penstock.__file__).parent
PACKAGES = [
    ".".join(("penstock", *path.relative_to(SOURCE).parent.parts))
    for path in sorted(SOURCE.rglob("__init__.py"))
]
PROMISED = {"Cache", "ModelCache", "cache_model", "cached", "cached_batch", "install"}


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_sorted_and_every_name_is_there(name: str) -> None:
    package = import_module(name)
    listed = list(getattr(package, "__all__", []))

    missing = [entry for entry in listed if not hasattr(package, entry)]

    assert listed == sorted(listed)
    assert not missing


def test_the_root_lists_every_public_name() -> None:
    public = {
        name
        for name, value in vars(penstock).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and name != "annotations"
        and type(value).__name__ != "_Feature"
    }

    assert public <= set(penstock.__all__)


def test_the_root_has_what_the_documentation_imports() -> None:
    assert set(penstock.__all__) >= PROMISED - {"ModelCache"}


def test_the_star_import_brings_no_module() -> None:
    brought: dict[str, object] = {}

    exec("from penstock import *", brought)

    assert not [name for name, value in brought.items() if isinstance(value, ModuleType)]
