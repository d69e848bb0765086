"""`penstock doctor`: looks at everything an installation stands on, and names what to do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from penstock.cli.failure import FAILED, OK, one_line
from penstock.cli.output import as_json, print_json

if TYPE_CHECKING:
    from penstock.cli.finding import Finding

_MARKS = {"ok": ("ok", "green"), "warning": ("warn", "yellow"), "failed": ("FAIL", "red")}


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """Check this installation and say what to do about each fault.

    Exits with 1 when something failed; warnings alone exit with 0.
    """
    from penstock.cli.checkup import examine

    found: list[Finding] = []
    for finding in examine():
        found.append(finding)
        if not json_:
            _print(finding)
    counts = Counter(finding.status for finding in found)
    failed = counts["failed"] > 0
    if json_:
        print_json({"status": "failed" if failed else "ok", "checks": found})
    else:
        warnings = "1 warning" if counts["warning"] == 1 else f"{counts['warning']} warnings"
        click.echo(f"\n{counts['failed']} failed, {warnings}, {counts['ok']} ok")
    raise click.exceptions.Exit(FAILED if failed else OK)


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.status]
    padded = click.style(f"{mark:<4}", fg=colour)  # click leaves colours out unless on a terminal
    click.echo(f"{padded}  {finding.name:<14}  {one_line(finding.detail)}")
    if finding.fix:
        click.echo(f"{'':<22}fix: {one_line(finding.fix)}")
