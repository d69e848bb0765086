"""The image: its Dockerfile read line by line, its scripts, and the configuration of its nginx."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from benchmarks.rigs.servers import free_port, wait_until
from penstock.cli.services_proxy import configuration, program
from penstock.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HERE = "127.0.0.1"
SCRIPTS = [DEPLOY / "entrypoint.sh", DEPLOY / "penstock", ROOT / "scripts" / "celery-manager.sh"]


def instructions() -> list[tuple[str, str]]:
    lines = (DEPLOY / "Dockerfile").read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", text)
    return [
        (word.upper(), rest.strip())
        for line in joined.splitlines()
        if line.strip()
        for word, _, rest in [line.partition(" ")]
    ]


def last(word: str) -> str:
    return [rest for name, rest in instructions() if name == word][-1]


def test_both_stages_are_python_313_slim():
    stages = [rest.split()[0] for name, rest in instructions() if name == "FROM"]

    assert stages == ["python:3.13-slim", "python:3.13-slim"]


def test_it_runs_as_a_number_that_is_not_root():
    user, _, group = last("USER").partition(":")

    assert int(user) > 0
    assert int(group) > 0


def test_everything_installed_is_locked_by_hash():
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]

    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "--only-binary :all:" in installs[0]
    assert not [rest for name, rest in instructions() if name == "RUN" and "apt-get" in rest]


def test_signals_reach_the_role():
    assert last("ENTRYPOINT") == '["/opt/bin/entrypoint.sh"]'
    assert last("CMD") == '["api"]'
    lines = [line.strip() for line in script("entrypoint.sh").splitlines()]
    ways = [line for line in lines if re.match(r"(exec )?(penstock|\$celery|\"\$role\") ", line)]
    assert len(ways) == 7
    assert all(way.startswith("exec ") for way in ways)


def test_it_has_a_health_check():
    assert "/opt/bin/healthcheck.py" in last("HEALTHCHECK")


def test_what_is_copied_is_there_and_not_ignored():
    kept = [
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]
    copied = [
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in [word for word in shlex.split(rest) if not word.startswith("--")][:-1]
    ]

    assert set(copied) == set(kept)
    assert all((ROOT / source).exists() for source in copied)
    assert not any(fnmatch(".venv/bin/python", pattern) for pattern in kept)


def script(name: str) -> str:
    return (DEPLOY / name).read_text("utf-8")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_sound(path: Path):
    assert os.access(path, os.X_OK)
    shells = [["sh", "-n", str(path)], ["bash", "-n", str(path)]]
    if shutil.which("shellcheck"):
        shells.append(["shellcheck", str(path)])
    for command in shells:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_nginx_takes_the_configuration_of_the_containers(tmp_path: Path):
    config = tmp_path / "nginx.conf"
    # The container's temporary folder, which is not ours to write.
    config.write_text((DEPLOY / "nginx.conf").read_text("utf-8").replace(" /tmp/", f" {tmp_path}/"))

    done = subprocess.run(
        [program(), "-e", "stderr", "-t", "-p", str(tmp_path), "-c", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "test is successful" in done.stderr


def test_redis_takes_its_configuration(own_redis, tmp_path: Path):
    """Each line, but for those that say where it listens and writes."""
    lines = [line.split() for line in script("redis.conf").splitlines() if line[:1].isalpha()]
    where = {"bind", "port", "dir", "protected-mode", "save", "appendonly"}
    options = [word for key, *rest in lines if key not in where for word in (f"--{key}", *rest)]

    server = own_redis(*options, password="x")

    told = server.ask(b"AUTH x\r\nCONFIG GET maxmemory-policy\r\n", replies=6)
    assert b"volatile-lru" in told


@pytest.mark.parametrize("auth", ["", "operator", "operator:", ":secret", "a:b,operator:", "a:b,"])
def test_flower_does_not_start_without_a_user_and_a_password(tmp_path: Path, auth: str):
    done = subprocess.run(
        ["sh", str(DEPLOY / "entrypoint.sh"), "flower"],
        env={"PATH": os.environ["PATH"], "FLOWER_BASIC_AUTH": auth},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "set FLOWER_BASIC_AUTH=user:password" in done.stderr


@pytest.mark.parametrize("auth", ["who:secret", "a:b,who:se:cret"])
def test_flower_starts_with_both(tmp_path: Path, auth: str):
    (tmp_path / "celery").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "celery").chmod(0o755)

    done = subprocess.run(
        ["sh", str(DEPLOY / "entrypoint.sh"), "flower"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "FLOWER_BASIC_AUTH": auth},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split()[:3] == ["-A", "penstock.celery_app", "flower"]


class Seen(BaseHTTPRequestHandler):
    """Answers with who is said to have called."""

    def do_GET(self) -> None:
        body = repr(self.headers.get_all("X-Forwarded-For")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("which", ["of the containers", "of penstock services"])
def test_nobody_writes_his_own_address(tmp_path: Path, which: str):
    port = free_port()
    with HTTPServer(("127.0.0.1", 0), Seen) as server:
        config = tmp_path / "nginx.conf"
        config.write_text(
            _of_the_containers(tmp_path, port, server.server_port)
            if which == "of the containers"
            else configuration(
                Settings(), folder=tmp_path, port=port, ports=[server.server_port], host=HERE
            )
        )
        (tmp_path / "tmp").mkdir()
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        command = [program(), "-e", "stderr", "-p", str(tmp_path), "-c", str(config)]
        off = [] if which != "of the containers" else ["-g", "daemon off;"]
        nginx = subprocess.Popen(
            [*command, *off], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: _listens(port), lambda: None)
            told = httpx.get(
                f"http://{HERE}:{port}/", headers={"X-Forwarded-For": "6.6.6.6, 192.168.1.77"}
            )
        finally:
            nginx.terminate()
            nginx.communicate(timeout=30)
            server.shutdown()
            thread.join()

    assert told.text == f"['{HERE}']"


def _of_the_containers(folder: Path, port: int, server: int) -> str:
    """Their file, with what is there only inside of them replaced."""
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    for theirs, ours in (
        (" /tmp/", f" {folder}/"),
        ("/dev/stdout", "off"),
        ("access_log off json", "access_log off"),
        ("listen 8080", f"listen {HERE}:{port}"),
        ("set $penstock api;", f"set $penstock {HERE};"),
        ("$penstock:8000", f"$penstock:{server}"),
    ):
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    return text


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HERE, port)) == 0
