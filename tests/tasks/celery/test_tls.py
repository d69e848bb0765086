"""Celery over TLS: one address of Redis for worker, beat, results and who asks them."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rigs.servers import RedisServer, Tls
from penstock.celery_app import make
from penstock.cli.services_health import celery_answers
from penstock.errors import ConfigurationError, StorageUnavailable
from penstock.net.redis import at_database, connect_sync
from penstock.settings import Settings
from penstock.tasks import Task, open_engine, open_queue
from tests.tasks.celery.conftest import PATIENCE, address, until
from tests.tasks.celery.test_installation import SHOP

SECRET = "open-sesame"


@pytest.fixture
def secure(own_redis: Any, authority: Any) -> RedisServer:
    """A Redis that wants everything: TLS, a password and a certificate."""
    server: RedisServer = own_redis(password=SECRET, tls=Tls.of(authority, clients=True))
    return server


@pytest.fixture
def settings(secure: RedisServer, tmp_path: Path) -> Settings:
    """An installation that knows one address."""
    return Settings(home=tmp_path / "home", tasks="celery", redis_url=secure.url)


@pytest.fixture
def worker(secure: RedisServer, tmp_path: Path) -> Iterator[Path]:
    """`penstock worker --beat` on it, as a process; its log."""
    (tmp_path / "shop.py").write_text(SHOP)
    env = {
        **os.environ,
        "REDIS_URL": secure.url,
        "PENSTOCK_TASKS": "celery",
        "PENSTOCK_HOME": str(tmp_path / "home"),
    }
    command = [sys.executable, "-m", "penstock", "worker", "--beat", "--include", "shop"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--concurrency", "1"],
            cwd=tmp_path,
            env=env,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    yield tmp_path / "log"
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
async def test_worker_beat_results_and_who_asks_them_speak_tls_by_one_address(
    secure: RedisServer, settings: Settings, worker: Path
):
    async def count(letters: int) -> int: ...

    counting = Task(count, name="shop:count", queue="analytics")
    async with open_queue(settings.task_engine, workers=0) as queue:
        assert await (await queue.enqueue(counting, (3,))).result(PATIENCE) == 3
        with connect_sync(secure.database(1)) as broker, connect_sync(secure.database(2)) as kept:
            await until(lambda: broker.zcard("penstock:fired:shop:tick"))
            await until(lambda: kept.keys("celery-task-meta-*"))
        await until(lambda: celery_answers(settings, ["celery"]) == {"celery"})

        secure.kill()
        secure.start()
        again = await queue.enqueue(counting, (4,))
        assert await again.result(PATIENCE) == 4

    assert "insecure" not in worker.read_text(errors="replace").lower()
    assert SECRET not in worker.read_text(errors="replace")


async def test_every_part_of_celery_checks_the_certificate(settings: Settings, secure: RedisServer):
    conf = make(settings).conf

    for used in (conf.broker_use_ssl, conf.redis_backend_use_ssl):
        assert used["ssl_cert_reqs"] == ssl.CERT_REQUIRED
        assert used["ssl_ca_certs"] == str(secure.tls.authority.ca)
        assert used["ssl_certfile"] == str(secure.tls.client.certificate)
    bare = secure.url.partition("?")[0]
    assert (conf.broker_url, conf.result_backend) == (at_database(bare, 1), at_database(bare, 2))
    with make(settings).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1)
    assert make(settings).backend.client.ping()


async def test_a_broker_that_is_not_trusted_is_told_with_what_to_set(
    settings: Settings, secure: RedisServer, stranger: Any
):
    url = address(secure).replace(str(secure.tls.authority.ca), str(stranger.ca))

    async with open_queue(url) as queue:
        health = await queue.store.health()

    assert "shows a certificate that is not trusted" in health
    assert "in CELERY_BROKER_URL (or REDIS_URL): ?ssl_ca_certs=/path/ca.pem" in health
    assert SECRET not in health
    other = settings.model_copy(update={"redis_url": secure.url.partition("?")[0]})
    with pytest.raises(StorageUnavailable, match="certificate that is not trusted"):
        celery_answers(other, ["one"])


@pytest.mark.parametrize("scheme", ["celery+sentinel", "celery+redis+cluster"])
def test_what_finds_the_primary_by_itself_is_refused_in_words(scheme: str):
    with pytest.raises(ConfigurationError, match="is not supported: nobody here asks where the"):
        open_engine(f"{scheme}://:{SECRET}@h:26379/1")
