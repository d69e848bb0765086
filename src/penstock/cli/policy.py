"""`penstock policy`: draft, rehearse on what was recorded, activate, roll back, give to keys.

What is changed here holds at once in every running server of this data folder.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli import opening
from penstock.cli.duration import in_seconds
from penstock.cli.output import as_json, print_json, print_table
from penstock.errors import InvalidInput

if TYPE_CHECKING:
    from penstock.runtime import Runtime
    from penstock.services.moderation.policy import Judge, Policy
    from penstock.services.moderation.rehearsal import Rehearsal
    from penstock.services.moderation.rehearsal_store import Selection

ACTOR = "cli"
LARGEST_FILE = 1 << 20  # bytes

Work = Callable[["Runtime"], Awaitable[Any]]

_file = click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=False, path_type=Path)
)
_expected = click.option(
    "--expected",
    type=click.IntRange(0),
    help="Only if this revision is active now (0: none, or the settings').",
)
_since = click.option(
    "--since", callback=in_seconds, help="Only the last: 12h, 30d.  [default: all]"
)
_owner = click.option("--owner", help="Only this owner's verdicts.")
_key = click.option("--key", "key_id", help="Only what this key asked.")


@click.group()
def policy() -> None:
    """Draft, rehearse, activate and roll back policies."""


@policy.command("list")
@as_json
def list_(json_: bool) -> None:
    """List all policies, the installation's first."""

    async def work(runtime: Runtime) -> Any:
        from penstock.server.policies import PolicySummary, summary_of

        asks = runtime.moderation.asks_provider
        found = await runtime.policies.all()
        summaries = (summary_of(runtime.policies, each, asks_provider=asks) for each in found)
        return [_dumped(PolicySummary(**each)) for each in summaries]

    found = opening.with_runtime(work)
    if json_:
        print_json(found)
        return
    header = ("id", "active", "latest", "version", "activated_at", "activated_by")
    print_table([[each[name] for name in header] for each in found], header=header)


@policy.command()
@click.argument("policy_id")
@click.option("--revision", type=click.IntRange(0), help="One revision.  [default: all there is]")
@as_json
def show(policy_id: str, revision: int | None, json_: bool) -> None:
    """Show the policy POLICY_ID: what holds, its revisions, its keys.

    Where nothing holds yet, the latest revision is printed.
    """

    async def work(runtime: Runtime) -> Any:
        from penstock.server.policies import policy_of, revision_of

        if revision is not None:
            found = await runtime.policies.revision(policy_id, revision)
            return _dumped(revision_of(found)), None
        standing = await runtime.policies.standing(policy_id)
        asks = runtime.moderation.asks_provider
        view = _dumped(await policy_of(runtime.policies, standing, asks_provider=asks))
        if standing.active is not None:
            return view, None
        latest = await runtime.policies.revision(policy_id, standing.latest)
        return view, _dumped(revision_of(latest))

    found, latest = opening.with_runtime(work)
    if json_:
        print_json(found)
        return
    facts = ("id", "policy_id", "active", "revision", "latest", "version", "note", "created_at")
    print_table([(name, found[name]) for name in facts if found.get(name) is not None])
    if latest is not None:
        number = latest["revision"]
        click.echo(f"\nno revision holds yet; this is revision {number}, which decides for nobody")
        click.echo(f"let it hold: penstock policy activate {policy_id} {number}", err=True)
    _print_thresholds((latest or found)["policy"])
    if found.get("revisions"):
        header = ("revision", "version", "note", "created_by", "created_at")
        click.echo()
        print_table([[each[h] for h in header] for each in found["revisions"]], header=header)
    if found.get("keys"):
        click.echo(f"\nkeys: {', '.join(found['keys'])}")
    _print_notes(found)


@policy.command()
@_file
@click.option("--id", "policy_id", help="Its id.  [default: the file's, or the file's name]")
@click.option("--note", default="", help="What the revision is for.")
@as_json
def draft(file: Path, policy_id: str | None, note: str, json_: bool) -> None:
    """Write FILE (TOML or JSON) as the next revision of its policy. It holds for nobody yet."""
    read = _read(file, policy_id)

    async def work(runtime: Runtime) -> Any:
        from penstock.server.policies import revision_of

        return _dumped(revision_of(await runtime.policies.draft(read, actor=ACTOR, note=note)))

    made = opening.with_runtime(work)
    if json_:
        print_json(made)
        return
    id, number = made["policy_id"], made["revision"]
    click.echo(f"revision {number} of {id} ({made['version']})")
    click.echo(f"try it: penstock policy dry-run {id} --revision {number}", err=True)


