"""What the kill drill runs: jobs that leave a line when they start and when they end.

A line is written with O_APPEND before anything else can happen, so that it survives `kill -9`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time

from penstock import ctx, task

WORK_SECONDS = 0.05
MANY = 50  # further attempts: every kill is one


def mark(kind: str, name: str) -> None:
    """One line: kind, name, attempt, nanoseconds on the machine's clock."""
    file = os.open(os.environ["PENSTOCK_DRILL_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{kind} {name} {ctx.attempt} {time.monotonic_ns()}\n".encode())
    finally:
        os.close(file)


@task(retries=MANY, backoff=0.01)
async def wait(name: str) -> str:
    mark("start", name)
    await asyncio.sleep(WORK_SECONDS)
    mark("end", name)
    return name


@task(retries=MANY, backoff=0.01, priority="high")
def block(name: str) -> str:
    mark("start", name)
    threading.Event().wait(WORK_SECONDS)
    mark("end", name)
    return name


@task(at_most_once=True)
async def once(name: str) -> str:
    mark("start", name)
    await asyncio.sleep(WORK_SECONDS)
    mark("end", name)
    return name


@task(schedule="every 1s", retries=MANY, backoff=0.01, queue="maintenance")
async def tick() -> None:
    mark("start", f"tick-{ctx.job_id}")
