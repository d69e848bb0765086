"""What the children of these tests run: they import it by its name."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextvars import ContextVar
from pathlib import Path

from penstock.errors import InvalidInput
from penstock.observe.logging import request_id
from penstock.tasks.context import ctx
from penstock.tasks.retry import Retry
from penstock.tasks.task import declare

mark: ContextVar[str] = ContextVar("mark", default="none")


@declare(process=True)
def double(number: int) -> int:
    return 2 * number


@declare(process=True)
def pid() -> int:
    return os.getpid()


@declare(process=True)
def who() -> list[str | int | None]:
    before = mark.get()
    mark.set("left by the last job")
    return [ctx.job_id, ctx.attempt, ctx.owner, request_id.get(), before]


@declare(process=True)
def wrong(kind: str) -> None:
    if kind == "retry":
        raise Retry("busy", after=7.0)
    if kind == "input":
        raise InvalidInput("not so")
    if kind == "exit":
        sys.exit(3)
    raise ValueError("wrong number")


@declare(process=True)
def unencodable() -> object:
    return object()


@declare(process=True)
def large() -> str:
    return "x" * (3 << 20)


@declare(process=True)
def killed(number: int) -> None:
    os.kill(os.getpid(), number)
    threading.Event().wait(60)


@declare(process=True)
def unmoved() -> str:
    os.kill(os.getpid(), signal.SIGTERM)
    return "went on"


@declare(process=True)
def babble() -> None:
    os.write(int(sys.argv[1]), b"\xff" * 8)
    threading.Event().wait(60)


@declare(process=True)
def steps(count: int) -> int:
    for done in range(1, count + 1):
        ctx.progress(done, count, note="steps")
    return count


@declare(process=True, timeout=0.3)
def too_long(folder: str) -> None:
    block(folder)


@declare(process=True)
def endless(folder: str) -> None:
    block(folder)


@declare(process=True)
def polite(folder: str) -> None:
    try:
        block(folder)
    finally:
        Path(folder, "cleaned").touch()


@declare(process=True)
def deaf(folder: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    block(folder)


@declare(process=True)
def family(folder: str) -> None:
    script = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(600)"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        Path(folder, "grandchild").write_text(process.stdout.readline())
        block(folder)


@declare(process=True)
def forking(folder: str) -> None:
    """Leave a process behind that holds everything open that this one has open, then die."""
    if os.fork() == 0:
        threading.Event().wait(600)
    os.kill(os.getpid(), signal.SIGKILL)


@declare(process=True, at_most_once=True)
def once(number: int) -> None:
    os.kill(os.getpid(), number)
    threading.Event().wait(60)


def block(folder: str) -> None:
    """Say that it has begun, then never return."""
    Path(folder, "pid").write_text(str(os.getpid()))
    ctx.progress(1)
    threading.Event().wait(600)


async def parent(folder: str) -> None:
    """A process with a child at work, for `python -c`."""
    from tests.tasks.execution.conftest import Rig

    rig = Rig()
    rig.start(family, folder)
    await rig.progress()
    print("running", flush=True)  # noqa: T201
    await asyncio.sleep(600)
