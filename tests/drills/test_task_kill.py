"""kill -9 a hundred times: no accepted job is lost, and none runs twice that was not running."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drills import kills

pytestmark = [pytest.mark.slow]


async def test_five_kills_lose_nothing(serve, tmp_path: Path) -> None:
    told, marks, home = await kills.drill(serve, tmp_path, rounds=5, seed=1)

    await kills.check(told, marks, home)


@pytest.mark.drill
async def test_a_hundred_kills_lose_nothing(serve, tmp_path: Path) -> None:
    told, marks, home = await kills.drill(serve, tmp_path, rounds=100, seed=2)

    await kills.check(told, marks, home)
    assert max(told.rescues) <= 2.0, "the work of a dead process comes back in two seconds"
