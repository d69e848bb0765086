"""What a process of its own runs in test_processes.py: `python declared.py tasks.db`."""

from __future__ import annotations

import asyncio
import sys

from penstock.tasks.factory import open_queue
from penstock.tasks.schedule import Every
from penstock.tasks.task import Task

PERIODS = [0.25, 0.4, 0.5, 1.0]


async def tick() -> None:
    """Nothing to do."""


def tasks() -> list[Task]:
    """Twenty schedules between four times and once a second."""
    return [
        Task(tick, name=f"tick-{number}", schedule=Every(PERIODS[number % 4], misfire="all"))
        for number in range(20)
    ]


async def main(path: str) -> None:
    """Run the engine until somebody ends the process."""
    queue = open_queue(f"embedded://{path}")
    queue.register(tasks())
    async with queue:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
