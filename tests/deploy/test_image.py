"""The image: its Dockerfile read line by line, its scripts, and the configuration of its nginx."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from penstock.cli.services_proxy import program

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
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
