"""What the distribution promises: two clients alike, light, typed, nothing of the server."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import penstock_client
import pytest
from penstock_client import AsyncBatchJob, AsyncPenstock, BatchJob, FistClient, Penstock

ROOT = Path(__file__).parents[3]
SOURCE = Path(penstock_client.__file__).parent


def methods(kind: type) -> dict[str, list[str]]:
    return {
        name: list(inspect.signature(function).parameters)
        for name, function in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("sync", "awaited"), [(Penstock, AsyncPenstock), (BatchJob, AsyncBatchJob)]
)
def test_both_clients_have_the_same_methods_and_words(sync: type, awaited: type) -> None:
    assert methods(sync) == methods(awaited)
    assert all(
        inspect.getdoc(getattr(sync, name)) == inspect.getdoc(getattr(awaited, name))
        for name in methods(sync)
    )


def test_fist_s_client_has_every_method() -> None:
    assert methods(FistClient) == methods(Penstock)


def test_the_exports_are_those_of_all() -> None:
    public = {
        name
        for name, value in vars(penstock_client).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }

    assert {*public, "__version__"} == set(penstock_client.__all__)
    assert penstock_client.__all__ == sorted(penstock_client.__all__)


def test_importing_it_loads_no_server_and_no_http_library() -> None:
    code = "import penstock_client, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    heavy = {"penstock", "fastapi", "pydantic", "httpx", "httpx2", "asyncio", "ssl", "rich"}
    assert not heavy & set(done.stdout.split())


def test_it_imports_nothing_of_the_server() -> None:
    roots = {
        name.split(".")[0]
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    known = {*sys.stdlib_module_names, "penstock_client", "httpx2", "rich", "typing_extensions"}
    assert roots <= known


def test_the_types_are_shipped() -> None:
    assert (SOURCE / "py.typed").is_file()


def without_packages(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program of a Python that has its standard library only."""
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_fist_s_module_says_what_to_install() -> None:
    done = without_packages("import client_libraries.python.fist_client", ROOT / "compat")

    assert "ModuleNotFoundError: FIST's client needs httpx2" in done.stderr
    assert "pip install ./clients/python" in done.stderr


def test_fist_s_module_says_it_outside_of_a_checkout_too(tmp_path: Path) -> None:
    module = "client_libraries/python/fist_client.py"
    (tmp_path / "compat" / module).parent.mkdir(parents=True)
    shutil.copy(ROOT / "compat" / module, tmp_path / "compat" / module)

    done = without_packages("import client_libraries.python.fist_client", tmp_path / "compat")

    assert "ModuleNotFoundError: FIST's client needs penstock_client" in done.stderr


@pytest.mark.slow
def test_a_strictly_typed_program_passes() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--warn-unreachable", "--config-file="),
            f"--cache-dir={ROOT / '.mypy_cache' / 'clients'}",
            *(str(Path(__file__).with_name("sample.py")), str(SOURCE)),
        ],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout + done.stderr
