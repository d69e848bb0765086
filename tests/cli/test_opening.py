from __future__ import annotations

import logging

import pytest

from penstock.cli import opening
from penstock.observe.logging import get_logger
from penstock.runtime import Runtime


async def speak(_: Runtime) -> None:
    log = get_logger("penstock.db")
    log.warning("db.slow_statement", duration_seconds=0.7)
    log.error("db.broken")


@pytest.mark.parametrize(
    ("level", "events"),
    [("info", ["db.broken"]), ("debug", ["db.slow_statement duration_seconds=0.7", "db.broken"])],
)
def test_what_was_dealt_with_is_no_matter_for_a_commands_user(monkeypatch, caplog, level, events):
    monkeypatch.setenv("PENSTOCK_LOG_LEVEL", level)

    opening.with_runtime(speak)

    assert [r.getMessage() for r in caplog.records if r.name == "penstock.db"] == events


def test_the_log_is_as_loud_as_before_when_the_command_has_ended():
    logging.getLogger("penstock").setLevel(logging.NOTSET)

    opening.with_runtime(speak)

    assert logging.getLogger("penstock").level == logging.NOTSET
