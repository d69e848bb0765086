from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.config import masked
from penstock.settings import Settings, names_of


def rows(document) -> dict[str, dict]:
    return {row["variable"]: row for row in document["settings"]}


def test_every_setting_is_shown(run_json):
    shown = rows(run_json("config", "show"))

    assert list(shown) == [names_of(field)[0] for field in Settings.model_fields.values()]
    assert shown["PENSTOCK_PORT"]["value"] == 8000
    assert shown["PENSTOCK_PORT"]["origin"] == "default"
    assert shown["PENSTOCK_PORT"]["also"] == ["PORT", "API_PORT"]


def test_the_origin_of_a_value_is_named(run_json, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("API_PORT", "9000")
    (tmp_path / ".env").write_text("CACHE_TTL=60\n", "utf-8")

    shown = rows(run_json("config", "show"))

    assert shown["PENSTOCK_PORT"]["origin"] == "environment API_PORT"
    assert shown["PENSTOCK_CACHE_TTL"]["origin"] == ".env CACHE_TTL"


def test_secrets_are_masked(run, monkeypatch):
    monkeypatch.setenv("PENSTOCK_ADMIN_KEY", "psk_verysecret_verysecret_verysecret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret")
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", "postgresql://me:verysecret@host/db")

    result = run("config", "show")

    assert "verysecret" not in result.output
    assert "********" in result.stdout
    assert "postgresql://********@host/db" in result.stdout


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:verysecret@host:6379/0", "redis://********@host:6379/0"),
        ("redis://:very@secret@host:6379/0", "redis://********@host:6379/0"),
        ("redis://host:6379/0?password=verysecret", "redis://host:6379/0?********"),
        ("redis://host:6379/0#verysecret", "redis://host:6379/0?********"),
        ("redis://:very/secret@host:6379/0", "redis://********"),
        ("https://host/v1?key=very@secret", "https://********"),
        ("sqlite:////srv/me@shop/penstock.db", "sqlite:////srv/me@shop/penstock.db"),
        ("gpt-5", "gpt-5"),
    ],
)
def test_of_a_url_neither_password_nor_options_are_shown(url: str, expected: str):
    assert masked(url) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDIS_URL", "redis://:c2Vj/cmV0@host:6379/0"),
        ("CELERY_BROKER_URL", "redis://:c2Vj?cmV0@host:6379/1"),
        ("CELERY_RESULT_BACKEND", "redis://:c2Vj#cmV0@host:6379/2"),
        ("DATABASE_URL", "postgresql://me:c2Vj/cmV0@host/db"),
    ],
)
@pytest.mark.parametrize("command", [("config", "show"), ("doctor",), ("token", "list")])
def test_a_url_that_cannot_be_read_is_refused_by_name_and_not_told(
    run, monkeypatch, variable: str, value: str, command: tuple[str, ...]
):
    monkeypatch.setenv(variable, value)

    result = run(*command)

    assert result.exit_code != 0
    assert f"environment {variable}: the address cannot be read" in result.output
    assert "%2F for /" in result.output
    assert "c2Vj" not in result.output
    assert "cmV0" not in result.output


def test_the_admin_key_of_an_example_is_refused(run, monkeypatch):
    monkeypatch.setenv("PENSTOCK_ADMIN_KEY", "CHANGE-ME-to-32-random-characters-or-more")

    result = run("config", "show")

    assert result.exit_code != 0
    assert "PENSTOCK_ADMIN_KEY: it is the example's" in result.output


def test_what_looks_like_a_mistake_is_a_warning(run, run_json, monkeypatch):
    monkeypatch.setenv("PENSTOCK_PROT", "9000")

    result = run("config", "show")

    assert result.stderr == ("warning: PENSTOCK_PROT is not a setting; see: penstock config show\n")
    assert len(run_json("config", "show")["warnings"]) == 1


def test_every_command_says_what_looks_like_a_mistake_in_the_settings(run, monkeypatch):
    monkeypatch.setenv("PENSTOCK_BOGUS", "1")
    monkeypatch.setenv("PENSTOCK_PROT", "hidden")

    result = run("token", "list")

    assert result.exit_code == 0
    assert "warning: PENSTOCK_BOGUS is not a setting" in result.stderr
    assert "hidden" not in result.output
