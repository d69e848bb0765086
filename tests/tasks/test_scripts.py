"""Plain scripts: what they print, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PLAIN = """
from penstock import cached, task

@cached(ttl="1h")
def read(number: int) -> int:
    return number

@task
def double(number: int) -> int:
    return 2 * read(number)

@task
async def shout(word: str) -> str:
    return word.upper()

print(double.enqueue_sync(21).result_sync("20s"), shout.enqueue_sync("a").result_sync("20s"))
"""

LEAVING = """
import asyncio
from pathlib import Path
from penstock import task

@task
async def hang() -> None:
    with Path("starts").open("a") as starts:
        starts.write("x")
    begun.set()
    await asyncio.gather(asyncio.Event().wait())

async def main() -> None:
    global begun
    begun = asyncio.Event()
    job = await hang.enqueue()
    await begun.wait()
    print(job.id)

asyncio.run(main())
"""


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(code)
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_a_plain_script_ends_without_a_word(tmp_path: Path):
    done = run(tmp_path, PLAIN)

    assert (done.returncode, done.stdout, done.stderr) == (0, "42 A\n", "")


def test_a_job_that_a_script_leaves_behind_has_not_failed(tmp_path: Path):
    left = run(tmp_path, LEAVING)
    shown = subprocess.run(
        [sys.executable, "-m", "penstock", "tasks", "show", left.stdout.strip(), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (left.returncode, left.stderr) == (0, "")
    job = json.loads(shown.stdout)
    assert (job["state"], job["attempt"]) == ("queued", 0)
    assert (tmp_path / "starts").read_text() == "x"
