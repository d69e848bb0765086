"""Tasks, and the application of real workers, for the tests of Celery.

It has no runtime, so that a worker starts in a second. `JOBS_URL` is the engine's address; what
runs leaves a line in `JOBS_LOG`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.errors import StorageUnavailable
from penstock.tasks import TaskQueue, ctx, declare, open_queue
from penstock.tasks.celery.address import parse
from penstock.tasks.celery.app import make_app, transport
from penstock.tasks.celery.worker.place import LoopPlace
from penstock.tasks.schedule import Every


def note(what: str) -> None:
    with Path(os.environ["JOBS_LOG"]).open("a") as log:
        log.write(f"{what} {os.getpid()}\n")


@declare(name="echo")
async def echo(value: str) -> str:
    note(f"echo {value}")
    return value


@declare(name="wait")
async def wait(seconds: float) -> int:
    note("wait")
    await asyncio.sleep(seconds)
    return ctx.attempt


@declare(name="block")
def block(seconds: float) -> str:
    note("block")
    threading.Event().wait(seconds)
    return "done"


@declare(name="die", retries=2)
def die(times: int) -> int:
    """Kill its own process at its first attempts."""
    note("die")
    if ctx.attempt <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx.attempt


@declare(name="die_once", at_most_once=True)
def die_once() -> None:
    note("die_once")
    os.kill(os.getpid(), signal.SIGKILL)


@declare(name="steps")
async def steps(count: int) -> None:
    for step in range(count):
        ctx.progress(step + 1, count)
        await asyncio.sleep(0.05)


# A beat that had no turn for a while shall leave out no tick.
@declare(name="tick", schedule=Every("200ms", misfire="all"))
async def tick() -> None:
    note("tick")


@declare(name="shop.tasks:send")
async def send(to: str) -> str:
    """Known to workers with `JOBS_SHOP`."""
    return f"sent to {to}"


TASKS = (echo, wait, block, die, die_once, steps, tick)


@asynccontextmanager
async def _open() -> AsyncIterator[TaskQueue]:
    if Path(os.environ.get("JOBS_CLOSED", "")).is_file():
        raise StorageUnavailable("what its jobs need is away")
    queue = open_queue(os.environ["JOBS_URL"], workers=0)
    queue.register((*TASKS, send) if os.environ.get("JOBS_SHOP") else TASKS)
    async with queue:
        yield queue


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(name)
    address = parse(os.environ["JOBS_URL"])
    options = transport(address)
    if address.visibility < 60:  # look for messages that are overdue as often as possible
        options |= {"unacked_restore_interval": 0.2, "unacked_restore_throttle": 1}
    place = LoopPlace(_open, node=lambda: app.node)
    app = make_app(
        address,
        place=place,
        tasks=TASKS,
        broker_transport_options=options,
        worker_soft_shutdown_timeout=float(os.environ.get("JOBS_GRACE", "10")),
    )
    globals()["app"] = app
    return app
