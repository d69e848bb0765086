"""What an import costs its importer, seen in `sys.modules` of a fresh interpreter."""

from __future__ import annotations

from typing import Any

import pytest

FRAMEWORKS = {"fastapi", "starlette", "uvicorn"}
STORAGE = {"sqlalchemy", "alembic"}
HEAVY = (
    FRAMEWORKS | STORAGE | {"pydantic", "numpy", "openai", "httpx", "httpx2", "structlog", "rich"}
)

USE = """
import asyncio, penstock
@penstock.cached(ttl=60)
async def double(number: int) -> int:
    return 2 * number
assert asyncio.run(double(21)) == 42
"""


def loaded(python: Any, code: str) -> set[str]:
    done = python("-c", f"{code}\nimport sys; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_penstock_loads_nothing_heavy(python: Any) -> None:
    modules = loaded(python, "import penstock")

    assert not modules & HEAVY


def test_a_cached_function_needs_no_framework_and_no_database(python: Any) -> None:
    modules = loaded(python, USE)

    assert not modules & (FRAMEWORKS | STORAGE | {"openai", "httpx"})


def test_the_help_of_the_command_line_loads_click_alone(python: Any) -> None:
    code = "from penstock.cli import root; root(['--help'], standalone_mode=False)"

    modules = loaded(python, code)

    assert not modules & HEAVY


@pytest.mark.parametrize("package", ["cache", "hub", "http", "observe", "errors", "clock", "codec"])
def test_a_capability_loads_no_framework(python: Any, package: str) -> None:
    parts = "problems" if package == "http" else "metrics"
    name = (
        f"penstock.{package}.{parts}" if package in ("http", "observe") else f"penstock.{package}"
    )

    modules = loaded(python, f"import {name}")

    assert not modules & (FRAMEWORKS | STORAGE | {"openai"})
