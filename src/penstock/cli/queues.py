"""The part of `penstock tasks` that is about queues and schedules: seeing, pausing, running now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from penstock.cli import opening
from penstock.cli.failure import one_line
from penstock.cli.output import as_json, instant, print_json, print_table, span
from penstock.errors import NotFound

if TYPE_CHECKING:
    from penstock.tasks.job import QueueStatus, ScheduleStatus
    from penstock.tasks.queue import TaskQueue

is_schedule = click.option("--schedule", is_flag=True, help="NAME is a schedule, not a queue.")


@click.command()
@opening.at_home
@as_json
def queues(json_: bool) -> None:
    """Show the queues: the true backlog over all priorities, and what it is made of."""
    found = opening.with_jobs(lambda jobs: jobs.store.queues())
    if json_:
        print_json([_queue(queue) for queue in found])
        return
    header = ("queue", "backlog", "by priority", "delayed", "running", "oldest", "state")
    rows = [
        (
            queue.name,
            sum(queue.queued.values()),
            " ".join(f"{level}:{n}" for level, n in sorted(queue.queued.items())),
            queue.delayed,
            queue.running,
            None if queue.oldest_age_seconds is None else span(queue.oldest_age_seconds),
            "paused" if queue.paused else "open",
        )
        for queue in found
    ]
    print_table(rows, header=header)
    for queue in found:
        for told in unknown_tasks(queue):
            click.echo(one_line(told), err=True)


def unknown_tasks(queue: QueueStatus) -> list[str]:
    """What waits in a queue for a worker that has its task."""
    from penstock.tasks.job import lacking

    return [
        f"{queue.name}: {number} job{'s' * (number > 1)} wait{'s' * (number == 1)} for "
        + lacking(task)
        for task, number in sorted(queue.unknown.items())
    ]


@click.command()
@opening.at_home
@as_json
def schedules(json_: bool) -> None:
    """Show what runs by the clock, when it ran and when it will.

    One that is overdue is fired by no process: none that runs has its task.
    """
    found = opening.with_jobs(lambda jobs: jobs.store.schedules())
    if not found:
        click.echo(f"no schedule in {opening.where_jobs_are()}", err=True)
    if json_:
        print_json([_schedule(each) for each in found])
    elif found:
        rows = [
            (
                each.name,
                each.when,
                each.timezone,
                each.queue,
                instant(each.next_at),
                instant(each.last_at),
                "paused" if each.paused else "overdue" if _is_overdue(each) else "on",
            )
            for each in found
        ]
        header = ("schedule", "when", "timezone", "queue", "next", "last", "state")
        print_table(rows, header=header)


@click.command()
@click.argument("schedule")
@opening.at_home
@as_json
def run(schedule: str, json_: bool) -> None:
    """Run the task of SCHEDULE now, beside its ticks, paused or not."""

    async def fire(jobs: TaskQueue) -> dict[str, str]:
        job = await (await jobs.fire(schedule)).status()
        return {"id": job.id, "state": job.state}

    fired = opening.with_jobs(fire)
    print_json(fired) if json_ else click.echo(f"{fired['id']} is {fired['state']}")


@click.command()
@click.argument("name")
@is_schedule
@opening.at_home
@as_json
def pause(name: str, schedule: bool, json_: bool) -> None:
    """Start no more jobs of the queue NAME, or fire a schedule no more.

    Holds for every process and over restarts, until penstock tasks resume. What runs goes on.
    """
    _set_paused(name, schedule=schedule, paused=True, json_=json_)


@click.command()
@click.argument("name")
@is_schedule
@opening.at_home
@as_json
def resume(name: str, schedule: bool, json_: bool) -> None:
    """Let the queue NAME go on, or a schedule with its next tick."""
    _set_paused(name, schedule=schedule, paused=False, json_=json_)


def _set_paused(name: str, *, schedule: bool, paused: bool, json_: bool) -> None:
    async def change(jobs: TaskQueue) -> dict[str, Any]:
        if schedule:
            return _schedule(await jobs.pause_schedule(name, paused=paused))
        await _find(jobs, name)
        await (jobs.pause(name) if paused else jobs.resume(name))
        return _queue(await _find(jobs, name))

    changed = opening.with_jobs(change)
    if json_:
        print_json(changed)
    else:
        kind = "schedule" if schedule else "queue"
        click.echo(f"the {kind} {name} {'is paused' if paused else 'goes on'}")


async def _find(jobs: TaskQueue, name: str) -> QueueStatus:
    found = {queue.name: queue for queue in await jobs.store.queues()}
    if name not in found:
        raise NotFound(
            f"no queue is called {name!r}; known: {', '.join(found)}; for a schedule: --schedule"
        )
    return found[name]


def _queue(queue: QueueStatus) -> dict[str, Any]:
    """A queue in JSON, in the words of GET /v1/queues."""
    return {
        "name": queue.name,
        "paused": queue.paused,
        "depth": sum(queue.queued.values()),
        "depth_by_priority": queue.queued,
        "delayed": queue.delayed,
        "running": queue.running,
        "oldest_age_seconds": queue.oldest_age_seconds,
        "unknown_tasks": queue.unknown,
    }


def _schedule(schedule: ScheduleStatus) -> dict[str, Any]:
    """A schedule in JSON, in the words of GET /v1/schedules.

    What this process declares would say nothing: it has no tasks.
    """
    return {
        "name": schedule.name,
        "task": schedule.task,
        "when": schedule.when,
        "timezone": schedule.timezone,
        "queue": schedule.queue,
        "paused": schedule.paused,
        "next_at": instant(schedule.next_at),
        "last_at": instant(schedule.last_at),
        "last_job": schedule.last_job,
        "overdue": _is_overdue(schedule),
    }


def _is_overdue(schedule: ScheduleStatus) -> bool:
    from penstock.clock import SystemClock
    from penstock.tasks.schedule import IN_TIME

    due = schedule.next_at
    return due is not None and due / 1000 < SystemClock().now() - IN_TIME
