"""Programs of users, run against `penstock serve`: FIST's snippet as it is, and our pages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import penstock_client
import pytest

from tests.conftest import ADMIN, Live

ROOT = Path(__file__).parents[3]
SNIPPET = Path(__file__).with_name("fist_snippet.txt").read_text("utf-8")
FENCE = re.compile(r"^```python server\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = ("docs/howto/python-client.md", "clients/python/README.md")
HERE = str(Path(penstock_client.__file__).parents[1])


def run(code: str, live: Live, path: str = HERE) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own; a warning ends it."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=live.home,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": path,
            "PENSTOCK_URL": live.url,
            "PENSTOCK_KEY": ADMIN,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_fist_s_snippet_runs_apart_from_its_token(live_server: Live) -> None:
    """The server of a test has a port of its own; the snippet forgets to import time."""
    program = SNIPPET.replace("fist_your_token_here", ADMIN)
    program = "import time\n" + program.replace("http://localhost:8000", live_server.url)

    done = run(program + "\nprint(len(results), health.status)", live_server, str(ROOT / "compat"))

    assert done.returncode == 0, done.stderr
    assert not done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] in ("Decision: A", "Decision: M", "Decision: R")
    assert re.fullmatch(r"Confidence: \d+%", lines[1])
    assert lines[2:4] == ["From cache: False", "Processed 3 items"]
    assert lines[4].startswith("Job ID: batch_")
    assert lines[-2].startswith("Progress: 100")
    assert lines[-1] in ("3 healthy", "3 degraded")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_programs_of_a_page_run(page: str, live_server: Live) -> None:
    blocks = FENCE.findall((ROOT / page).read_text("utf-8"))

    done = run("\n".join(blocks), live_server)

    assert blocks
    assert done.returncode == 0, done.stderr
    assert not done.stderr
