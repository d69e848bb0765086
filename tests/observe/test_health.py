from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.errors import StorageUnavailable
from penstock.observe.health import (
    Check,
    CheckResult,
    HealthChecks,
    PsutilReader,
    Reader,
    SystemReader,
    open_reader,
    system_usage,
)


async def fine() -> CheckResult:
    return CheckResult("healthy")


async def slow() -> CheckResult:
    await asyncio.Event().wait()
    raise AssertionError("never reached")


async def test_no_checks_is_healthy() -> None:
    assert (await HealthChecks().run()).status == "healthy"


@pytest.mark.parametrize("worst", ["healthy", "degraded", "unhealthy"])
async def test_the_report_is_as_bad_as_its_worst_check(worst: str) -> None:
    checks = HealthChecks()

    async def bad() -> CheckResult:
        return CheckResult(worst, "redis is gone", "start redis")  # type: ignore[arg-type]

    checks.add("cache", fine)
    checks.add("hub", bad)
    report = await checks.run()

    assert report.status == worst
    assert report.checks["hub"].fix == "start redis"


async def test_a_check_that_does_not_answer_degrades() -> None:
    checks = HealthChecks()
    checks.add("database", slow)
    checks.add("cache", fine)

    report = await checks.run(within=0.01)

    told = report.checks["database"]
    assert (told.status, told.detail) == ("degraded", "did not answer within 0.01 s")
    assert told.fix
    assert report.checks["cache"].status == "healthy"


async def refused() -> CheckResult:
    raise StorageUnavailable("the database cannot be reached")


async def broken() -> CheckResult:
    raise KeyError("internal")


@pytest.mark.parametrize("check", [slow, refused, broken])
async def test_a_part_without_which_no_answers_go_on_is_unhealthy_however_it_fails(
    check: Check,
) -> None:
    checks = HealthChecks()
    checks.add("model", check, failing="unhealthy")

    report = await checks.run(within=0.01)

    assert report.checks["model"].status == report.status == "unhealthy"


async def test_our_error_says_what_is_wrong() -> None:
    checks = HealthChecks()

    async def locked() -> CheckResult:
        raise StorageUnavailable("the database is locked")

    checks.add("database", locked)
    report = await checks.run()

    assert report.checks["database"].detail == "the database is locked"


async def test_another_error_is_named_but_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    checks = HealthChecks()

    checks.add("database", broken)
    report = await checks.run()

    assert report.checks["database"].detail == "the check failed: KeyError"
    assert "health.check_failed" in caplog.text


@pytest.mark.parametrize("kind", [PsutilReader, SystemReader])
def test_usage_is_read_with_and_without_psutil(kind: type[Reader], tmp_path: Path) -> None:
    """F-89: psutil is optional."""
    usage = system_usage(kind(), folder=tmp_path)

    assert usage.source == kind.name
    assert 0 <= usage.cpu_ratio <= 1
    assert usage.memory_used_bytes is not None
    assert usage.memory_total_bytes is not None
    assert 0 < usage.memory_used_bytes < usage.memory_total_bytes
    assert 0 < usage.disk_used_bytes <= usage.disk_total_bytes
    assert 1 << 20 < usage.process_memory_bytes < 1 << 36


def test_both_readers_agree_about_memory() -> None:
    exact, fallback = PsutilReader(), SystemReader()

    assert exact.memory()[1] == fallback.memory()[1]
    assert fallback.process_memory() == pytest.approx(exact.process_memory(), rel=0.2)


def test_cpu_is_what_was_busy_since_the_last_reading(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 0 0 900 0 0 0 0 0 0\n")
    reader = SystemReader(tmp_path)
    (tmp_path / "stat").write_text("cpu  125 0 0 950 25 0 0 0 0 0\n")

    assert reader.cpu_ratio() == pytest.approx(0.25)


def test_a_system_without_proc_still_tells_something(tmp_path: Path) -> None:
    usage = system_usage(SystemReader(tmp_path), folder=tmp_path)

    assert (usage.memory_used_bytes, usage.memory_total_bytes) == (None, None)
    assert usage.process_memory_bytes > 1 << 20
    assert usage.cpu_ratio >= 0


def test_the_reader_of_this_machine_is_found() -> None:
    assert open_reader().name in ("psutil", "system")


async def test_strangers_are_told_what_was_found_a_moment_ago() -> None:
    clock, asked = ManualClock(), []
    checks = HealthChecks(clock)

    async def check() -> CheckResult:
        asked.append(1)
        return CheckResult("healthy")

    checks.add("database", check)
    for _ in range(3):
        await checks.recent()
    clock.advance(1)
    await checks.recent()

    assert len(asked) == 2
