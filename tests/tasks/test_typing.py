from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_mypy_sees_options_arguments_and_results() -> None:
    root, file = Path(__file__).parents[2], Path(__file__).with_name("typed_task.py")
    # A place of its own: other options would empty the cache of `make lint`.
    options = ["--strict", "--follow-imports=silent", "--cache-dir=.mypy_cache/tests"]
    command = [sys.executable, "-m", "mypy", "--config-file=", *options, str(file)]

    run = subprocess.run(command, cwd=root, capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr
