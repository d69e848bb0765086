"""`penstock moderate`: judges a text, standard input, or a file of lines."""

from __future__ import annotations

import asyncio
import sys
from typing import IO, TYPE_CHECKING, Any

import click

from penstock.cli import lines, opening
from penstock.cli.failure import FAILED, OK, UNREACHABLE, one_line
from penstock.cli.output import as_json, print_json, print_table
from penstock.errors import InvalidInput

if TYPE_CHECKING:
    from penstock.runtime import Runtime
    from penstock.services.moderation.schemas import Verdict
    from penstock.services.moderation.service import ModerationService

OWNER = "cli"
SEVERITY = {"approved": 0, "review": 1, "rejected": 2}
TOP = 3  # categories that are shown to people
SHOWN_FROM = 0.1


@click.command()
@click.argument("text", required=False)
@click.option("--file", type=click.File("rb"), help="Judge every line of a file; - for stdin.")
@click.option(
    "--fail-on",
    type=click.Choice(["review", "rejected"]),
    help="Exit with 1 when a decision is this or worse.",
)
@as_json
def moderate(text: str | None, file: IO[bytes] | None, fail_on: str | None, json_: bool) -> None:
    """Judge TEXT (- reads it from standard input), or every line of a file.

    With --json one line per text. Exits with 3 when the provider could not be asked.
    """
    if (text is None) == (file is None):
        raise click.UsageError("give a text, - for standard input, or --file FILE")
    tally = Tally(fail_on)
    if file is not None:
        opening.with_runtime(lambda runtime: _judge_lines(runtime, file, tally, json_))
    else:
        from penstock.services.moderation.service import check_text

        given = _standard_input() if text == "-" else str(text)
        check_text(given)  # before anything is opened
        verdict = opening.with_runtime(lambda r: r.moderation.moderate(given, owner=OWNER))
        tally.add(verdict)
        print_json(document(verdict)) if json_ else _print_card(verdict)
    raise click.exceptions.Exit(tally.exit_code)


class Tally:
    """What the exit code depends on."""

    def __init__(self, fail_on: str | None) -> None:
        self._least = SEVERITY[fail_on] if fail_on else len(SEVERITY)
        self._failed = self._unreached = False

    def add(self, verdict: Verdict) -> None:
        """Count a verdict."""
        self._failed |= SEVERITY[verdict.decision] >= self._least
        self._unreached |= verdict.degraded is not None

    def add_fault(self) -> None:
        """Count a text that could not be judged."""
        self._failed = True

    @property
    def exit_code(self) -> int:
        """FAILED before UNREACHABLE: a decision is worth more than an outage."""
        if self._failed:
            return FAILED
        return UNREACHABLE if self._unreached else OK


def document(verdict: Verdict) -> dict[str, Any]:
    """A verdict as one flat JSON object."""
    from penstock.providers.provider import CATEGORIES

    return {
        "id": verdict.id,
        "decision": verdict.decision,
        "risk": verdict.risk,
        "reason": verdict.reason,
        "flagged": [name for name, flag in zip(CATEGORIES, verdict.flags, strict=True) if flag],
        "scores": dict(zip(CATEGORIES, verdict.judgement.scores, strict=True)),
        "spans": verdict.judgement.findings,
        "policy": verdict.policy,
        "receipt": verdict.receipt,
        "recorded": verdict.recorded,
        "degraded": verdict.degraded,
    }


async def _judge_lines(runtime: Runtime, file: IO[bytes], tally: Tally, json_: bool) -> None:
    with lines.progress(file, "moderate") as meter:
        for part in lines.parts(lines.read(file)):
            judged = await asyncio.gather(*(_judge(runtime.moderation, line) for line in part))
            with meter.aside():
                for line, verdict in zip(part, judged, strict=True):
                    tally.add_fault() if isinstance(verdict, str) else tally.add(verdict)
                    _print_line(line.number, verdict, json_)
            meter.advance(len(part))


async def _judge(service: ModerationService, line: lines.Line) -> Verdict | str:
    """The verdict, or why there is none."""
    if line.fault:
        return f"the line {line.fault}"
    try:
        return await service.moderate(line.text, owner=OWNER)
    except InvalidInput as error:
        return error.detail


def _print_line(number: int, verdict: Verdict | str, json_: bool) -> None:
    if isinstance(verdict, str):
        if json_:
            print_json({"line": number, "error": verdict})
        else:
            click.echo(f"error: line {number}: {one_line(verdict)}", err=True)
    elif json_:
        print_json({"line": number, **document(verdict)})
    else:
        decision, risk, source = verdict.decision, verdict.risk, verdict.receipt.source
        line = f"{number:>6}  {decision:<8}  {risk:.2f}  {source:<9}  {_top(verdict)}"
        click.echo(line.rstrip())


def _print_card(verdict: Verdict) -> None:
    rows = [
        ("decision", verdict.decision),
        ("risk", f"{verdict.risk:.2f}"),
        ("reason", verdict.reason),
        ("top", _top(verdict) or f"no category from {SHOWN_FROM} on"),
        ("source", verdict.receipt.source),
        ("id", verdict.id),
    ]
    if verdict.degraded is not None:
        rows.append(("degraded", verdict.degraded.detail))
    if not verdict.recorded:
        rows.append(("recorded", "no: the database cannot be written; see: penstock doctor"))
    print_table(rows)


def _top(verdict: Verdict) -> str:
    """The highest scores."""
    from penstock.providers.provider import CATEGORIES

    scores = [
        (score, name)
        for name, score in zip(CATEGORIES, verdict.judgement.scores, strict=True)
        if score is not None and score >= SHOWN_FROM
    ]
    highest = sorted(scores, reverse=True)[:TOP]
    return ", ".join(f"{name} {score:.2f}" for score, name in highest)


def _standard_input() -> str:
    raw = sys.stdin.buffer.read(lines.LONGEST + 1)
    if len(raw) > lines.LONGEST:
        raise InvalidInput(f"the text on standard input is longer than {lines.LONGEST} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"standard input is not UTF-8 at byte {error.start + 1}") from error
