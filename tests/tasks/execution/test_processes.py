"""Children are processes: each test starts some."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from penstock.tasks.engine import Completed, Failed, Outcome, Stopped
from penstock.tasks.task import declare
from tests.tasks.execution import functions
from tests.tasks.execution.conftest import DEADLINE, Rig, soon

pytestmark = pytest.mark.slow


async def gone(pid: int) -> None:
    """Return when there is no such process any more, or it has only to be reaped."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), DEADLINE)
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)


async def test_a_child_gives_a_result_and_is_used_again(rig: Rig) -> None:
    assert await rig.run(functions.double, 21) == Completed(b"42")

    first, second = await rig.run(functions.pid), await rig.run(functions.pid)

    assert first == second != Completed(str(os.getpid()).encode())


async def test_a_child_carries_large_results(rig: Rig) -> None:
    outcome = await rig.run(functions.large)

    assert isinstance(outcome, Completed)
    assert len(outcome.result) == (3 << 20) + 2


async def test_children_work_at_once_but_no_more_than_allowed(
    make_rig: Callable[..., Rig], tmp_path: Path
) -> None:
    rig = make_rig(processes=2, cancel_grace=5.0)
    folders = [str(tmp_path / name) for name in "abc"]
    for folder in folders:
        Path(folder).mkdir()

    outcomes = [rig.start(functions.endless, folder) for folder in folders]
    await rig.progress(1)
    await rig.progress(2)
    assert not Path(folders[2], "pid").exists()
    rig.execution.cancel(1)

    assert await soon(outcomes[0]) == Stopped()
    await rig.progress(3)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("value", ("ValueError", "wrong number", True, None)),
        ("retry", ("Retry", "busy", True, 7.0)),
        ("input", ("InvalidInput", "not so", False, None)),
        ("exit", ("SystemExit", "3", False, None)),
    ],
)
async def test_a_failure_in_a_child_is_told_as_everywhere(
    rig: Rig, kind: str, expected: tuple[object, ...]
) -> None:
    outcome = await rig.run(functions.wrong, kind)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.message, outcome.retryable, outcome.after) == expected
    assert "in wrong\n" in outcome.traceback
    assert "child.py" not in outcome.traceback


async def test_a_result_of_a_child_that_is_no_json_fails_for_good(rig: Rig) -> None:
    outcome = await rig.run(functions.unencodable)

    assert isinstance(outcome, Failed)
    assert not outcome.retryable


async def test_a_function_that_its_child_cannot_import_is_a_failure(rig: Rig) -> None:
    def missing() -> None: ...

    missing.__module__, missing.__qualname__ = "no_such_module", "missing"

    outcome = await rig.run(declare(process=True)(missing))

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.message) == (
        "ModuleNotFoundError",
        "No module named 'no_such_module'",
    )


async def test_a_child_knows_its_job_and_nothing_of_the_last_one(rig: Rig) -> None:
    first = await rig.run(functions.who, owner="o", request_id="r", attempt=2)
    second = await rig.run(functions.who)

    assert first == Completed(b'["job_1",2,"o","r","none"]')
    assert second == Completed(b'["job_2",1,null,null,"none"]')


async def test_progress_of_a_child_arrives_and_its_last_before_the_result(rig: Rig) -> None:
    await rig.run(functions.steps, 5_000)

    assert rig.reported[-1][1].done == 5_000
    assert len(rig.reported) < 500


async def test_a_child_that_is_killed_loses_its_job(rig: Rig) -> None:
    outcome = await rig.run(functions.killed, signal.SIGKILL)

    assert outcome == Failed("Lost", "its process was ended by SIGKILL", retryable=True)
    assert await rig.run(functions.double, 2) == Completed(b"4")


async def test_a_lost_job_that_may_run_once_is_not_retried(rig: Rig) -> None:
    outcome = await rig.run(functions.once, signal.SIGKILL)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.retryable) == ("Lost", False)


