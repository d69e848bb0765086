from __future__ import annotations

from pathlib import Path

import pytest

from penstock.checks import BREAKER, add_checks, disk, local_model, providers, told
from penstock.observe.health import HealthChecks
from penstock.observe.metrics import Metrics


async def test_a_fresh_installation_is_healthy(runtime):
    checks = HealthChecks()
    add_checks(checks, runtime)

    health = await checks.run(within=30.0)

    assert health.status == "healthy"
    assert list(health.checks) == [
        *("database", "tasks", "cache.memory", "cache.disk", "disk_space", "model", "provider"),
    ]
    assert health.checks["model"].detail.startswith("penstock-moderation")


async def test_a_database_that_cannot_be_written_degrades_because_answers_go_on(runtime):
    checks = HealthChecks()
    add_checks(checks, runtime)
    await runtime.database.aclose()

    health = await checks.run(within=30.0)

    assert health.status == "degraded"
    assert health.checks["database"].status == "degraded"
    assert health.checks["database"].detail


async def test_a_job_file_that_is_gone_degrades_and_says_what_to_do(runtime):
    checks = HealthChecks()
    add_checks(checks, runtime)
    (runtime.settings.home / "tasks.db").unlink()

    health = await checks.run(within=30.0)

    assert health.checks["tasks"].status == "degraded"
    assert health.checks["tasks"].fix == "restart the server"


async def test_a_tier_that_does_not_answer_degrades(runtime):
    checks = HealthChecks()
    add_checks(checks, runtime)
    await runtime.cache.aclose()

    health = await checks.run(within=30.0)

    assert health.checks["cache.disk"].status == "degraded"


def test_what_a_part_says_becomes_detail_and_fix():
    found = told("the database x is locked; end what holds it")

    assert (found.detail, found.fix) == ("the database x is locked", "end what holds it")


@pytest.mark.parametrize(("free", "status"), [(1 << 40, "healthy"), (1 << 20, "degraded")])
def test_little_room_degrades(free, status):
    found = disk(Path("/data"), free=free)

    assert found.status == status
    assert bool(found.fix) == (status == "degraded")


def test_without_the_local_model_nothing_can_be_judged():
    assert local_model({"prescreen": "1"}).status == "unhealthy"


@pytest.mark.parametrize(
    ("ratio", "status"), [(0.0, "healthy"), (0.5, "degraded"), (1.0, "degraded")]
)
def test_a_provider_that_rests_degrades(ratio, status):
    metrics = Metrics()
    metrics.gauge(BREAKER, ratio, provider="api.example")

    found = providers(("https://api.example/v1", "local://"), metrics)

    assert found.status == status
    assert "api.example" in found.detail


def test_no_provider_is_no_fault():
    assert providers(("local://",), Metrics()).status == "healthy"
