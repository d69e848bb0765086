"""`penstock cases`: what people have to decide, decided from a terminal.

Works on the data folder, beside a server or without one, and sees the cases of every owner. What is
decided here holds in every running server at once; it is on record as done by `cli`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli import opening
from penstock.cli.failure import one_line
from penstock.cli.output import as_json, instant, print_json, print_table, span

if TYPE_CHECKING:
    from penstock.services.review import ReviewService
    from penstock.services.review.schemas import Case, CaseFile, Reviewer

T = TypeVar("T")
Work = Callable[["ReviewService", "Reviewer"], Awaitable[T]]

ACTOR = "cli"
# As in `services/review/schemas.py`, which help need not load.
STATES = ("open", "claimed", "escalated", "decided")
KINDS = ("review", "appeal")
DECISIONS = ("approved", "rejected")
MOST = 200  # as over HTTP
LONGEST = 2000  # characters of a note, as over HTTP


@click.group()
@opening.at_home
def cases() -> None:
    """Work through what needs a human decision; see the workload."""


@cases.command("list")
@click.option("--state", type=click.Choice(STATES), help="Default: all but decided ones.")
@click.option("--kind", type=click.Choice(KINDS), help="Only these.")
@click.option("--assignee", help="Only what this key works on.")
@click.option("--category", help="Only this category.")
@click.option("--overdue/--in-time", default=None, help="Only what is overdue, or is not.")
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True)
@opening.at_home
@as_json
def list_(limit: int, json_: bool, **which: Any) -> None:
    """List cases, the most urgent first; decided ones, the latest first."""

    async def work(review: ReviewService, who: Reviewer) -> tuple[list[Case], int]:
        from penstock.services.review.schemas import Filter

        found = await review.page(Filter(**which), who=who, limit=limit)
        return found.cases, found.now

    found, now = _with_review(work)
    if json_:
        print_json([shown(case, now) for case in found])
        return
    rows = [
        (case.id, case.state, case.kind, f"{case.risk:.2f}", case.category, case.items, *times)
        for case in found
        for times in [(_due(case, now), case.assignee or case.decision)]
    ]
    if rows:
        print_table(
            rows, header=("id", "state", "kind", "risk", "category", "items", "due", "by/as")
        )


@cases.command()
@click.argument("case_id")
@opening.at_home
@as_json
def show(case_id: str, json_: bool) -> None:
    """Show everything about CASE_ID: scores, its verdicts, its history."""
    file, now = _with_review(lambda review, who: _file(review, who, case_id))
    if json_:
        print_json(_document(file, now))
    else:
        _print_file(file, now)


@cases.command("next")
@click.option("--claim", is_flag=True, help="Claim it.")
@opening.at_home
@as_json
def next_(claim: bool, json_: bool) -> None:
    """Show the case that comes next."""

    async def work(review: ReviewService, who: Reviewer) -> tuple[CaseFile, int] | None:
        case = await (review.claim_next(who=who) if claim else review.next(who=who))
        return None if case is None else await _file(review, who, case.id)

    found = _with_review(work)
    if found is None:
        if json_:
            print_json(None)
        click.echo("nothing waits for a decision", err=True)
        return
    file, now = found
    if json_:
        print_json(_document(file, now))
    else:
        _print_file(file, now)


@cases.command("claim")
@click.argument("case_id")
@opening.at_home
@as_json
def claim_(case_id: str, json_: bool) -> None:
    """Take CASE_ID to work on."""
    _act(json_, lambda review, who: review.claim(case_id, who=who))


@cases.command()
@click.argument("case_id")
@opening.at_home
@as_json
def release(case_id: str, json_: bool) -> None:
    """Give CASE_ID back to the queue, whoever has claimed it."""
    _act(json_, lambda review, who: review.release(case_id, who=who))


@cases.command()
@click.argument("case_id")
@click.argument("decision", type=click.Choice(DECISIONS))
@click.option("--note", default="", help="Why, for the history.")
@click.option("--group", is_flag=True, help="Approve several contents; claim and look first.")
@opening.at_home
@as_json
def decide(case_id: str, decision: Any, note: str, group: bool, json_: bool) -> None:
    """Settle CASE_ID; its content is decided so from now on."""
    _check(note)
    _act(
        json_,
        lambda review, who: review.decide(case_id, decision, note=note, group=group, who=who),
    )


@cases.command()
@click.argument("case_id")
@click.argument("reason")
@opening.at_home
@as_json
def escalate(case_id: str, reason: str, json_: bool) -> None:
    """Leave CASE_ID to admins, for REASON."""
    _check(reason)
    _act(json_, lambda review, who: review.escalate(case_id, reason, who=who))


@cases.command()
@click.argument("case_id")
@click.argument("text")
@opening.at_home
@as_json
def comment(case_id: str, text: str, json_: bool) -> None:
    """Add TEXT to the history of CASE_ID."""
    _check(text)
    _act(json_, lambda review, who: review.comment(case_id, text, who=who))


@cases.command()
@opening.at_home
@as_json
def workload(json_: bool) -> None:
    """Show how many cases wait, how fast they come and go, and where that leads."""
    load = _with_review(lambda review, who: review.workload(who=who))
    if json_:
        print_json(load)
        return
    opened, decided = load.opened_per_day, load.decided_per_day
    times = [(load.median_seconds, load.p95_seconds)]
    print_table(
        [
            ("open, claimed, escalated", f"{load.open}, {load.claimed}, {load.escalated}"),
            ("overdue", load.overdue),
            ("oldest", span(load.oldest_age_seconds)),
            ("opened a day (7, 30 days)", f"{opened.last_7_days}, {opened.last_30_days}"),
            ("decided a day (7, 30 days)", f"{decided.last_7_days}, {decided.last_30_days}"),
            *(("time to decision (median, p95)", f"{_span(a)}, {_span(b)}") for a, b in times),
            ("backlog in 7, 30 days", f"{load.backlog_in_7_days}, {load.backlog_in_30_days}"),
        ]
    )
    rows = [
        (each.category, each.live, each.overdue, each.opened, each.decided, *took)
        for each in load.categories
        for took in [(_span(each.median_seconds), _span(each.p95_seconds))]
    ]
    if rows:
        click.echo("")
        header = ("category", "live", "overdue", "opened 30 d", "decided 30 d", "median", "p95")
        print_table(rows, header=header)


@cases.command()
@opening.at_home
def examples() -> None:
    """Print every verdict that people overturned as a line of JSON, for `make eval`."""

    async def work(review: ReviewService, _: Reviewer) -> None:
        from penstock.services.review.views import example_lines

        async for part in review.examples():
            click.echo(example_lines(part), nl=False)

    _with_review(work)


def shown(case: Case, now: int) -> dict[str, Any]:
    """A case in JSON, in the words of GET /v1/cases."""
    from penstock.services.review.views import case_view

    return case_view(case, now=now).model_dump(mode="json")


def _document(file: CaseFile, now: int) -> dict[str, Any]:
    from penstock.services.review.views import file_view

    return file_view(file, now=now, open_content=True).model_dump(mode="json")


def _print_file(file: CaseFile, now: int) -> None:
    document = _document(file, now)
    contents, verdicts, events = (document.pop(name) for name in ("contents", "verdicts", "events"))
    print_table([(name, value) for name, value in document.items() if value not in (None, "")])
    for content in contents:
        verdict = content.pop("verdict")
        click.echo("")
        print_table([(name, value) for name, value in content.items() if value is not None])
        if verdict:
            click.echo("")
            _print_verdict(verdict)
    click.echo("")
    print_table(
        [(item["verdict_id"], item["decision"], item["content_hash"]) for item in verdicts]
        or [("", "", "")],
        header=("verdict", "was", "SHA-256 of the content"),
    )
    click.echo("")
    print_table(
        [(e["at"], e["actor"], e["action"], e["detail"]) for e in events],
        header=("at", "who", "what", "words"),
    )


def _print_verdict(verdict: dict[str, Any]) -> None:
    scores = [(name, f"{score:.3f}") for name, score in verdict["scores"].items()]
    print_table(scores or [("", "")], header=("category", "score"))
    if verdict["spans"]:
        click.echo("")
        header = ("start", "end", "category", "score", "rule")
        rows = [[span[name] for name in header] for span in verdict["spans"]]
        print_table(rows, header=header)


def _with_review(work: Work[T]) -> T:
    from penstock.services.review.schemas import Reviewer

    return opening.with_runtime(lambda runtime: work(runtime.review, Reviewer(ACTOR)))


async def _file(review: ReviewService, who: Reviewer, case_id: str) -> tuple[CaseFile, int]:
    return await review.open_file(case_id, who=who), review.now()


def _act(json_: bool, work: Work[Case]) -> None:
    async def acting(review: ReviewService, who: Reviewer) -> tuple[Case, int]:
        return await work(review, who), review.now()

    case, now = _with_review(acting)
    if json_:
        print_json(shown(case, now))
    else:
        told = f"{case.state}: {case.decision}" if case.decision else case.state
        click.echo(one_line(f"{case.id} is {told}"))


def _check(words: str) -> None:
    if len(words) > LONGEST or "\x00" in words:
        raise click.UsageError(f"at most {LONGEST} characters, and none of them U+0000")


def _due(case: Case, now: int) -> str:
    if case.decided_at is not None:
        return instant(case.decided_at) or ""
    left = (case.due_at - now) / 1000
    return f"in {span(left)}" if left > 0 else f"{span(-left)} ago"


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else span(seconds)
