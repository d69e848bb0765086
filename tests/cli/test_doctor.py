from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from penstock.cache.database import set_aside
from penstock.cli import checkup, machine, parts
from penstock.cli.finding import Finding
from penstock.settings import Settings


@pytest.fixture(autouse=True)
def free_port(monkeypatch):
    monkeypatch.setenv("PENSTOCK_PORT", "0")


@contextmanager
def answering(status: int, body: bytes = b"{}") -> Iterator[int]:
    """A server on a free port that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def checks(result) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def only(found: Iterator[Finding]) -> Finding:
    (finding,) = found
    return finding


def test_a_fresh_machine_is_well_and_nothing_is_made(run, home: Path):
    result = run("doctor", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "ok"
    assert set(checks(result)) == {
        *("python", "settings", "home", "disk space", "clock", "database", "cache.memory"),
        *("cache.disk", "policy", "model", "provider", "port"),
    }
    assert not home.exists()


def test_an_installation_in_use_is_well(run):
    run("cache", "stats")
    run("token", "list")

    result = run("doctor")

    assert result.exit_code == 0
    assert "writable, undamaged" in result.stdout
    assert result.stdout.splitlines()[-1] == "0 failed, 0 warnings, 12 ok"


def test_a_wrong_setting_is_the_last_thing_that_can_be_checked(run, monkeypatch):
    monkeypatch.setenv("PENSTOCK_AUTH", "perhaps")

    result = run("doctor", "--json")

    assert result.exit_code == 1
    assert checks(result)["settings"]["detail"].startswith("environment PENSTOCK_AUTH: ")


def test_a_damaged_database_fails_and_the_fix_is_named(run, home: Path):
    home.mkdir(mode=0o700)
    (home / "penstock.db").write_bytes(b"no database" * 100)

    result = run("doctor", "--json")

    found = checks(result)["database"]
    assert result.exit_code == 1
    assert found["status"] == "failed"
    assert found["fix"].startswith("stop the server, move the file away")


def test_a_database_of_another_version_is_a_warning(run, home: Path):
    run("token", "list")
    with closing(sqlite3.connect(home / "penstock.db", isolation_level=None)) as opened:
        opened.execute("UPDATE alembic_version SET version_num = '0000'")

    found = checks(run("doctor", "--json"))["database"]

    assert found["status"] == "warning"
    assert "has revision 0000" in found["detail"]


def test_a_damaged_cache_file_fails_and_is_left_as_it_is(run, home: Path):
    home.mkdir(mode=0o700)
    (home / "cache.db").write_bytes(b"no cache" * 100)

    found = checks(run("doctor", "--json"))["cache.disk"]

    assert found["status"] == "failed"
    assert found["fix"].endswith(f"rm {home / 'cache.db'}")
    assert (home / "cache.db").exists()


def test_a_cache_file_that_was_set_aside_is_a_warning(run, home: Path):
    home.mkdir(mode=0o700)
    (home / "cache.db").write_bytes(b"no cache" * 100)
    set_aside(home / "cache.db")
    (home / "cache.db").touch()  # an empty file is an empty database

    found = checks(run("doctor", "--json"))["cache.disk"]

    assert found["status"] == "warning"
    assert "was set aside" in found["detail"]


def test_a_folder_open_to_others_is_a_warning(run, home: Path):
    home.mkdir(mode=0o755)

    found = checks(run("doctor", "--json"))["home"]

    assert found["status"] == "warning"
    assert found["fix"] == f"chmod 700 {home}"


def test_a_home_that_cannot_be_written_fails(run, monkeypatch, tmp_path: Path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "file" / "home"))

    result = run("doctor", "--json")

    assert result.exit_code == 1
    assert checks(result)["home"]["status"] == "failed"
    assert "set PENSTOCK_HOME" in checks(result)["home"]["fix"]


def test_authentication_off_is_a_warning(run, monkeypatch):
    monkeypatch.setenv("PENSTOCK_AUTH", "off")

    found = checks(run("doctor", "--json"))["settings"]

    assert found["status"] == "warning"
    assert found["fix"] == "set PENSTOCK_AUTH=on"


def test_a_port_that_penstock_has_is_well():
    with answering(200, b'{"status":"alive"}') as port:
        finding = only(machine.port(Settings(port=port)))

    assert finding.status == "ok"
    assert f"Penstock is serving on http://127.0.0.1:{port}" in finding.detail


def test_a_port_that_something_else_has_fails():
    with answering(404) as port:
        finding = only(machine.port(Settings(port=port)))

    assert finding.status == "failed"
    assert finding.fix.startswith("stop that program")


def test_little_disk_space_is_told_before_it_is_none(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(machine, "LITTLE_DISK", 1 << 60)

    finding = only(machine.disk_space(Settings(home=tmp_path)))

    assert finding.status == "warning"
    assert "free space" in finding.fix


def test_almost_no_disk_space_fails(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(machine, "NO_DISK", 1 << 60)

    assert only(machine.disk_space(Settings(home=tmp_path))).status == "failed"


def test_a_clock_from_before_the_program_fails(monkeypatch):
    monkeypatch.setattr(machine, "BUILT", 1 << 40)

    finding = only(machine.clock(Settings()))

    assert finding.status == "failed"
    assert finding.fix.startswith("set the system clock")


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(run, monkeypatch):
    def home(_: Settings) -> Iterator[Finding]:
        raise RuntimeError("broken")

    monkeypatch.setattr(checkup, "CHECKS", (home, machine.clock))

    found = checks(run("doctor", "--json"))

    assert found["home"]["detail"] == "the check failed: RuntimeError: broken"
    assert found["clock"]["status"] == "ok"


def test_the_policy_that_holds_is_named(run, tmp_path: Path):
    (tmp_path / "strict.toml").write_text("[thresholds.hate]\nreview = 0.1\n")
    before = checks(run("doctor", "--json"))["policy"]
    run("policy", "draft", str(tmp_path / "strict.toml"), "--id", "default")
    drafted = checks(run("doctor", "--json"))["policy"]
    version = json.loads(run("policy", "activate", "default", "1", "--json").stdout)["version"]
    run("policy", "assign", "default", "env")

    held = checks(run("doctor", "--json"))["policy"]

    assert before["detail"].endswith(", of the settings")
    assert drafted == before
    assert held["status"] == "ok"
    assert held["detail"] == f"{version}, revision 1 (keys with a policy of their own: 1)"


def test_a_policy_of_another_version_is_a_warning(run, home: Path, tmp_path: Path):
    (tmp_path / "strict.toml").write_text("[thresholds.hate]\nreview = 0.1\n")
    run("policy", "draft", str(tmp_path / "strict.toml"), "--id", "default")
    run("policy", "activate", "default", "1")
    with closing(sqlite3.connect(home / "penstock.db", isolation_level=None)) as opened:
        opened.execute("UPDATE moderation_policies SET document = '{\"moods\": 3}'")

    found = checks(run("doctor", "--json"))["policy"]

    assert found["status"] == "warning"
    assert found["detail"].startswith("revision 1 was written by another version")
    assert found["fix"] == "draft and activate it again"


def test_a_policy_under_which_nobody_reads_is_a_warning(run, monkeypatch, tmp_path: Path):
    (tmp_path / "blind.toml").write_text('stages = ["provider"]\n')
    monkeypatch.setenv("PENSTOCK_POLICY", str(tmp_path / "blind.toml"))

    found = checks(run("doctor", "--json"))["policy"]

    assert found["status"] == "warning"
    assert "degraded as not-judged" in found["detail"]
    assert found["fix"] == "add a stage or set PENSTOCK_PROVIDER"


def test_a_clock_behind_the_files_fails(tmp_path: Path):
    path = tmp_path / "penstock.db"
    path.touch()
    os.utime(path, (1 << 33, 1 << 33))

    finding = only(machine.clock(Settings(home=tmp_path)))

    assert finding.status == "failed"
    assert "were written after that" in finding.detail


@pytest.mark.parametrize(
    ("status", "outcome", "said"),
    [
        (200, "ok", "answers (200)"),
        (404, "ok", "answers (404 to a list of models)"),
        (401, "failed", "refuses the key"),
        (500, "failed", "reports a failure of its own"),
    ],
)
def test_a_provider_is_asked_for_its_models(status, outcome, said):
    with answering(status) as port:
        settings = Settings(provider=(f"http://127.0.0.1:{port}/v1",), model="m")
        finding = only(parts.provider(settings))

    assert finding.status == outcome
    assert said in finding.detail


def test_a_provider_that_is_not_there_fails():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    finding = only(parts.provider(Settings(provider=(f"http://127.0.0.1:{port}/v1",), model="m")))

    assert finding.status == "failed"
    assert "cannot be reached" in finding.detail


def test_a_provider_without_a_model_fails_before_anyone_is_called(run, monkeypatch):
    monkeypatch.setenv("PENSTOCK_PROVIDER", "http://127.0.0.1:1/v1")

    found = checks(run("doctor", "--json"))["provider"]

    assert found["status"] == "failed"
    assert "no model is named" in found["detail"]


def test_a_cache_that_is_turned_off_is_a_warning():
    assert only(parts.cache_tiers(Settings(enable_cache=False))).status == "warning"


def test_an_unknown_cache_tier_fails():
    finding = only(parts.cache_tiers(Settings(cache=("disc",))))

    assert finding.status == "failed"
    assert finding.fix == "set PENSTOCK_CACHE=memory,disk"


def test_one_warning_is_one(run, home, monkeypatch):
    monkeypatch.setenv("ENABLE_CACHE", "false")

    assert ", 1 warning, " in run("doctor").stdout.splitlines()[-1]
