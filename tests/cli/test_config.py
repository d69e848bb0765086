from __future__ import annotations

from pathlib import Path

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
