"""`penstock tasks`: jobs of this installation: what waits, runs and failed; ending and retrying.

Works on the data folder, or on Celery's broker where one is set, beside a server or without one;
what is cancelled here ends there. Queues and schedules are in `queues.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from penstock.cli import opening
from penstock.cli import queues as steering
from penstock.cli.failure import FAILED, OK, one_line
from penstock.cli.output import as_json, instant, print_json, print_table
from penstock.cli.waiting import why
from penstock.errors import RequestError

if TYPE_CHECKING:
    from penstock.tasks.job import JobError, JobFilter, JobRecord
    from penstock.tasks.queue import TaskQueue

F = TypeVar("F", bound=Callable[..., Any])

# As in `tasks/job.py`, which help need not load.
STATES = ("queued", "running", "completed", "failed", "cancelled", "expired")
QUEUES = ("default", "conversations", "analytics", "notifications", "maintenance")
MOST = 1000
NAMED = 10  # tasks that are named where one was looked for in vain

_SELECTING = (
    click.option("--queue", type=click.Choice(QUEUES), help="Only jobs of this queue."),
    click.option("--task", help="Only jobs of this task."),
    click.option("--batch", "batch_id", help="Only jobs of this batch."),
    click.option("--owner", help="Only jobs of this owner."),
    opening.at_home,
)


def selecting(command: F) -> F:
    """The options that say which jobs are meant, and where."""
    for option in reversed(_SELECTING):
        command = option(command)
    return command


@click.group()
@opening.at_home
def tasks() -> None:
    """List jobs, look into them, cancel and retry them; steer queues and schedules."""


for _command in (
    steering.queues,
    steering.schedules,
    steering.run,
    steering.pause,
    steering.resume,
):
    tasks.add_command(_command)


@tasks.command("list")
@click.option("--state", type=click.Choice(STATES), multiple=True, help="Only these states.")
@selecting
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True)
@as_json
def list_(state: tuple[Any, ...], limit: int, json_: bool, **which: str | None) -> None:
    """List jobs, newest first."""
    found = opening.with_jobs(lambda jobs: _page(jobs, _filter(which, state), limit))
    if json_:
        print_json([shown(job) for job in found])
        return
    header = ("id", "task", "queue", "priority", "state", "attempt", "progress", "created")
    rows = [
        (job.id, job.task, job.queue, job.priority, job.state, _attempts(job), _done(job), created)
        for job in found
        for created in [instant(job.created_at)]
    ]
    if rows:
        print_table(rows, header=header)


@tasks.command()
@click.argument("job_id")
@opening.at_home
@as_json
def show(job_id: str, json_: bool) -> None:
    """Show everything about JOB_ID: its progress, its result, its errors, why it waits."""
    document = opening.with_jobs(lambda jobs: _document(jobs, job_id))
    if json_:
        print_json(document)
        return
    errors = document.pop("errors")
    document.pop("error")
    document.pop("waiting_for")  # `why` says it
    print_table([(name, value) for name, value in document.items() if value not in (None, "")])
    for error in errors:
        click.echo(f"\nattempt {error['attempt']} at {error['at']}: {_told(error)}")
        for line in (error["traceback"] or "").rstrip().splitlines():
            indent = len(line) - len(line.lstrip(" "))
            click.echo(" " * indent + one_line(line))


@tasks.command()
@selecting
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True)
@as_json
def dead(limit: int, json_: bool, **which: str | None) -> None:
    """List failed jobs, newest first, with their last error; see: penstock tasks retry."""
    found = opening.with_jobs(lambda jobs: _page(jobs, _filter(which, ("failed",)), limit))
    if json_:
        print_json([shown(job) for job in found])
        return
    rows = [
        (job.id, job.task, job.queue, job.attempt, instant(job.finished_at), _last_error(job))
        for job in found
    ]
    if rows:
        print_table(rows, header=("id", "task", "queue", "attempts", "failed", "error"))


@tasks.command()
@click.argument("job_ids", nargs=-1)
@selecting
@click.option("--all", "all_", is_flag=True, help="Every job that has not ended.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def cancel(job_ids: tuple[str, ...], all_: bool, yes: bool, json_: bool, **which: Any) -> None:
    """Cancel the jobs JOB_IDS, or those that the options name.

    A job that waits never runs; one that runs is asked to end.
    """
    _act("cancel", job_ids, which, all_=all_, yes=yes, json_=json_)


@tasks.command()
@click.argument("job_ids", nargs=-1)
@selecting
@click.option("--all", "all_", is_flag=True, help="Every job that has failed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def retry(job_ids: tuple[str, ...], all_: bool, yes: bool, json_: bool, **which: Any) -> None:
    """Queue the jobs JOB_IDS anew, or the failed ones that the options name."""
    _act("retry", job_ids, which, all_=all_, yes=yes, json_=json_)


def shown(job: JobRecord) -> dict[str, Any]:
    """A job in JSON, in the words of GET /v1/jobs."""
    import msgspec

    return {
        **msgspec.structs.asdict(job),
        "run_at": instant(job.run_at),
        "created_at": instant(job.created_at),
        "started_at": instant(job.started_at),
        "finished_at": instant(job.finished_at),
        "progress": msgspec.structs.asdict(job.progress),
        "error": None if job.error is None else _error(job.error),
        "errors": [_error(error) for error in job.errors],
    }


def _act(
    action: Literal["cancel", "retry"],
    job_ids: Sequence[str],
    which: dict[str, Any],
    *,
    all_: bool,
    yes: bool,
    json_: bool,
) -> None:
    if bool(job_ids) == (all_ or any(which.values())):
        raise click.UsageError(
            "give ids of jobs, or say which are meant: --queue, --task, --batch, --owner, or --all"
        )
    if job_ids:
        answers = opening.with_jobs(lambda jobs: _each(jobs, action, job_ids))
        for answer in answers:
            if not json_:
                error = answer.get("error")
                told = f"error: {error}" if error else f"{answer['id']} is {answer['state']}"
                click.echo(one_line(told), err=bool(error))
        if json_:
            print_json(answers)
        raise click.exceptions.Exit(FAILED if any("error" in each for each in answers) else OK)
    tally = opening.with_jobs(lambda jobs: _many(jobs, action, _filter(which), ask=not yes))
    if json_:
        print_json(tally)
    else:
        done = {"cancel": "cancelled or asked to end", "retry": "queued anew"}[action]
        click.echo(f"{tally['changed']} jobs {done}")


async def _each(
    jobs: TaskQueue, action: Literal["cancel", "retry"], job_ids: Sequence[str]
) -> list[dict[str, Any]]:
    act = jobs.cancel if action == "cancel" else jobs.retry
    answers: list[dict[str, Any]] = []
    for job_id in job_ids:
        try:
            job = await act((await jobs.get(job_id)).id)
        except RequestError as error:  # of this one: the others go on
            answers.append({"id": job_id, "error": error.detail})
        else:
            answers.append({"id": job.id, "state": "ending" if job.cancelling else job.state})
    return answers


async def _many(
    jobs: TaskQueue, action: Literal["cancel", "retry"], filter: JobFilter, *, ask: bool
) -> dict[str, int]:
    from penstock.tasks.bulk import change, selection

    meant = selection(action, filter)
    number = sum((await jobs.store.count(meant)).values())
    if not number:
        await _tell_none(jobs, meant)
    elif ask:
        done = {"cancel": "cancelled", "retry": "queued anew"}[action]
        click.confirm(f"{number} jobs will be {done}. Go on?", abort=True, err=True)
    tally = await change(action, meant, engine=jobs.engine, store=jobs.store)
    return {"changed": tally.changed, "skipped": tally.skipped}


async def _page(jobs: TaskQueue, filter: JobFilter, limit: int) -> list[JobRecord]:
    found = await jobs.store.page(filter, limit=limit)
    if not found:
        await _tell_none(jobs, filter)
    return found


async def _tell_none(jobs: TaskQueue, filter: JobFilter) -> None:
    """Say where nothing was found, and which tasks have jobs when there is none of the one."""
    from penstock.tasks.job import JobFilter

    place = opening.where_jobs_are()
    told = f"no such job in {place}"
    if filter == JobFilter():
        told = f"no job in {place}"
    elif filter.task is not None and not await jobs.store.count(JobFilter(task=filter.task)):
        told = f"no job in {place} is of the task {filter.task!r}"
        latest = await jobs.store.page(JobFilter(), limit=MOST)
        names = list(dict.fromkeys(job.task for job in latest))
        if names:
            more = ", ..." if len(names) > NAMED else ""
            told += f"; there are jobs of: {', '.join(names[:NAMED])}{more}"
    click.echo(one_line(told), err=True)


async def _document(jobs: TaskQueue, job_id: str) -> dict[str, Any]:
    from penstock.clock import SystemClock

    job = await jobs.get(job_id)
    return {**shown(job), "why": await why(jobs, job, now=int(SystemClock().now() * 1000))}


def _filter(which: dict[str, str | None], states: tuple[Any, ...] = ()) -> JobFilter:
    from penstock.tasks.job import JobFilter

    return JobFilter(
        states=states or None,
        queue=which["queue"],
        task=which["task"],
        batch_id=which["batch_id"],
        owner=which["owner"],
    )


def _error(error: JobError) -> dict[str, Any]:
    import msgspec

    return {**msgspec.structs.asdict(error), "at": instant(error.at)}


def _attempts(job: JobRecord) -> str:
    return f"{job.attempt}/{job.max_attempts}"


def _done(job: JobRecord) -> str:
    progress = job.progress
    if progress.total:
        return f"{progress.done}/{progress.total}"
    return str(progress.done) if progress.done else progress.note


def _last_error(job: JobRecord) -> str:
    return "" if job.error is None else f"{job.error.type}: {job.error.message}"


def _told(error: dict[str, Any]) -> str:
    return one_line(f"{error['type']}: {error['message']}")
