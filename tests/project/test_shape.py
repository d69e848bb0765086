"""Every service is a folder of one shape, so that who knows one knows all."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import penstock.services

FOLDERS = [path.parent for path in Path(penstock.services.__file__).parent.glob("*/__init__.py")]
REQUIRED = {"schemas", "service", "api"}
OPTIONAL = {"prescreen", "policy", "prompts", "store", "tasks"}
services = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@services
def test_a_service_has_the_modules_of_every_service(folder: Path) -> None:
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}

    assert modules >= REQUIRED


@services
def test_modules_beyond_the_shape_are_named_in_the_package_docstring(folder: Path) -> None:
    told = import_module(f"penstock.services.{folder.name}").__doc__ or ""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}

    unnamed = [name for name in modules - REQUIRED - OPTIONAL if name not in told]

    assert not unnamed


@services
def test_a_service_is_a_class_whose_parts_come_by_keyword(folder: Path) -> None:
    module = import_module(f"penstock.services.{folder.name}.service")
    service = getattr(module, f"{folder.name.title()}Service")

    _, *parts = inspect.signature(service.__init__).parameters.values()

    assert parts
    assert all(part.kind is inspect.Parameter.KEYWORD_ONLY for part in parts)


@services
def test_only_stores_speak_sql(folder: Path) -> None:
    words = ("SELECT ", "INSERT ", "UPDATE ", "DELETE FROM ")

    speaking = {
        path.stem
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and str(node.value).lstrip().startswith(words)
    }

    assert all(name == "store" or name.endswith("_store") for name in speaking)


@services
def test_services_do_not_import_one_another(folder: Path) -> None:
    others = {f"penstock.services.{other.name}" for other in FOLDERS if other != folder}

    imported = {
        getattr(node, "module", "") or ""
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
    }

    assert not [name for name in imported if name.startswith(tuple(others) or ("//",))]
