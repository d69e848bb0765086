"""`penstock db`: the tables of the database, and the way from SQLite to PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli import opening
from penstock.cli.failure import FAILED, USAGE, Failure, one_line
from penstock.cli.output import as_json, print_json, print_table, size

if TYPE_CHECKING:
    from penstock.db import DatabaseHealth
    from penstock.db.copying import Copied
    from penstock.db.location import Location
    from penstock.settings import Settings


COPY_TO = "PENSTOCK_COPY_TO"
MAX_URL = 8192  # characters


@click.group()
def db() -> None:
    """Look at the database, bring it up to date, move it to PostgreSQL."""


@db.command()
@opening.at_home
@as_json
def status(json_: bool) -> None:
    """Say where the database is, how far its tables are and whether it can be written.

    Exits with 1 when the tables are not those of this version.
    """
    from penstock.db import revisions

    own = opening.settings()
    found = revisions.stored(own.database, folder=own.home)
    health = asyncio.run(_health(own)) if found.is_current else None
    document = {
        "dialect": found.dialect,
        "where": found.where,
        "revision": found.revision,
        "newest": found.newest,
        **(health or {}),
    }
    print_json(document) if json_ else print_table(_facts(document))
    if health is not None and health["detail"]:
        what, _, fix = health["detail"].partition("; ")
        raise Failure(what, fix=fix)
    if not found.is_current:
        raise Failure("the tables are not those of this version", fix="run: penstock db upgrade")


@db.command()
@opening.at_home
@as_json
def upgrade(json_: bool) -> None:
    """Make the tables, or bring them to the form of this version; a server does so at its start."""
    from penstock.db import revisions

    own = opening.settings()
    before = revisions.stored(own.database, folder=own.home)
    changed = revisions.upgrade(own.database, folder=own.home)
    if json_:
        print_json({"changed": changed, "from": before.revision, "revision": before.newest})
    elif not changed:
        click.echo(f"{before.where} is up to date (revision {before.newest})")
    else:
        click.echo(f"{before.where}: revision {before.revision or 'none'} -> {before.newest}")


@db.command()
@click.option(
    "--to",
    metavar="URL",
    envvar=COPY_TO,
    help="The PostgreSQL database; -: read from standard input.  [default: PENSTOCK_COPY_TO; "
    "DATABASE_URL, if it is one]",
)
@click.option(
    "--from",
    "from_",
    metavar="URL",
    help="The SQLite database.  [default: DATABASE_URL, if it is one; penstock.db in the folder]",
)
@click.option("--replace", is_flag=True, help="Remove what the PostgreSQL database has first.")
@opening.at_home
@as_json
def copy(to: str | None, from_: str | None, replace: bool, json_: bool) -> None:
    """Copy all records of an embedded installation into PostgreSQL, and compare them.

    Stop servers and workers before. In one transaction: all is copied, or nothing. The SQLite
    database stays as it is. A URL with a password comes by DATABASE_URL, PENSTOCK_COPY_TO or
    standard input: everybody on the machine sees command lines.
    """
    from penstock.cli import services_ledger
    from penstock.db import revisions
    from penstock.extras import extra

    own = opening.settings()
    services_ledger.warn_if_running(
        own.home, "what they write meanwhile may miss in the copy: penstock services stop first"
    )
    source, target = _source(own, from_), _target(own, to)
    revisions.upgrade(target, folder=own.home)
    with extra("postgres"):
        from penstock.db import copying

    def tell(copied: Copied) -> None:
        if copied.rows and not json_:
            click.echo(f"{copied.table}: {copied.rows}", err=True)

    result = asyncio.run(copying.copy(source, target, replace=replace, tell=tell))
    _print_copied(result.tables, json_)
    if result.is_behind:
        raise Failure(
            f"{source.path} was written to while it was copied; what came last is not in the copy",
            fix="stop servers and workers, then repeat with --replace",
            exit_code=FAILED,
        )


async def _health(own: Settings) -> DatabaseHealth:
    from penstock.db.engine import open_database

    opened = open_database(own.database, folder=own.home)
    try:
        return await opened.health()
    finally:
        await opened.aclose()


def _facts(document: dict[str, object]) -> list[tuple[str, str]]:
    facts = []
    for name, value in document.items():
        if name in ("path", "integrity", "detail"):
            continue  # told already, not looked for, told below
        match name, value:
            case _, dict():
                told = ", ".join(f"{key} {part}" for key, part in value.items())
            case _, int() if name.endswith("_bytes"):
                told = size(value)
            case _, float():
                told = f"{value * 1000:.1f} ms"
            case "writable", bool():
                told = "yes" if value else "no"
            case _:
                told = "none" if value is None else one_line(str(value))
        facts.append((name.removesuffix("_bytes").removesuffix("_seconds"), told))
    return facts


def _print_copied(tables: list[Copied], json_: bool) -> None:
    replaced = sum(copied.replaced for copied in tables)
    if json_:
        print_json({"tables": [copied._asdict() for copied in tables], "replaced_nul": replaced})
        return
    print_table(
        [(copied.table, copied.rows, copied.checksum) for copied in tables],
        header=("table", "rows", "checksum, equal in both"),
    )
    click.echo(f"{sum(copied.rows for copied in tables)} rows copied")
    if replaced:
        click.echo(f"in {replaced} texts NUL became U+2400: PostgreSQL cannot hold it", err=True)


def _source(own: Settings, url: str | None) -> Location:
    """Where to copy from: refused unless it is there, with the tables of this version."""
    from penstock.db import revisions
    from penstock.db.location import Location, is_postgres, locate

    given = url or (None if is_postgres(own.database) else own.database)
    path = locate(given, folder=own.home).path
    source = Location(path, read_only=True)
    found = revisions.stored(source.url, folder=own.home)
    if found.revision is None:
        raise Failure(
            f"there is no database of Penstock at {path}",
            fix="set PENSTOCK_HOME or --home to the data folder, or name it with --from",
            exit_code=USAGE,
        )
    if not found.is_current:
        raise Failure(
            f"{path} has revision {found.revision}, this version writes {found.newest}",
            fix=f"DATABASE_URL={Location(Path(path)).url} penstock db upgrade",
        )
    return source


def _target(own: Settings, url: str | None) -> str:
    from penstock.db.location import is_postgres, shown

    if url == "-":
        url = sys.stdin.readline(MAX_URL).strip()
    given = own.database if url is None else url
    if not is_postgres(given):
        raise Failure(
            f"{shown(given) or 'nothing'} is no PostgreSQL database",
            fix="set DATABASE_URL=postgresql://user:password@host:5432/name and repeat: there, a "
            "password is in no list of processes",
            exit_code=USAGE,
        )
    return given
