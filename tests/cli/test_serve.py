from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from penstock.cli.serve import base_url, greeting
from penstock.server.auth import is_loopback

REPOSITORY = Path(__file__).parents[2]


class Story(NamedTuple):
    """Two starts on one folder, the second while the first one serves."""

    first: Any
    second: Any
    answer: dict[str, object]
    status: int
    codes: tuple[int, int]


@pytest.fixture(scope="module")
def story(serve, tmp_path_factory: pytest.TempPathFactory) -> Story:
    home = tmp_path_factory.mktemp("served") / "home"
    first = serve(home, "serve")
    while "curl " not in (line := first.read_line()):
        assert line, first.finish()
    second = serve(home, "serve")
    first.wait_for("Uvicorn running")
    status, answer = follow(line)
    second.wait_for("Uvicorn running")
    codes = first.stop(signal.SIGINT), second.stop(signal.SIGTERM)
    return Story(first, second, answer, status, codes)


def follow(curl: str) -> tuple[int, dict[str, object]]:
    """Do what a shell and curl would do with the line."""
    words = shlex.split(curl)
    assert words[:2] == ["curl", "-sS"]
    headers = [words[i + 1] for i, word in enumerate(words) if word == "-H"]
    request = urllib.request.Request(words[2], data=words[words.index("-d") + 1].encode())
    for header in headers:
        request.add_header(*header.split(": ", 1))
    with urllib.request.urlopen(request, timeout=30.0) as response:
        return response.status, json.load(response)


@pytest.mark.slow
def test_the_line_printed_at_the_first_start_works_as_it_stands(story):
    assert story.status == 200
    assert story.answer["results"][0]["penstock"]["decision"] == "approved"


@pytest.mark.slow
def test_the_first_start_prints_the_admin_key_and_a_later_one_only_the_address(story):
    assert "Admin key, shown this once: psk_" in story.first.printed
    assert len(story.second.printed.splitlines()) == 1
    assert "psk_" not in story.second.printed


@pytest.mark.slow
def test_the_key_is_in_no_log(story):
    assert "psk_" not in story.first.logged + story.second.logged


@pytest.mark.slow
def test_sigint_and_sigterm_end_the_server_without_a_fuss(story):
    assert story.codes == (0, 0)
    assert "Traceback" not in story.first.logged + story.second.logged
    assert "Application shutdown complete" in story.first.logged
    assert "Application shutdown complete" in story.second.logged


@pytest.mark.slow
def test_two_workers_share_the_port(serve, tmp_path: Path):
    server = serve(tmp_path / "home", "serve", "--workers", "2")
    url = server.read_line().split()[3].rstrip(",")

    server.wait_for("Application startup complete", times=2)
    alive = first_answer(f"{url}/livez", server)
    code = server.stop(signal.SIGTERM)

    assert alive == {"status": "alive"}
    assert code == 0
    assert "Traceback" not in server.logged


def first_answer(url: str, server: Any) -> dict[str, object]:
    """What is answered once the workers listen, which they do after they say they are ready."""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10.0) as response:
                return json.load(response)
        except OSError:
            assert server.process.poll() is None, server.logged


@pytest.mark.slow
def test_the_launcher_of_the_source_systems_starts_the_server(serve, tmp_path: Path):
    server = serve(tmp_path / "home", program=(str(REPOSITORY / "compat" / "app.py"),))

    line = server.read_line()
    code = server.stop(signal.SIGTERM)

    assert line.startswith("Penstock ")
    assert code == 0


@pytest.mark.slow
def test_the_launcher_finds_a_checkout_that_was_not_installed():
    packages = Path(click.__file__).parents[1]

    done = subprocess.run(
        [sys.executable, "-S", str(REPOSITORY / "compat" / "app.py"), "--help"],
        env={"PYTHONPATH": str(packages)},  # -S: what was installed editable is not seen
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Serve the HTTP API until SIGINT or SIGTERM." in done.stdout
    assert done.stderr == ""


def test_a_port_in_use_is_named_with_a_free_one(run, home: Path, monkeypatch):
    monkeypatch.setattr("penstock.cli.port.PROBE_SECONDS", 0.05)  # nobody will answer
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        result = run("serve", "--port", str(port))

    assert result.exit_code == 3
    assert f"error: port {port} of 127.0.0.1 is in use by another program" in result.stderr
    assert "fix: stop that program, or take another port: penstock serve --port" in result.stderr
    assert not home.exists()


@pytest.mark.parametrize(
    ("host", "code", "said"),
    [
        ("192.0.2.1", 3, "192.0.2.1 is not an address of this machine"),
        ("nobody.invalid", 3, "no address is known for the host 'nobody.invalid'"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_explained(run, host, code, said):
    result = run("serve", "--host", host)

    assert result.exit_code == code
    assert said in result.stderr
    assert "fix: listen on 127.0.0.1" in result.stderr


def test_authentication_off_is_refused_where_others_can_connect(run, monkeypatch):
    monkeypatch.setenv("PENSTOCK_AUTH", "off")

    result = run("serve", "--host", "0.0.0.0", "--port", "0")

    assert result.exit_code == 2
    assert "without authentication only this machine is served" in result.stderr


def test_a_wrong_setting_is_told_before_anything_is_served(run, monkeypatch):
    monkeypatch.setenv("PENSTOCK_POLICY", "/nowhere.toml")

    result = run("serve", "--port", "0")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        "error: policy /nowhere.toml cannot be read: No such file or directory\n"
    )


def test_reload_and_workers_exclude_one_another(run):
    result = run("serve", "--reload", "--workers", "2")

    assert result.exit_code == 2
    assert "--reload works with one process" in result.stderr


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("box.example", "http://box.example:80"),
    ],
)
def test_the_printed_address_is_one_that_can_be_called(host, url):
    assert base_url(host, 80) == url


@pytest.mark.parametrize(
    ("host", "answer"),
    [("localhost", True), ("127.8.8.8", True), ("::1", True), ("0.0.0.0", False), ("x", False)],
)
def test_loopback_is_what_only_this_machine_reaches(host, answer):
    assert is_loopback(host) is answer


def test_the_printed_line_survives_a_shell():
    text = greeting("http://127.0.0.1:1", "psk_a'b")

    line = next(line for line in text.splitlines() if "curl" in line)

    assert "Authorization: Bearer psk_a'b" in shlex.split(line)
