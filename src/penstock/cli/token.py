"""`penstock token`: API keys of this installation. A token is shown once, when it is made."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from penstock.cli import opening
from penstock.cli.duration import in_seconds
from penstock.cli.output import as_json, instant, print_json, print_table

if TYPE_CHECKING:
    from penstock.server.keys import KeyRing
    from penstock.server.store import KeyRecord
    from penstock.usage.budgets import Period

ACTOR = "cli"
PAGE = 200


def _limits(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of what a key may use."""
    options = (
        click.option(
            "--rate-limit",
            type=click.IntRange(0),
            help="Requests a minute; 0: none.  [default: server's]",
        ),
        click.option(
            "--route-limit",
            "route_limits",
            multiple=True,
            metavar="ROUTE=RATE",
            callback=_rates,
            help="Requests to a route: 'POST /v1/batches=10/h', =0: none. May be repeated.",
        ),
        click.option(
            "--budget-micros",
            type=click.IntRange(0),
            help="Money that it may spend in a period, in millionths of the currency.",
        ),
        click.option(
            "--budget-tokens", type=click.IntRange(0), help="Tokens that it may use in a period."
        ),
        click.option(
            "--budget-period",
            type=click.Choice(["day", "month"]),
            help="The period of both, UTC.  [default: month]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _rates(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    rates = {}
    for word in words:
        route, equals, rate = word.rpartition("=")
        if not equals:
            raise click.BadParameter(f"{word!r}; write ROUTE=RATE: 'POST /v1/batches=10/h'")
        rates[route] = rate
    return rates


@click.group()
def token() -> None:
    """Make, list, change and revoke API keys."""


@token.command()
@click.option("--name", required=True, help="What the key is for.")
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "admin"]),
    default="operator",
    show_default=True,
    help="viewer reads, operator moderates, admin manages keys.",
)
@click.option("--owner", help="Whose records the key sees.  [default: its own]")
@click.option("--expires", callback=in_seconds, help="Valid for: 12h, 30d.  [default: ever]")
@_limits
@click.option("--prefix", default="psk_", show_default=True, help="How the token begins.")
@as_json
def create(
    name: str,
    role: Any,
    owner: str | None,
    expires: float | None,
    rate_limit: int | None,
    route_limits: dict[str, str],
    budget_micros: int | None,
    budget_tokens: int | None,
    budget_period: Period | None,
    prefix: str,
    json_: bool,
) -> None:
    """Make a key and print its token, this once."""
    from penstock.usage.budgets import Budget

    budget = Budget(budget_micros, budget_tokens, budget_period or "month")
    made = opening.with_keys(
        lambda ring: ring.create(
            name,
            actor=ACTOR,
            role=role,
            owner=owner,
            rate_limit=rate_limit,
            route_limits=route_limits,
            budget=budget,
            expires_in=expires,
            prefix=prefix,
        )
    )
    if json_:
        print_json({"token": made.token, **_shown(made.record)})
        return
    rows = [(label, value) for label, value in _shown(made.record).items() if value is not None]
    print_table([("token", made.token), *rows])
    click.echo("keep the token now: it is stored as a digest and cannot be shown again", err=True)


@token.command("list")
@as_json
def list_(json_: bool) -> None:
    """List all keys, newest first."""
    records = opening.with_keys(_all)
    if json_:
        print_json([_shown(record) for record in records])
    elif not records:
        click.echo("there is no key yet; make one with: penstock token create --name NAME")
    else:
        shown = [{**_shown(record), **_in_words(record)} for record in records]
        header = (
            *("id", "name", "role", "prefix", "rate_limit", "route_limits", "budget"),
            *("created", "expires", "revoked"),
        )
        print_table([[each[name] for name in header] for each in shown], header=header)


@token.command()
@click.argument("key_id")
@click.option("--name", help="What the key is for.")
@_limits
@click.option(
    "--lift",
    multiple=True,
    type=click.Choice(["rate-limit", "route-limits", "budget"]),
    help="Take a limit away: the server's own hold then. May be repeated.",
)
@as_json
def change(key_id: str, lift: tuple[str, ...], json_: bool, **given: Any) -> None:
    """Change the name, the limits or the budget of KEY_ID, in every running server."""
    values = {name: value for name, value in given.items() if value not in (None, {})}
    for lifted in lift:
        names = ("budget_micros", "budget_tokens", "budget_period")
        own = names if lifted == "budget" else (lifted.replace("-", "_"),)
        values = {**dict.fromkeys(own), **values}
    if not values:
        raise click.UsageError("say what is to be different; see: penstock token change --help")

    def apply(ring: KeyRing) -> Awaitable[KeyRecord]:
        from penstock.server.limits import kept_routes

        if "route_limits" in values:
            values["route_limits"] = kept_routes(values["route_limits"])
        return ring.change(key_id, values, actor=ACTOR)

    record = opening.with_keys(apply)
    if json_:
        print_json(_shown(record))
    else:
        click.echo(f"changed {record.id} ({record.name})")


@token.command()
@click.argument("key_id")
@as_json
def revoke(key_id: str, json_: bool) -> None:
    """Refuse KEY_ID from now on, in every running server."""
    record = opening.with_keys(lambda ring: ring.revoke(key_id, actor=ACTOR))
    if json_:
        print_json(_shown(record))
    else:
        click.echo(f"revoked {record.id} ({record.name})")


async def _all(ring: KeyRing) -> list[KeyRecord]:
    records: list[KeyRecord] = []
    while True:
        after = (records[-1].created_at, records[-1].id) if records else None
        page = await ring.page(after=after, limit=PAGE)
        records += page
        if len(page) < PAGE:
            return records


def _in_words(record: KeyRecord) -> dict[str, str | None]:
    """What a key may use, each in one cell."""
    routes = json.loads(record.route_limits) if record.route_limits else {}
    amounts = ((record.budget_micros, "micros"), (record.budget_tokens, "tokens"))
    spent = [f"{amount} {unit}" for amount, unit in amounts if amount is not None]
    return {
        "route_limits": ", ".join(f"{route}={rate}" for route, rate in routes.items()) or None,
        "budget": f"{', '.join(spent)} a {record.budget_period}" if spent else None,
    }


def _shown(record: KeyRecord) -> dict[str, Any]:
    """A key without its digest."""
    return {
        "id": record.id,
        "name": record.name,
        "owner": record.owner,
        "role": record.role,
        "prefix": record.prefix,
        "rate_limit": record.rate_limit,
        "route_limits": json.loads(record.route_limits) if record.route_limits else None,
        "budget_micros": record.budget_micros,
        "budget_tokens": record.budget_tokens,
        "budget_period": record.budget_period,
        "created": instant(record.created_at),
        "expires": instant(record.expires_at),
        "revoked": instant(record.revoked_at),
        "last_used": instant(record.last_used_at),
    }
