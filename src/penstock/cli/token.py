"""`penstock token`: API keys of this installation. A token is shown once, when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from penstock.cli import opening
from penstock.cli.duration import in_seconds
from penstock.cli.output import as_json, instant, print_json, print_table

if TYPE_CHECKING:
    from penstock.server.keys import KeyRing
    from penstock.server.store import KeyRecord

ACTOR = "cli"
PAGE = 200


@click.group()
def token() -> None:
    """Make, list and revoke API keys."""


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
@click.option(
    "--rate-limit", type=click.IntRange(0), help="Requests a minute; 0: none.  [default: server's]"
)
@click.option("--prefix", default="psk_", show_default=True, help="How the token begins.")
@as_json
def create(
    name: str,
    role: Any,
    owner: str | None,
    expires: float | None,
    rate_limit: int | None,
    prefix: str,
    json_: bool,
) -> None:
    """Make a key and print its token, this once."""
    made = opening.with_keys(
        lambda ring: ring.create(
            name,
            actor=ACTOR,
            role=role,
            owner=owner,
            rate_limit=rate_limit,
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
        shown = [_shown(record) for record in records]
        header = ("id", "name", "role", "prefix", "rate_limit", "created", "expires", "revoked")
        print_table([[each[name] for name in header] for each in shown], header=header)


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


def _shown(record: KeyRecord) -> dict[str, Any]:
    """A key without its digest."""
    return {
        "id": record.id,
        "name": record.name,
        "owner": record.owner,
        "role": record.role,
        "prefix": record.prefix,
        "rate_limit": record.rate_limit,
        "created": instant(record.created_at),
        "expires": instant(record.expires_at),
        "revoked": instant(record.revoked_at),
        "last_used": instant(record.last_used_at),
    }
