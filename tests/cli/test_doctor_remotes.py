"""What `penstock doctor` says of the servers that the URLs name, on real ones."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import closing
from typing import Any

import pytest

from benchmarks.rigs.servers import Tls
from benchmarks.rigs.slow_proxy import SlowProxy
from penstock.cli import remotes, services_health
from penstock.clock import SystemClock
from penstock.errors import StorageUnavailable
from penstock.settings import Settings
from penstock.tasks.celery.address import parse
from penstock.tasks.celery.remote import RemoteSync
from penstock.tasks.celery.worker.rounds import Rounds

PATIENCE = 60.0
SECRET = "open-sesame"


@pytest.fixture(autouse=True)
def free_port(monkeypatch):
    monkeypatch.setenv("PENSTOCK_PORT", "0")


def checks(result) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def test_a_redis_is_told_with_version_latency_and_memory(run, own_redis, monkeypatch):
    server = own_redis("--maxmemory", "64mb", "--appendonly", "yes", password=SECRET)
    monkeypatch.setenv("REDIS_URL", server.url)

    result = run("doctor", "--json")

    found = checks(result)["redis"]
    assert found["status"] == "ok", found
    assert f"redis://127.0.0.1:{server.port}/0: Redis " in found["detail"]
    assert " ms, " in found["detail"]
    assert "of 64.0 MB" in found["detail"]
    assert SECRET not in result.output


def test_a_wrong_password_is_told_and_not_shown(run, own_redis, monkeypatch):
    server = own_redis(password=SECRET)
    monkeypatch.setenv("REDIS_URL", f"redis://:wrong-one@127.0.0.1:{server.port}/0")

    result = run("doctor", "--json")

    found = checks(result)["redis"]
    assert result.exit_code == 1
    assert found["status"] == "failed"
    assert "password" in found["detail"]
    assert "REDIS_URL" in found["fix"]
    assert "wrong-one" not in result.output
    assert SECRET not in result.output


def test_a_broker_that_is_gone_is_told_with_its_own_variable(run, own_redis, monkeypatch):
    server = own_redis()
    monkeypatch.setenv("CELERY_BROKER_URL", server.database(1))
    server.stop()

    found = checks(run("doctor", "--json"))

    assert found["broker"]["status"] == found["results"]["status"] == "failed"
    assert "cannot be reached" in found["broker"]["detail"]
    assert "CELERY_BROKER_URL" in found["broker"]["fix"]
    assert "CELERY_RESULT_BACKEND" in found["results"]["fix"]
    assert found["workers"]["status"] == "failed"


def test_a_broker_that_would_lose_jobs_is_a_warning(run, own_redis, monkeypatch):
    server = own_redis("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    monkeypatch.setenv("CELERY_BROKER_URL", server.database(1))

    told = [
        check
        for check in json.loads(run("doctor", "--json").stdout)["checks"]
        if check["name"] == "broker"
    ]

    assert {check["status"] for check in told} == {"warning"}
    assert any("throws jobs away" in check["detail"] for check in told)
    assert any("appendonly yes" in check["fix"] for check in told)


def test_a_redis_that_would_lose_what_is_counted_is_a_warning(run, own_redis, monkeypatch):
    server = own_redis("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lfu")
    monkeypatch.setenv("REDIS_URL", server.url)

    told = [
        check
        for check in json.loads(run("doctor", "--json").stdout)["checks"]
        if check["name"] == "redis"
    ]

    assert [check["status"] for check in told] == ["warning", "warning"]
    assert "throws statistics and limits away" in told[0]["detail"]
    assert "volatile-lru" in told[0]["fix"]
    assert "statistics begin anew when it restarts" in told[1]["detail"]
    assert told[1]["fix"] == "CONFIG SET appendonly yes"


def test_a_broker_that_accepts_and_never_answers_is_told_by_each_line(run, monkeypatch):
    """Celery itself would wait for ever."""
    monkeypatch.setattr(remotes, "PATIENCE", 0.2)
    monkeypatch.setattr(services_health, "ASK_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/1")

        result = run("doctor", "--json")

    found = checks(result)
    assert result.exit_code == 1
    assert [found[name]["status"] for name in ("broker", "results", "workers")] == ["failed"] * 3
    assert "does not answer in time" in found["broker"]["detail"]
    assert found["workers"]["detail"] == "they cannot be asked: the broker cannot be used"


def test_a_broker_that_falls_silent_while_workers_are_asked_is_given_up(redis, monkeypatch):
    check = services_health.check_broker
    with SlowProxy(redis.port) as proxy:
        settings = Settings(tasks="celery", celery_broker_url=f"{proxy.url}/1")

        def check_and_freeze(settings: Settings) -> None:
            check(settings)
            proxy.freeze()

        monkeypatch.setattr(services_health, "check_broker", check_and_freeze)
        monkeypatch.setattr(services_health, "ASK_SECONDS", 0.2)
        with pytest.raises(StorageUnavailable, match="the broker cannot be used"):
            services_health.ping(settings, seconds=0.1)
        proxy.thaw()
        for thread in threading.enumerate():
            if thread.name == "penstock-ping":
                thread.join(PATIENCE)


def test_workers_that_wait_for_jobs_which_this_installation_runs_itself_are_told(
    run, redis, monkeypatch
):
    address = parse(f"celery+{redis.database(1)}?backend={redis.database(2)}")
    monkeypatch.setenv("REDIS_URL", redis.url)
    before = checks(run("doctor", "--json"))
    with closing(RemoteSync(address)) as remote:
        Rounds(remote, node="one", clock=SystemClock(), lease=15.0).tick()

        found = checks(run("doctor", "--json"))["workers"]

    assert "workers" not in before
    assert found["status"] == "warning"
    assert found["detail"].startswith(f"1 of Celery's waits on {redis.database(1)}; ")
    assert found["fix"] == "set PENSTOCK_TASKS=celery for the servers, too"


def test_no_worker_that_answers_is_a_warning(run, redis, monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", redis.database(1))

    found = checks(run("doctor", "--json"))["workers"]

    assert (found["status"], found["detail"]) == ("warning", "no worker answers: jobs wait")


def test_a_postgresql_is_told_and_left_as_it_is(run, postgres, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", postgres.url)

    first, second = checks(run("doctor", "--json")), checks(run("doctor", "--json"))

    for found in (first["postgresql"], second["postgresql"]):
        assert found["status"] == "ok", found
        assert "PostgreSQL " in found["detail"]
        assert "the first start makes its tables" in found["detail"]
    assert "database" not in first


def test_a_postgresql_that_is_gone_is_told_without_its_password(run, monkeypatch):
    url = f"postgresql://penstock:{SECRET}@127.0.0.1:1/penstock"
    monkeypatch.setenv("DATABASE_URL", url)

    result = run("doctor", "--json")

    found = checks(result)["postgresql"]
    assert found["status"] == "failed"
    assert "127.0.0.1:1/penstock" in found["detail"]
    assert SECRET not in result.output


def test_nothing_is_asked_where_no_url_is_set(run):
    found = checks(run("doctor", "--json"))

    assert not {"redis", "broker", "results", "workers", "postgresql"} & set(found)


def test_servers_that_speak_tls_are_asked_and_a_certificate_that_is_wrong_or_unchecked_is_told(
    run, own_redis, own_postgres, authority, stranger, monkeypatch
):
    redis = own_redis("--appendonly", "yes", password=SECRET, tls=Tls.of(authority, clients=True))
    postgres = own_postgres("fsync=off", tls=Tls.of(authority))
    monkeypatch.setenv("PENSTOCK_TASKS", "celery")

    def asked(redis_url: str, database_url: str) -> dict[str, dict[str, Any]]:
        monkeypatch.setenv("REDIS_URL", redis_url)
        monkeypatch.setenv("DATABASE_URL", database_url)
        result = run("doctor", "--json")
        assert SECRET not in result.output
        return checks(result)

    good = asked(redis.url, postgres.url)
    bare = postgres.url.partition("?")[0]
    open_to_all = asked(f"{redis.url}&ssl_cert_reqs=none", f"{bare}?sslmode=require")
    trusted, other = str(authority.ca), str(stranger.ca)
    wrong = asked(redis.url.replace(trusted, other), postgres.url.replace(trusted, other))

    names = ("redis", "broker", "results", "postgresql")
    assert [good[name]["status"] for name in names] == ["ok"] * 4
    assert good["workers"]["detail"] == "no worker answers: jobs wait"
    assert ", TLSv1." in good["postgresql"]["detail"]
    for name in names:
        option = "sslrootcert" if name == "postgresql" else "ssl_ca_certs"
        assert open_to_all[name]["status"] == "warning"
        assert "its certificate is not checked" in open_to_all[name]["detail"]
        assert f"{option}=/path/ca.pem" in open_to_all[name]["fix"]
        assert wrong[name]["status"] == "failed"
        assert "certificate that is not trusted" in wrong[name]["detail"]
        assert f"?{option}=/path/ca.pem" in wrong[name]["fix"]