async def test_a_child_without_a_pidfd_is_missed_by_its_closed_stream(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on systems that have none."""
    monkeypatch.delattr(os, "pidfd_open")

    outcome = await rig.run(functions.killed, signal.SIGKILL)

    assert outcome == Failed("Lost", "its process was ended by SIGKILL", retryable=True)


async def test_only_its_parent_tells_a_child_at_work_to_end(rig: Rig) -> None:
    """systemd sends SIGTERM to all processes of a service that it stops."""
    assert await rig.run(functions.unmoved) == Completed(b'"went on"')


async def test_a_child_that_sends_nonsense_is_killed(rig: Rig) -> None:
    outcome = await rig.run(functions.babble)

    assert isinstance(outcome, Failed)
    assert outcome.type == "Lost"


async def test_a_child_that_does_not_start_in_time_loses_the_job(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.tasks.execution.process.START_SECONDS", 0.001)

    outcome = await rig.run(functions.double, 1)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.retryable) == ("Lost", True)


async def test_a_dead_child_is_noticed_although_something_holds_its_stream(
    rig: Rig, tmp_path: Path
) -> None:
    outcome = await rig.run(functions.forking, str(tmp_path))

    assert isinstance(outcome, Failed)
    assert outcome.type == "Lost"


async def test_an_idle_child_that_was_killed_costs_no_attempt(rig: Rig) -> None:
    first = await rig.run(functions.pid)
    assert isinstance(first, Completed)

    os.kill(int(first.result), signal.SIGKILL)

    assert await rig.run(functions.double, 3) == Completed(b"6")


async def test_a_function_that_takes_too_long_is_ended(rig: Rig, tmp_path: Path) -> None:
    outcome = await rig.run(functions.too_long, str(tmp_path))

    assert isinstance(outcome, Failed)
    assert outcome[:2] == ("Timeout", "it took longer than its 0.3 s")
    assert outcome.retryable
    assert "in too_long\n" in outcome.traceback
    await gone(int((tmp_path / "pid").read_text()))


async def test_a_cancelled_function_may_clean_up(
    make_rig: Callable[..., Rig], tmp_path: Path
) -> None:
    rig = make_rig(cancel_grace=DEADLINE)
    outcome = rig.start(functions.polite, str(tmp_path))
    await rig.progress()
    rig.execution.cancel(1)

    assert await soon(outcome) == Stopped()
    assert (tmp_path / "cleaned").exists()


async def test_a_function_that_ignores_its_cancel_is_killed(rig: Rig, tmp_path: Path) -> None:
    outcome = rig.start(functions.deaf, str(tmp_path))
    await rig.progress()
    rig.execution.cancel(1)

    assert await soon(outcome) == Stopped()
    await gone(int((tmp_path / "pid").read_text()))


async def test_what_a_function_started_ends_with_it(rig: Rig, tmp_path: Path) -> None:
    outcome = rig.start(functions.family, str(tmp_path))
    await rig.progress()
    rig.execution.cancel(1)

    assert await soon(outcome) == Stopped()
    await gone(int((tmp_path / "grandchild").read_text()))


async def test_a_job_that_waits_for_a_child_is_cancelled_at_once(
    make_rig: Callable[..., Rig], tmp_path: Path
) -> None:
    rig = make_rig(processes=1)
    rig.start(functions.endless, str(tmp_path))
    await rig.progress()
    waiting = rig.start(functions.double, 1)
    await asyncio.sleep(0)
    rig.execution.cancel(2)

    assert await soon(waiting) == Stopped(has_begun=False)
    rig.execution.cancel(1)
    assert await rig.run(functions.double, 1) == Completed(b"2")


async def test_a_job_is_cancelled_while_its_child_starts(rig: Rig) -> None:
    outcome = rig.start(functions.double, 1)
    await asyncio.sleep(0)
    rig.execution.cancel(1)

    assert await soon(outcome) == Stopped(has_begun=False)
    assert await rig.run(functions.double, 2) == Completed(b"4")


async def test_a_machine_that_starts_no_process_loses_the_job(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    outcome = await rig.run(functions.double, 1)

    assert isinstance(outcome, Failed)
    assert outcome.type == "Lost"
    assert "/nowhere/python" in outcome.message


async def test_children_end_when_the_execution_closes(
    make_rig: Callable[..., Rig], tmp_path: Path
) -> None:
    rig = make_rig(cancel_grace=0.2)
    idle = await rig.run(functions.pid)
    assert isinstance(idle, Completed)
    busy = rig.start(functions.deaf, str(tmp_path))
    await rig.progress(2)

    await rig.execution.aclose()

    assert await soon(busy) == Stopped()
    await gone(int(idle.result))
    await gone(int((tmp_path / "pid").read_text()))


def test_all_kinds_work_on_the_servers_event_loop_too(tmp_path: Path) -> None:
    @declare()
    async def coroutine() -> int:
        return 1

    @declare()
    def plain() -> int:
        return 2

    async def outcomes() -> list[Outcome]:
        rig = Rig(cancel_grace=0.2)
        found = [await rig.run(task) for task in (coroutine, plain)]
        found.append(await rig.run(functions.double, 2))
        found.append(await rig.run(functions.killed, signal.SIGKILL))
        cancelled = rig.start(functions.endless, str(tmp_path))
        await rig.progress(5)
        rig.execution.cancel(5)
        found.append(await soon(cancelled))
        await rig.execution.aclose()
        return found

    assert uvloop.run(outcomes()) == [
        Completed(b"1"),
        Completed(b"2"),
        Completed(b"4"),
        Failed("Lost", "its process was ended by SIGKILL"),
        Stopped(),
    ]


def test_a_child_dies_with_its_parent_however_that_died(tmp_path: Path) -> None:
    program = (
        "import asyncio; from tests.tasks.execution import functions; "
        f"asyncio.run(functions.parent({json.dumps(str(tmp_path))}))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"running\n"
        parent.kill()

    for name in ("pid", "grandchild"):
        asyncio.run(gone(int((tmp_path / name).read_text())))
