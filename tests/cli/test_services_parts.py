"""What `penstock services` decides and writes, without starting what it decides on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from penstock.cli import services_proxy as proxy
from penstock.cli.failure import Failure
from penstock.cli.services import _wanted
from penstock.cli.services_jobs import round_trip
from penstock.cli.services_ledger import (
    Ledger,
    Record,
    ended,
    identity,
    is_alive,
    send,
    warn_if_running,
)
from penstock.cli.services_lifecycle import Lifecycle
from penstock.cli.services_plan import Service, Wanted, check, plan
from penstock.observe.metrics import Metrics
from penstock.opening import open_layer_queue
from penstock.settings import Settings
from penstock.tasks import open_queue
from penstock.tasks.task import declare

BROKER = "redis://127.0.0.1:1/1"  # where nothing listens


@declare(name="test.wait")
async def wait() -> None: ...


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def record_of(process: subprocess.Popen[bytes], **changed: object) -> Record:
    known = {
        "name": "worker-1",
        "kind": "worker",
        "pid": process.pid,
        "began": identity(process.pid),
        "started_at": 1,
        "command": ("sleep", "60"),
        "log": "/dev/null",
    }
    return Record(**{**known, **changed})  # type: ignore[arg-type]


def test_the_process_of_a_record_is_signalled_and_waited_for(sleeper):
    record = record_of(sleeper)

    assert is_alive(record)
    assert send(record, signal.SIGTERM)
    assert ended(record, within=10.0)
    assert not send(record, signal.SIGTERM)


def test_a_process_that_got_the_number_of_a_dead_one_is_never_signalled(sleeper):
    recycled = record_of(sleeper, began="another boot/17")

    assert not is_alive(recycled)
    assert not send(recycled, signal.SIGKILL)
    assert not send(recycled, signal.SIGKILL, group=True)
    assert ended(recycled, within=0.0)
    assert sleeper.poll() is None


def test_a_process_that_does_not_end_is_waited_for_no_longer_than_said(sleeper):
    assert not ended(record_of(sleeper), within=0.01)


def test_a_zombie_is_dead(sleeper):
    record = record_of(sleeper)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)

    assert not is_alive(record)


def test_records_outlive_the_command_and_a_broken_one_is_passed_over(tmp_path: Path, sleeper):
    ledger = Ledger(tmp_path)
    record = record_of(sleeper)
    with ledger.held():
        ledger.write(record)
    (ledger.folder / "api-9.json").write_text("{")

    assert Ledger(tmp_path).records() == [record]
    ledger.forget("worker-1")
    assert ledger.records() == []


def test_who_works_beside_processes_is_told_of_them(tmp_path: Path, sleeper, capsys):
    ledger = Ledger(tmp_path)
    with ledger.held():
        ledger.write(record_of(sleeper, port=8000))
        ledger.write(record_of(sleeper, name="api-1", began="another boot/17"))

    warn_if_running(tmp_path, "the copy misses what they write")
    warn_if_running(tmp_path / "nowhere", "this is not said")

    assert capsys.readouterr().err == (
        f"warning: at work now: worker-1 (pid {sleeper.pid}, port 8000); "
        "the copy misses what they write\n"
    )


def test_two_calls_at_once_are_refused(tmp_path: Path):
    other = Ledger(tmp_path).held()

    with Ledger(tmp_path).held(), pytest.raises(Failure, match="another penstock services"):
        other.__enter__()


def commands(wanted: Wanted, **settings: object) -> dict[str, str]:
    chosen = Settings(home=Path("data"), **settings)  # type: ignore[arg-type]
    return {
        each.name: " ".join(each.command[1:])
        for each in plan(chosen, wanted, folder=Path("data/services"))
    }


def test_embedded_servers_leave_jobs_to_workers_where_there_are_some():
    settings = Settings(home=Path("data"))

    alone = plan(settings, Wanted(ports=(8000,)), folder=Path())
    served = plan(settings, Wanted(ports=(8000,), workers=1), folder=Path())

    assert alone[0].environ == {}
    assert served[0].environ == {"PENSTOCK_TASK_WORKERS": "0"}


def test_with_celery_its_own_command_line_is_used():
    url = "redis://:secret@127.0.0.1:6379/1"

    told = commands(
        Wanted(workers=2, concurrency=4, beat=True, flower=5555),
        celery_broker_url=url,
        tasks="celery",
    )

    assert told["worker-2"] == (
        "-m celery -A penstock.celery_app worker -n worker-2@%h "
        "-Q default,conversations,analytics,notifications,maintenance --loglevel info "
        "--concurrency 4"
    )
    assert told["beat"].startswith("-m celery -A penstock.celery_app beat ")
    assert told["flower"].startswith("-m celery -A penstock.celery_app flower --port=5555 ")
    assert "secret" not in " ".join(told.values())


@pytest.mark.parametrize(
    ("wanted", "tasks", "said"),
    [
        (Wanted(workers=1), "inline", "runs jobs where they are enqueued"),
        (Wanted(beat=True), "embedded", "--beat is Celery's"),
        (Wanted(flower=5555), "embedded", "Flower shows Celery's workers"),
        (Wanted(ports=(8000, 8001), proxy=8001), "embedded", "one port is named twice"),
    ],
)
def test_what_cannot_be_started_is_refused(wanted, tasks, said):
    with pytest.raises(click.UsageError, match=said):
        check(Settings(tasks=tasks), wanted)


def test_what_was_wanted_is_remembered(tmp_path: Path):
    wanted = Wanted(ports=(1, 2), workers=3, proxy=4)
    wanted.save(tmp_path)

    assert Wanted.load(tmp_path) == wanted
    assert Wanted.load(tmp_path / "nowhere") is None


def test_servers_behind_a_proxy_believe_it_alone():
    (server,) = plan(Settings(), Wanted(ports=(8000,), proxy=8080), folder=Path())[:1]

    assert server.environ["PENSTOCK_TRUSTED_PROXIES"] == "127.0.0.1"
    assert "--host 127.0.0.1" in " ".join(server.command)


@pytest.mark.parametrize("servers", [1, 2, 3])
def test_nginx_takes_the_configuration(tmp_path: Path, servers: int):
    folder = tmp_path / "a folder"
    (folder / "tmp").mkdir(parents=True)
    config = folder / "nginx.conf"
    ports = range(8000, 8000 + servers)
    config.write_text(
        proxy.configuration(Settings(), folder=folder, port=8080, ports=ports, host="127.0.0.1")
    )

    done = subprocess.run(
        [*proxy.command(config), "-t"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "successful" in done.stderr
    assert config.read_text().count("if (-f") == (servers if servers > 1 else 0)


def test_a_path_that_would_end_a_directive_is_refused(tmp_path: Path):
    with pytest.raises(Failure, match="nginx cannot be told"):
        proxy.configuration(
            Settings(), folder=tmp_path / 'x";', port=1, ports=(2,), host="127.0.0.1"
        )


def test_a_machine_without_nginx_is_told_what_to_install(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(proxy, "_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Failure, match="nginx is not installed"):
        proxy.program()


def test_a_taken_port_is_told_before_anything_is_started(run, home: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("services", "start", "--ports", str(taken.getsockname()[1]))

    assert result.exit_code == 3
    assert "is in use by another program" in result.stderr
    assert not list((home / "services").glob("*.json"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--servers", "3", "--ports", "1,2"], "disagree"),
        (["--servers", "0", "--proxy", "8080"], "--proxy needs servers"),
        (["--ports", "x"], "ports are numbers"),
        (["--queues", "fast"], "no queue is called 'fast'"),
        (["--flower"], "Flower shows Celery's workers"),
    ],
)
def test_a_wrong_call_is_explained(run, options, said):
    result = run("services", "start", *options)

    assert result.exit_code == 2
    assert said in result.stderr


def test_status_of_nothing_says_how_to_start(run):
    result = run("services", "status")

    assert result.exit_code == 1
    assert "nothing was started here" in result.stdout


def test_of_what_died_status_tells_the_last_words(run, home: Path, sleeper, tmp_path):
    log = tmp_path / "worker-1.log"
    log.write_text("".join(f"line {n}\n" for n in range(30)) + "\x1b[31mno space left\n")
    ledger = Ledger(home)
    with ledger.held():
        ledger.write(record_of(sleeper, name="worker-1", began="another boot/17", log=str(log)))
        ledger.write(record_of(sleeper, name="worker-2", began="x/1", log=str(tmp_path / "gone")))

    shown = run("services", "status")
    told = json.loads(run("services", "status", "--json").stdout)

    assert shown.exit_code == 1
    assert (
        f"worker-1 (pid {sleeper.pid}) died; what it wrote last, in {log}:\n  line 21"
        in shown.stdout
    )
    assert "no space left\n" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "line 20" not in shown.stdout
    assert "  nothing\n" in shown.stdout
    assert "penstock services start" in shown.stdout
    assert told["status"] == "failed"
    assert [len(each["last_lines"]) for each in told["processes"]] == [10, 0]


async def test_a_round_trip_through_a_queue_that_nobody_serves_is_given_up(tmp_path: Path):
    settings = Settings(home=tmp_path, log_level="error")
    async with open_queue(settings.task_engine, workers={"analytics": 1}):
        (trip,) = await round_trip(settings, ["default"], seconds=0.1)

    assert trip.seconds is None
    assert "was run by nobody within 0.1 s" in trip.where


@pytest.mark.parametrize("broker", [False, True])
def test_without_a_worker_nothing_is_sent_and_waited_for(run, home, redis, monkeypatch, broker):
    if broker:
        monkeypatch.setenv("CELERY_BROKER_URL", redis.database(1))

    result = run("services", "test")
    queues = json.loads(run("services", "status", "--json").stdout)["queues"]

    assert result.exit_code == 1
    if broker:
        assert f"no worker takes jobs from {redis.database(1)}" in result.stderr
    else:
        assert f"no process runs jobs of {home / 'tasks.db'}" in result.stderr
    assert "fix: penstock services start" in result.stderr
    assert {each["backlog"] for each in queues} == {0}


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ({}, "set CELERY_BROKER_URL, or PENSTOCK_TASKS=celery and REDIS_URL"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "set PENSTOCK_TASKS=celery, or CELERY_BROKER_URL"),
    ],
)
def test_to_start_nothing_is_no_success(run, home, monkeypatch, variable, said):
    for name, value in variable.items():
        monkeypatch.setenv(name, value)

    result = run("services", "start", "--servers", "0")

    assert result.exit_code == 2
    assert "no broker is set for workers" in result.stderr
    assert f"fix: {said}; without Celery: --workers 1" in result.stderr
    assert "runs already" not in result.output


def test_a_monitor_of_a_silent_broker_says_so(run, monkeypatch):
    monkeypatch.setattr("penstock.cli.services_health.ASK_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/1")

        result = run("services", "monitor")

    assert result.exit_code == 3
    assert "does not answer in time" in result.stderr


@pytest.mark.parametrize(
    ("given", "engine"),
    [
        ({}, ""),
        ({"REDIS_HOST": "h"}, "celery"),
        ({"REDIS_URL": "redis://h"}, "celery"),
        ({"REDIS_URL": "redis://h", "PENSTOCK_TASKS": "embedded"}, "embedded"),
        ({"REDIS_URL": "redis://h", "CELERY_BROKER_URL": "redis://h/1"}, ""),
    ],
)
def test_the_script_of_the_source_system_means_celery_where_a_redis_is_set(tmp_path, given, engine):
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$PENSTOCK_TASKS"\n')
    program.chmod(0o755)
    script = Path(__file__).parents[2] / "scripts" / "celery-manager.sh"

    done = subprocess.run(
        [str(script), "start"],
        env={**os.environ, "PENSTOCK": str(program), **given},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == f"{engine}\n"
    implied = engine == "celery"
    assert ("set it for the servers too" in done.stderr) is implied


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["start", "--workers", "2"], "services start --servers 0 --workers 2"),
        (["stop"], "services stop"),
        (["restart"], "services restart"),
        (["status"], "services status"),
        (["monitor"], "services monitor"),
        (["flower"], "services flower"),
        (["test"], "services test"),
        (["logs", "analytics"], "services logs analytics"),
    ],
)
def test_the_script_of_the_source_system_is_the_same_command(words, command):
    script = Path(__file__).parents[2] / "scripts" / "celery-manager.sh"

    done = subprocess.run(
        [str(script), *words],
        env={**os.environ, "PENSTOCK": "echo"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == f"{command}\n"


def test_the_script_without_a_verb_says_which_there_are():
    script = Path(__file__).parents[2] / "scripts" / "celery-manager.sh"

    done = subprocess.run([str(script)], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "start|stop|restart|status|monitor|flower|test|logs" in done.stderr


def test_a_broker_that_is_gone_is_told_in_the_table(run, home: Path, sleeper, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CELERY_BROKER_URL", BROKER)
    ledger = Ledger(home)
    with ledger.held():
        ledger.write(record_of(sleeper))

    result = run("services", "status")

    assert result.exit_code == 1
    assert f"cannot be asked: {BROKER} cannot be reached" in result.stdout
    assert "hub." not in result.stderr


def test_a_broker_s_wrong_password_is_told_in_the_table(run, home, sleeper, own_redis, monkeypatch):
    server = own_redis(password="open-sesame")
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://:wrong-one@127.0.0.1:{server.port}/1")
    ledger = Ledger(home)
    with ledger.held():
        ledger.write(record_of(sleeper))

    result = run("services", "status")

    assert "cannot be asked: " in result.stdout
    assert "refuses the name or the password" in result.stdout
    assert "wrong-one" not in result.output


def test_workers_are_not_started_without_their_broker(run, home: Path, monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", BROKER)

    result = run("services", "start")

    assert result.exit_code == 3
    assert f"{BROKER} cannot be reached" in result.stderr
    assert not list((home / "services").glob("*.json"))


def test_a_start_that_fails_names_what_runs_and_how_to_end_it(tmp_path: Path, monkeypatch):
    said: list[str] = []
    lifecycle = Lifecycle(Settings(home=tmp_path), say=said.append, patience=10.0)
    sleeping = Service("worker-1", "worker", ("sleep", "60"), {})
    broken = Service("api-1", "api", ("false",), {}, 1)
    planned = [broken, sleeping]
    monkeypatch.setattr("penstock.cli.services_lifecycle.plan", lambda *_, **__: planned)
    try:
        with pytest.raises(Failure, match="api-1 ended as soon as it was started") as caught:
            lifecycle.start(Wanted())

        (record,) = lifecycle.ledger.alive().values()
        left = f"worker-1 (pid {record.pid}) run on: penstock services stop ends them"
        assert caught.value.fix.endswith(left)
    finally:
        lifecycle.stop()


def test_a_plain_start_goes_on_with_what_was_started_last(run, home: Path, sleeper):
    """Its only process lives: with the usual options a server would be started."""
    ledger = Ledger(home)
    with ledger.held():
        ledger.write(record_of(sleeper))
        Wanted(workers=1).save(ledger.folder)

    result = run("services", "start")

    assert result.exit_code == 0
    assert "all of it runs already" in result.stdout
    assert (Wanted.load(ledger.folder) or Wanted()).workers == 1


def test_another_engine_has_other_workers(tmp_path: Path):
    celery = Settings(home=tmp_path, tasks="celery", celery_broker_url=BROKER)
    embedded = Settings(home=tmp_path)
    before = _wanted(embedded, {"ports": (8000, 8001), "proxy": 8080}, None)

    after = _wanted(celery, {}, before)
    back = _wanted(embedded, {}, after)

    assert (after.ports, after.proxy, after.workers, after.beat) == ((8000, 8001), 8080, 1, True)
    assert back == before


async def leave_jobs(home: Path, number: int) -> None:
    settings = Settings(home=home, log_level="error", task_workers=0)
    async with open_layer_queue(settings, metrics=Metrics()) as queue:
        await queue.enqueue_many(wait, [()] * number)


@pytest.mark.parametrize(("number", "said"), [(1, "1 job waits in "), (3, "3 jobs wait in ")])
def test_jobs_from_before_the_broker_are_not_forgotten(run, home, redis, monkeypatch, number, said):
    asyncio.run(leave_jobs(home, number))
    monkeypatch.setenv("PENSTOCK_PORT", "0")
    unset = run("doctor", "--json")
    monkeypatch.setenv("CELERY_BROKER_URL", redis.database(1))

    told = run("doctor").stdout
    started = run("services", "start", "--servers", "0", "--workers", "0", "--no-beat")

    assert "jobs left" not in unset.stdout
    assert f"{said}{home / 'tasks.db'}" in told
    assert "fix: start once without CELERY_BROKER_URL" in told
    assert f"warning: {said}{home / 'tasks.db'}" in started.stderr
