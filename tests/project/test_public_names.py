"""`__all__` is the list of what a package promises: complete, sorted, and all of it is there."""

from __future__ import annotations

import ast
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


def as_ruff_sorts(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_sorted_and_every_name_is_there(name: str) -> None:
    package = import_module(name)
    listed = list(getattr(package, "__all__", []))

    missing = [entry for entry in listed if not hasattr(package, entry)]

    assert listed == sorted(listed, key=as_ruff_sorts)
    assert not missing


def test_the_root_lists_every_public_name() -> None:
    """What type checkers see, what is imported when asked for, and what is listed are the same."""
    tree = ast.parse(Path(penstock.__file__).read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]

    declared = {alias.name: node.module for node in imports for alias in node.names}

    assert declared == penstock._HOMES
    assert sorted(declared) == penstock.__all__


def test_the_root_has_what_the_documentation_imports() -> None:
    assert set(penstock.__all__) >= PROMISED


def test_the_star_import_brings_no_module() -> None:
    brought: dict[str, object] = {}

    exec("from penstock import *", brought)

    assert not [name for name, value in brought.items() if isinstance(value, ModuleType)]
