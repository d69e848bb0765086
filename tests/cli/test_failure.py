from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli.failure import exit_code, one_line
from penstock.errors import (
    CacheUnavailable,
    ConfigurationError,
    Conflict,
    InvalidInput,
    NotFound,
    PenstockError,
    ProviderTimeout,
    StorageFull,
    StorageUnavailable,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StorageUnavailable(), 3),
        (StorageFull(), 3),
        (ProviderTimeout(), 3),
        (CacheUnavailable(), 3),
        (ConfigurationError(), 2),
        (InvalidInput(), 2),
        (NotFound(), 1),
        (Conflict(), 1),
        (PenstockError(), 1),
    ],
)
def test_each_error_has_its_exit_code(error, code):
    assert exit_code(error) == code


def test_a_damaged_database_is_one_line_and_what_to_do(run, home: Path):
    home.mkdir()
    (home / "penstock.db").write_bytes(b"no database" * 100)

    result = run("token", "list")

    assert result.exit_code == 3
    first, second = result.stderr.splitlines()
    assert first == f"error: the database {home / 'penstock.db'} is damaged"
    assert second.startswith("fix: stop the server, move the file away")


def test_a_wrong_variable_is_named(run, monkeypatch):
    monkeypatch.setenv("PENSTOCK_PORT", "many")

    result = run("config", "show")

    assert result.exit_code == 2
    assert result.stderr.startswith("error: environment PENSTOCK_PORT: ")


def test_a_fault_of_ours_is_one_line_unless_debug_is_asked_for(run, monkeypatch):
    monkeypatch.setattr("penstock.settings.load_settings", lambda: 1 / 0)

    quiet, loud = run("config", "show"), run("--debug", "config", "show")

    assert quiet.stderr.splitlines() == [
        "error: unexpected ZeroDivisionError: division by zero",
        "fix: repeat with: penstock --debug ...",
    ]
    assert isinstance(loud.exception, ZeroDivisionError)


def test_messages_cannot_steer_the_terminal():
    assert one_line("bad\x1b[2Jkey\r\nx") == "bad [2Jkey  x"


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_program_without_a_word():
    with subprocess.Popen(
        [sys.executable, "-m", "penstock", "config", "show", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        said = process.stderr.read() if process.stderr else ""

    assert said == ""


def test_json_output_is_json_on_every_line(run):
    result = run("config", "show", "--json")

    assert all(json.loads(line) for line in result.stdout.splitlines())
