"""`penstock worker`: a process that runs jobs and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from penstock.cli import opening

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
    help="Jobs of each queue at once; on Celery processes, of all queues.  "
    "[default: TASK_QUEUE_WORKERS, 4]",
)
@click.option("--beat", is_flag=True, help="Fire schedules too, where jobs run on Celery.")
@opening.at_home
def worker(
    queues: tuple[str, ...], include: tuple[str, ...], concurrency: int | None, beat: bool
) -> None:
    """Run jobs until SIGINT or SIGTERM; those that run may end, what waits stays queued.

    Works beside a server and other workers on the same data folder, or on the same broker: with
    Celery set, this is `celery -A penstock.celery_app worker`. Tasks are found in the modules of
    PENSTOCK_INCLUDE and --include.
    """
    from penstock.observe import logging
    from penstock.worker import become_celery, run_worker

    settings = opening.settings()
    if settings.tasks == "celery":
        become_celery(settings, queues=queues, include=include, concurrency=concurrency, beat=beat)
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
    """What is printed when jobs begin to run; a hint, when no task is the user's."""
    from penstock.tasks.job import QUEUES

    tasks = runtime.jobs.tasks.values()
    built_in = sum(task.address.startswith("penstock.") for task in tasks)
    own = len(tasks) - built_in
    line = (
        f"Penstock worker {os.getpid()} runs {own} tasks of yours and {built_in} built-in ones; "
        f"queues: {', '.join(queues or QUEUES)}"
    )
    if own:
        return line
    return f"{line}\nTo run yours, name their modules: PENSTOCK_INCLUDE or --include shop.tasks"
