"""Every example runs as a reader would run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS_A_SERVER = {"openai_sdk.py"}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_runs(name: str, python: Any, request: pytest.FixtureRequest) -> None:
    arguments = [str(EXAMPLES / name)]
    if name in NEEDS_A_SERVER:
        key = request.getfixturevalue("settings").admin_key.get_secret_value()
        arguments += [request.getfixturevalue("live_server").url, key]

    done = python(*arguments)

    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not done.stderr


def test_every_example_is_in_the_list(root: Path) -> None:
    listed = (root / "examples" / "README.md").read_text("utf-8")

    assert not [path.name for path in EXAMPLES.glob("*.py") if path.name not in listed]
