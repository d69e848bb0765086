"""The package itself: its own tests, its shape, and its likeness with the Python client."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.javascript.conftest import Run, found_program

pytestmark = pytest.mark.slow

PYTHON = Path(__file__).parents[3] / "clients" / "python" / "src" / "penstock_client"
ONLY_PYTHON = {"close"}  # fetch has nothing to close
ONLY_JAVASCRIPT = {"AbortedError"}  # AbortSignal; Python cancels otherwise


@pytest.fixture(scope="module")
def npm(package: Path):
    program = found_program("npm", needed="npm, which comes with node")

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, "run", "--silent", script],
            cwd=package,
            capture_output=True,
            text=True,
            timeout=180,
        )

    return run


def test_its_own_tests_pass(npm) -> None:
    done = npm("test")

    assert done.returncode == 0, done.stdout


def test_types_format_and_exports_are_clean(npm) -> None:
    """tsc, prettier, publint and attw."""
    done = npm("check")

    assert done.returncode == 0, done.stdout + done.stderr


def test_it_needs_no_other_package(package: Path) -> None:
    manifest = json.loads((package / "package.json").read_text("utf-8"))

    needed = [name for name in manifest if name.lower().endswith("dependencies")]

    assert needed == ["devDependencies"]


def test_the_lock_names_no_host(package: Path) -> None:
    lock = json.loads((package / "package-lock.json").read_text("utf-8"))

    assert not [name for name, entry in lock["packages"].items() if "resolved" in entry]


def test_every_method_of_the_python_client_has_its_twin(node: Run) -> None:
    python = {camel(name) for name in methods("client.py", "Penstock") - ONLY_PYTHON}

    ours = set(names(node, "Object.getOwnPropertyNames(client.Penstock.prototype)"))

    assert len(python) >= 18
    assert not python - ours


def test_every_method_of_a_python_job_has_its_twin(node: Run) -> None:
    python = {camel(name) for name in methods("client.py", "BatchJob")}

    ours = set(names(node, "Object.getOwnPropertyNames(client.Job.prototype)"))

    assert not python - ours


def test_the_errors_have_the_same_names(node: Run) -> None:
    tree = ast.parse((PYTHON / "errors.py").read_text("utf-8"))
    python = {part.name for part in tree.body if isinstance(part, ast.ClassDef)}

    ours = names(node, "Object.keys(client).filter((name) => name.endsWith('Error'))")

    assert set(ours) - ONLY_JAVASCRIPT == python


def methods(module: str, name: str) -> set[str]:
    """Public methods of a class, read from its source."""
    tree = ast.parse((PYTHON / module).read_text("utf-8"))
    (found,) = (part for part in tree.body if isinstance(part, ast.ClassDef) and part.name == name)
    functions = (part for part in found.body if isinstance(part, ast.FunctionDef))
    return {function.name for function in functions if not function.name.startswith("_")}


def names(node: Run, expression: str) -> list[str]:
    code = f'import * as client from "penstock-client"; console.log(JSON.stringify({expression}))'
    package = Path(__file__).parents[3] / "clients" / "javascript"
    done = node("--input-type=module", "-e", code, cwd=package)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name)
