"""Rolling restarts again and again, under the load of many callers: not one request may fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.test_services import caller, kill_all
from tests.conftest import ADMIN, free_port

pytestmark = pytest.mark.drill

ROUNDS = 5
CALLERS = 32


class Load:
    """Callers with open connections who ask again as soon as they are answered."""

    def __init__(self, url: str, *, callers: int = CALLERS) -> None:
        self._url = url
        self._callers = callers
        self._over = asyncio.Event()
        self.answers: Counter[str] = Counter()

    async def run(self, until: asyncio.Future[Any]) -> None:
        until.add_done_callback(lambda _: self._over.set())
        await asyncio.gather(*(self._caller(number) for number in range(self._callers)))

    async def _caller(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(base_url=self._url, headers=headers, timeout=30.0) as client:
            turn = 0
            while not self._over.is_set():
                turn += 1
                try:
                    if turn % 4 == 0:
                        answer = await client.get("/v1/models")
                    else:
                        body = {"input": f"caller {number} asks for the {turn}th time"}
                        answer = await client.post("/v1/moderations", json=body)
                except httpx.HTTPError as error:
                    self.answers[f"{turn % 4 == 0} {error!r}"] += 1
                else:
                    self.answers[str(answer.status_code)] += 1


@pytest.fixture(params=["embedded", "scaled"])
def variables(request: pytest.FixtureRequest) -> dict[str, str]:
    """One folder, or Redis, Celery and PostgreSQL."""
    if request.param == "embedded":
        return {}
    redis, postgres = request.getfixturevalue("redis"), request.getfixturevalue("postgres")
    return {
        "REDIS_URL": redis.database(0),
        "CELERY_BROKER_URL": redis.database(1),
        "CELERY_RESULT_BACKEND": redis.database(2),
        "DATABASE_URL": postgres.url,
    }


async def test_five_rolling_restarts_of_three_servers_fail_no_request(
    tmp_path: Path, variables: dict[str, str]
):
    home, proxy = tmp_path / "home", free_port()
    call = caller(home, **variables)
    ports = ",".join(str(free_port()) for _ in range(3))
    try:
        started = call(
            *("start", "--ports", ports, "--proxy", str(proxy), "--workers", "1"),
            *(["--concurrency", "1"] if variables else []),
        )
        assert started.returncode == 0, started.stderr
        load = Load(f"http://127.0.0.1:{proxy}", callers=CALLERS)

        async def rounds() -> list[int]:
            done = [await asyncio.to_thread(call, "restart") for _ in range(ROUNDS)]
            return [each.returncode for each in done]

        restarting = asyncio.ensure_future(rounds())
        await load.run(restarting)

        assert await restarting == [0] * ROUNDS
        print(f"\n{ROUNDS} restarts of 3 servers: {dict(load.answers)}")  # noqa: T201
        assert set(load.answers) == {"200"}, load.answers
    finally:
        kill_all(home)