@policy.command("dry-run")
@click.argument("policy_id")
@click.option("--revision", type=click.IntRange(0), help="What is tried.  [default: the latest]")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--against",
    type=click.Choice(["recorded", "active"]),
    default="recorded",
    show_default=True,
    help="What it is compared with.",
)
@_since
@_owner
@_key
@click.option("--limit", type=click.IntRange(0, 200), default=10, show_default=True)
@as_json
def dry_run(
    policy_id: str,
    revision: int | None,
    file: Path | None,
    against: str,
    since: float | None,
    owner: str | None,
    key_id: str | None,
    limit: int,
    json_: bool,
) -> None:
    """What the policy would have decided about recorded verdicts; asks no model."""
    if file is not None and revision is not None:
        raise click.UsageError("try a --revision or a --file, not both")
    read = None if file is None else _read(file, policy_id)

    async def work(runtime: Runtime) -> Any:
        from penstock.server.policies import dry_run_of
        from penstock.services.moderation.rehearsal import Plan

        policies = runtime.policies
        judge = await _tried(runtime, policy_id, read=read, revision=revision)
        active = await policies.judge(policy_id) if against == "active" else None
        plan = Plan(judge, active, _selected(runtime, since=since, owner=owner, key_id=key_id))
        began = runtime.clock.monotonic()
        outcome = await _rehearsal(runtime).run(plan, examples=limit)
        return _dumped(dry_run_of(plan, outcome, seconds=runtime.clock.monotonic() - began))

    found = opening.with_runtime(work)
    print_json(found) if json_ else _print_dry_run(found)


@policy.command()
@click.argument("policy_id")
@click.argument("revision", type=click.IntRange(0))
@_expected
@as_json
def activate(policy_id: str, revision: int, expected: int | None, json_: bool) -> None:
    """Let REVISION of POLICY_ID hold from now on, in every running server."""
    _change(
        lambda runtime: runtime.policies.activate(
            policy_id, revision, actor=ACTOR, expected=expected
        ),
        json_=json_,
    )


@policy.command()
@click.argument("policy_id")
@_expected
@as_json
def rollback(policy_id: str, expected: int | None, json_: bool) -> None:
    """Let the revision of POLICY_ID hold that held before."""
    _change(
        lambda runtime: runtime.policies.roll_back(policy_id, actor=ACTOR, expected=expected),
        json_=json_,
    )


@policy.command()
@click.argument("policy_id")
@click.argument("key_id")
@as_json
def assign(policy_id: str, key_id: str, json_: bool) -> None:
    """Let POLICY_ID decide what the key KEY_ID asks, instead of the installation's policy."""

    async def work(runtime: Runtime) -> None:
        from penstock.server.keys import KeyRing
        from penstock.server.routes.policies import UNSTORED

        if key_id not in UNSTORED:
            await KeyRing(runtime.database, runtime.hub, runtime.clock).get(key_id)
        await runtime.policies.assign(policy_id, key_id, actor=ACTOR)

    opening.with_runtime(work)
    _told({"policy_id": policy_id, "key_id": key_id}, f"{policy_id} decides for {key_id}", json_)


@policy.command()
@click.argument("policy_id")
@click.argument("key_id")
@as_json
def unassign(policy_id: str, key_id: str, json_: bool) -> None:
    """Let the installation's policy decide what the key KEY_ID asks."""
    opening.with_runtime(lambda runtime: runtime.policies.unassign(policy_id, key_id, actor=ACTOR))
    told = f"the installation's policy decides for {key_id}"
    _told({"policy_id": None, "key_id": key_id}, told, json_)


@policy.command()
@click.argument("policy_id")
@click.option("--reviews-per-day", type=click.FloatRange(0), required=True)
@click.option("--draft", "drafts", is_flag=True, help="Write it as the policy's next revision.")
@_since
@_owner
@_key
@as_json
def suggest(
    policy_id: str,
    reviews_per_day: float,
    drafts: bool,
    since: float | None,
    owner: str | None,
    key_id: str | None,
    json_: bool,
) -> None:
    """Review thresholds that leave people so many reviews a day, learned from recorded scores."""

    async def work(runtime: Runtime) -> Any:
        from penstock.server.policies import suggestion_of
        from penstock.services.moderation import capacity

        began = runtime.clock.monotonic()
        found = await capacity.suggest(
            _rehearsal(runtime),
            await runtime.policies.judge(policy_id),
            reviews_per_day=reviews_per_day,
            selection=_selected(runtime, since=since, owner=owner, key_id=key_id),
        )
        made = None
        if drafts:
            note = f"for {reviews_per_day:g} reviews a day"
            made = await runtime.policies.draft(found.policy, actor=ACTOR, note=note)
        seconds = runtime.clock.monotonic() - began
        view = suggestion_of(found, capacity=reviews_per_day, seconds=seconds)
        return {**_dumped(view), **({"revision": made.number} if made else {})}

    found = opening.with_runtime(work)
    print_json(found) if json_ else _print_suggestion(found)


