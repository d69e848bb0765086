"""`penstock worker`: a process that runs jobs and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from penstock.runtime import Runtime


def _split(_: click.Context, __: click.Parameter, value: Sequence[str]) -> tuple[str, ...]:
    """One list of options that are given again, or with commas."""
    return tuple(part.strip() for text in value for part in text.split(",") if part.strip())


@click.command()
@click.option("--queues", multiple=True, callback=_split, help="Their names.  [default: all five]")
@click.option("--include", multiple=True, callback=_split, help="Modules with tasks: shop.tasks")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    help="Jobs of each queue at once.  [default: TASK_QUEUE_WORKERS, 4]",
)
@click.option(
    "--home", type=click.Path(path_type=Path), help="Data folder.  [default: ./.penstock]"
)
def worker(
    queues: tuple[str, ...],
    include: tuple[str, ...],
    concurrency: int | None,
    home: Path | None,
) -> None:
    """Run jobs until SIGINT or SIGTERM; those that run may end, what waits stays queued.

    Works beside a server and other workers on the same data folder. Tasks are found in the modules
    of PENSTOCK_INCLUDE and --include.
    """
    from penstock.cli import opening
    from penstock.observe import logging
    from penstock.worker import run_worker

    if home is not None:
        os.environ["PENSTOCK_HOME"] = str(home)
    settings = opening.settings()
    logging.configure(settings.log_level, format=settings.log_format, log_dir=settings.logs)
    asyncio.run(
        run_worker(
            settings,
            queues=queues,
            include=include,
            concurrency=concurrency,
            ready=lambda runtime: click.echo(greeting(runtime, queues)),
        )
    )


def greeting(runtime: Runtime, queues: Sequence[str]) -> str:
    """What is printed when jobs begin to run."""
    from penstock.tasks.job import QUEUES

    tasks = len(runtime.jobs.tasks)
    return f"Penstock worker {os.getpid()} runs {tasks} tasks of {', '.join(queues or QUEUES)}"
