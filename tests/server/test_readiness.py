"""Whether servers are given requests while a part of the installation is away or silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from benchmarks.rigs.servers import RedisServer
from benchmarks.rigs.slow_proxy import SlowProxy
from penstock.db import connecting
from penstock.settings import Settings
from tests.conftest import ADMIN
from tests.server.asking import moderate
from tests.server.conftest import opened
from tests.servers import PostgresDatabase


async def test_servers_stay_ready_while_the_broker_and_postgresql_are_silent(
    own_redis: Callable[..., RedisServer],
    postgres: PostgresDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """All servers would be sent nothing at the same time, although each of them answers."""
    monkeypatch.setattr(connecting, "CONNECT_PATIENCE", 0.5)  # what is written waits less
    broker, port = own_redis(), postgres.server.port
    with ExitStack() as stack:
        silent = stack.enter_context(SlowProxy(port))
        settings = Settings(
            home=tmp_path / "home",
            admin_key=SecretStr(ADMIN),
            log_level="error",
            celery_broker_url=broker.database(1),
            database_url=postgres.url.replace(f":{port}/", f":{silent.port}/"),
        )
        async with opened(settings) as app:
            known = await moderate(app.client, "The parcel has arrived.")
            broker.freeze()
            silent.freeze()
            stack.callback(broker.thaw)

            ready, told = await asyncio.gather(
                app.client.get("/readyz"), app.client.get("/api/health")
            )
            again = await moderate(app.client, "The parcel has arrived.")
            silent.thaw()
            broker.thaw()

    assert ready.status_code == 200
    assert ready.json()["status"] == "degraded"
    checks = told.json()["checks"]
    assert {name for name, found in checks.items() if found["status"] == "degraded"} == {
        *("database", "tasks"),
    }
    assert checks["database"]["fix"]
    assert "does not answer in time" in checks["tasks"]["detail"]
    assert again["penstock"]["decision"] == known["penstock"]["decision"]