def _change(work: Work, *, json_: bool) -> None:
    async def changed(runtime: Runtime) -> Any:
        from penstock.server.policies import PolicySummary, summary_of

        standing, asks = await work(runtime), runtime.moderation.asks_provider
        return _dumped(PolicySummary(**summary_of(runtime.policies, standing, asks_provider=asks)))

    found = opening.with_runtime(changed)
    _told(found, f"revision {found['active']} of {found['id']} holds ({found['version']})", json_)
    if not json_:
        _print_notes(found)


async def _tried(
    runtime: Runtime, policy_id: str, *, read: Policy | None, revision: int | None
) -> Judge:
    from penstock.services.moderation.policy import Judge

    policies = runtime.policies
    if read is not None:
        return Judge(read)
    latest = (await policies.standing(policy_id)).latest
    return await policies.judge(policy_id, latest if revision is None else revision)


def _selected(
    runtime: Runtime, *, since: float | None, owner: str | None, key_id: str | None
) -> Selection:
    from penstock.services.moderation.rehearsal_store import Selection

    at = None if since is None else int((runtime.clock.now() - since) * 1000)
    return Selection(since=at, owner=owner, key_id=key_id)


def _rehearsal(runtime: Runtime) -> Rehearsal:
    from penstock.services.moderation.rehearsal import Rehearsal

    return Rehearsal(runtime.database, clock=runtime.clock)


def _read(file: Path, policy_id: str | None) -> Policy:
    """The policy of a TOML or JSON file. Raises InvalidInput with the place."""
    from penstock.services.moderation.policy import read_policy

    try:
        if file.stat().st_size > LARGEST_FILE:
            raise InvalidInput(f"{file}: no policy is larger than 1 MB")
        text = file.read_text("utf-8")
        document = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from error
    if isinstance(document, dict):
        id = policy_id or document.get("id") or file.stem
        document = {**document, "id": id}
    try:
        return read_policy(document)
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error.detail}") from None


def _print_thresholds(document: dict[str, Any]) -> None:
    rows = [
        (name, *("never" if limits[action] is None else limits[action] for action in actions))
        for actions in [("review", "flag", "reject")]
        for name, limits in document["thresholds"].items()
    ]
    click.echo()
    print_table(rows, header=("category", "review", "flag", "reject"))


def _print_dry_run(found: dict[str, Any]) -> None:
    click.echo(
        f"{found['changed']} of {found['examined']} recorded verdicts would change "
        f"({found['model_calls']} model calls, {found['duration_seconds']:.1f} s)"
    )
    click.echo()
    print_table(
        [(move["from"], move["to"], move["count"]) for move in found["decisions"]],
        header=("from", "to", "verdicts"),
    )
    if found["categories"]:
        click.echo()
        header = ("category", "stricter", "looser")
        print_table([[each[h] for h in header] for each in found["categories"]], header=header)
    if found["examples"]:
        click.echo()
        shown = ("verdict_id", "from", "to", "to_reason", "created_at")
        print_table([[each[h] for h in shown] for each in found["examples"]], header=shown)
    _print_notes(found)


def _print_suggestion(found: dict[str, Any]) -> None:
    facts = ("before", "after", "fixed", "approved_instead", "reviewed_instead", "days")
    print_table([(name.replace("_", " "), round(found[name], 2)) for name in facts])
    _print_thresholds(found["policy"])
    _print_notes(found)
    if "revision" in found:
        click.echo(f"\nwritten as revision {found['revision']} of {found['policy']['id']}")


def _print_notes(found: dict[str, Any]) -> None:
    for note in found.get("notes", ()):
        click.echo(f"note: {note}", err=True)


def _dumped(view: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = view.model_dump(mode="json", by_alias=True)
    return dumped


def _told(document: dict[str, Any], words: str, json_: bool) -> None:
    print_json(document) if json_ else click.echo(words)
