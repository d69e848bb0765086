"""What `penstock services status` shows: processes and queues, in columns or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from penstock.cli import opening
from penstock.cli.output import instant, print_table, span
from penstock.cli.services_ledger import told as named
from penstock.clock import SystemClock

if TYPE_CHECKING:
    from penstock.cli.services_jobs import Known
    from penstock.cli.services_ledger import Record


def show(
    records: Sequence[Record],
    told: Mapping[str, str],
    jobs: Known | None,
    *,
    words: Mapping[str, Sequence[str]],
) -> None:
    """Print the processes and the queues for people; `words` are the last ones of what died."""
    if not records:
        click.echo(f"nothing was started here ({opening.home()}); see: penstock services start")
    else:
        now = SystemClock.now()
        rows = [
            (
                each.name,
                each.pid,
                each.port,
                span(max(0.0, now - each.started_at / 1000)) if told[each.name] != "dead" else None,
                told[each.name],
            )
            for each in records
        ]
        print_table(rows, header=("process", "pid", "port", "up", "state"))
    if jobs is not None and jobs.queues:
        click.echo()
        rows_of_queues = [
            (each.name, sum(each.queued.values()), each.delayed, each.running, _open(each.paused))
            for each in jobs.queues
        ]
        print_table(rows_of_queues, header=("queue", "backlog", "delayed", "running", "state"))
    _show_dead([each for each in records if each.name in words], words)


def document(
    records: Sequence[Record],
    told: Mapping[str, str],
    jobs: Known | None,
    *,
    words: Mapping[str, Sequence[str]],
    well: bool,
) -> dict[str, Any]:
    """The same for programs."""
    return {
        "status": "ok" if well else "failed",
        "processes": [
            {
                "name": each.name,
                "kind": each.kind,
                "pid": each.pid,
                "port": each.port,
                "started_at": instant(each.started_at),
                "state": told[each.name],
                "log": each.log,
                "last_lines": list(words.get(each.name, ())),
            }
            for each in records
        ],
        "queues": [
            {
                "name": each.name,
                "backlog": sum(each.queued.values()),
                "delayed": each.delayed,
                "running": each.running,
                "paused": each.paused,
            }
            for each in (jobs.queues if jobs is not None else [])
        ],
    }


def _show_dead(dead: Sequence[Record], words: Mapping[str, Sequence[str]]) -> None:
    for each in dead:
        click.echo(f"\n{named(each)} died; what it wrote last, in {each.log}:")
        for line in words[each.name] or ["nothing"]:
            click.echo(f"  {line}")
    if dead:
        click.echo("\nto start what is missing: penstock services start")


def _open(paused: bool) -> str:
    return "paused" if paused else "open"
