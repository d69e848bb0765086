"""The project's own files, and the real application in process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from penstock.server.app import Server
from penstock.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """What is in the repository, or would be after `git add`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.fail("this test looks at the files of a git checkout; run it in one")
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


@pytest.fixture(scope="session")
def pages(files: list[Path]) -> list[Path]:
    """The Markdown pages."""
    return [path for path in files if path.suffix == ".md"]


@pytest.fixture(scope="session")
def generate() -> ModuleType:
    """docs/generate.py as a module."""
    spec = util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def api(server: Server) -> AsyncIterator[AsyncClient]:
    """A client of the app without a key; send the headers of `admin` for one."""
    transport = ASGITransport(server, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://host") as client:
        yield client


@pytest.fixture
def admin(settings: Settings) -> dict[str, str]:
    assert settings.admin_key is not None
    return {"Authorization": f"Bearer {settings.admin_key.get_secret_value()}"}


@pytest.fixture(scope="session")
def document(generate: ModuleType) -> dict[str, Any]:
    """The OpenAPI document that the app serves."""
    found: dict[str, Any] = generate.openapi()
    return found


def run_python(*arguments: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter in an empty folder, without anybody's keys."""
    environ = {"PATH": "/usr/bin:/bin", "PENSTOCK_HOME": str(home / ".penstock"), **env}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=home,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def python(tmp_path: Path) -> Any:
    """`python("-c", code)` in a fresh interpreter; returns the finished process."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run_python(*arguments, home=tmp_path, **env)

    return run
