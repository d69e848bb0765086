"""A process of its own that works on a job file: `python job_process.py FILE MARKS [COUNT]`.

It enqueues COUNT jobs, tells so, and runs jobs until it is ended. Each job writes a line to MARKS
when it begins and when it ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from penstock.tasks.context import ctx
from penstock.tasks.embedded.engine import EmbeddedEngine
from penstock.tasks.engine import NewJob
from penstock.tasks.task import Task

marks = Path(os.devnull)


def mark(kind: str, name: str) -> None:
    handle = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{kind} {name} {ctx.job_id}\n".encode())
    os.close(handle)


async def work(number: int) -> int:
    mark("begin", "work")
    await asyncio.sleep(0.005)
    mark("end", "work")
    return number


async def once(number: int) -> int:
    mark("begin", "once")
    await asyncio.sleep(0.005)
    return number


async def deadly() -> None:
    mark("begin", "deadly")
    os._exit(9)


TASKS = {
    "work": Task(work, name="work"),
    "once": Task(once, name="once", at_most_once=True),
    "deadly": Task(deadly, name="deadly", retries=1),
}


def jobs(name: str, count: int) -> list[NewJob]:
    task = TASKS[name]
    return [
        NewJob(
            task=name,
            arguments=task.pack((number,) if name != "deadly" else (), {}),
            queue="default",
            priority=5,
            max_attempts=10 if name == "work" else 2,
        )
        for number in range(count)
    ]


async def main(file: str, count: int) -> None:
    engine = EmbeddedEngine(Path(file), workers=8)
    for _ in range(count // 20):
        await engine.add([*jobs("work", 20), *jobs("once", 5)])
    await engine.start(TASKS)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    marks = Path(sys.argv[2])
    asyncio.run(main(sys.argv[1], int(sys.argv[3]) if len(sys.argv) > 3 else 0))
