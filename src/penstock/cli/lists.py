"""`penstock lists`: words, patterns and hashes that block, allow or leave to a human.

Running servers learn what is changed here at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import IO, TYPE_CHECKING, Any

import click

from penstock.cli import opening
from penstock.cli.failure import FAILED, OK, one_line
from penstock.cli.output import as_json, instant, print_json, print_table
from penstock.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from penstock.lists.files import FileFormat, Report
    from penstock.lists.lists import Lists
    from penstock.lists.store import EntryRecord, ListRecord
    from penstock.runtime import Runtime

ACTOR = "cli"
CHUNK = 64 << 10
PAGE = 1_000
LIST_KINDS = ("block", "allow", "review")
ENTRY_KINDS = ("phrase", "wildcard", "regex", "sha256", "pdq", "phash")

Command = Callable[..., None]

which = click.argument("list_", metavar="LIST")
of_kind = click.option(
    "--kind", type=click.Choice(ENTRY_KINDS), default="phrase", show_default=True
)


@click.group()
def lists() -> None:
    """Keep lists of what to block, allow or leave to people. LIST is an id or a name."""


@lists.command("list")
@as_json
def list_(json_: bool) -> None:
    """List all lists, newest first."""

    async def work(runtime: Runtime) -> list[dict[str, Any]]:
        return [_shown(runtime.lists, record) for record in await _all(runtime.lists)]

    found = opening.with_runtime(work)
    if json_:
        print_json(found)
    elif not found:
        click.echo("there is no list yet; make one with: penstock lists create NAME --kind block")
    else:
        header = ("id", "name", "kind", "key_id", "disguises", "enabled", "entries")
        print_table([[each[name] for name in header] for each in found], header=header)


@lists.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(LIST_KINDS), required=True, help="What a hit does.")
@click.option("--key", "key_id", help="Id of the API key it is for.  [default: everyone]")
@click.option(
    "--disguises/--strict",
    default=True,
    show_default=True,
    help="Also find words that are written to look like others.",
)
@as_json
def create(name: str, kind: Any, key_id: str | None, disguises: bool, json_: bool) -> None:
    """Make an empty list."""

    async def work(runtime: Runtime) -> dict[str, Any]:
        await _check_key(runtime, key_id)
        record = await runtime.lists.create(
            name, kind=kind, key_id=key_id, disguises=disguises, actor=ACTOR
        )
        return _shown(runtime.lists, record)

    made = opening.with_runtime(work)
    print_json(made) if json_ else click.echo(f"made {made['id']}")


@lists.command()
@which
@click.argument("values", nargs=-1)
@of_kind
@click.option(
    "--image",
    "images",
    type=click.File("rb"),
    multiple=True,
    help="A picture: it and what looks like it (PDQ), or exactly it where it shows too little.",
)
@click.option("--note", default="", help="Why, for whoever looks at the list.")
@as_json
def add(
    list_: str,
    values: tuple[str, ...],
    kind: str,
    images: tuple[IO[bytes], ...],
    note: str,
    json_: bool,
) -> None:
    """Add entries to LIST: VALUES of one kind, and images."""
    if not values and not images:
        raise click.UsageError("give values, or an --image")
    given = [(kind, value) for value in values] + [_looks(image) for image in images]

    async def work(runtime: Runtime) -> Report:
        entries = [(kind, value, note) for kind, value in given]
        found = await _find(runtime.lists, list_)
        try:
            return await runtime.lists.add(found.id, entries, actor=ACTOR)
        except InvalidInput as error:
            _name_faults(error, "value")
            raise

    _tell(opening.with_runtime(work), json_)


@lists.command()
@which
@click.argument("value")
@of_kind
@as_json
def remove(list_: str, value: str, kind: Any, json_: bool) -> None:
    """Remove the entry VALUE from LIST."""

    async def work(runtime: Runtime) -> int:
        found = await _find(runtime.lists, list_)
        entry = await runtime.lists.find_entry(found.id, kind=kind, value=value)
        await runtime.lists.remove(found.id, entry.id, actor=ACTOR)
        return entry.id

    removed = opening.with_runtime(work)
    print_json({"removed": removed}) if json_ else click.echo(f"removed {one_line(value)}")


@lists.command()
@which
@as_json
def entries(list_: str, json_: bool) -> None:
    """Print the entries of LIST, oldest first."""

    async def work(runtime: Runtime) -> list[EntryRecord]:
        found, records = await _find(runtime.lists, list_), list[Any]()
        while page := await runtime.lists.entries(
            found.id, after=records[-1].id if records else 0, limit=PAGE
        ):
            records += page
        return records

    found = opening.with_runtime(work)
    if json_:
        fields = ("id", "list_id", "kind", "value", "note", "created_by")
        print_json(
            [
                {name: getattr(each, name) for name in fields}
                | {"created_at": instant(each.created_at)}
                for each in found
            ]
        )
        return
    header = ("id", "kind", "value", "note", "by", "created")
    rows = [(e.id, e.kind, e.value, e.note, e.created_by, instant(e.created_at)) for e in found]
    print_table(rows, header=header)


@lists.command("import")
@which
@click.argument("file", type=click.File("rb"))
@click.option(
    "--format",
    type=click.Choice(["text", "csv"]),
    help="[default: by FILE's name, or its first line]",
)
@of_kind
@click.option("--partial", is_flag=True, help="Take what can be taken; otherwise all or nothing.")
@as_json
def import_(
    list_: str, file: IO[bytes], format: Any, kind: Any, partial: bool, json_: bool
) -> None:
    """Add the entries of FILE (- for stdin) to LIST.

    Text has one a line, of one kind, and # comments; CSV the columns kind,value,note.
    """
    begin = file.read(CHUNK)
    form: FileFormat = format or _format(file, begin)

    async def work(runtime: Runtime) -> Report:
        found = await _find(runtime.lists, list_)
        try:
            return await runtime.lists.import_(
                found.id, _chunks(begin, file), format=form, kind=kind, actor=ACTOR, partial=partial
            )
        except InvalidInput as error:
            _name_faults(error, "line")
            raise

    report = opening.with_runtime(work)
    _tell(report, json_)
    raise click.exceptions.Exit(FAILED if report.refused else OK)


@lists.command()
@which
@click.option("--format", type=click.Choice(["text", "csv"]), default="csv", show_default=True)
@of_kind
def export(list_: str, format: Any, kind: Any) -> None:
    """Print LIST as a file that import takes; as text the entries of one kind."""

    async def work(runtime: Runtime) -> None:
        found = await _find(runtime.lists, list_)
        async for part in runtime.lists.export(found.id, format=format, kind=kind):
            click.echo(part, nl=False)

    opening.with_runtime(work)


@lists.command()
@click.argument("text")
@click.option("--key", "key_id", help="Id of the API key whose lists count too.")
@as_json
def test(text: str, key_id: str | None, json_: bool) -> None:
    """Say what the lists would match in TEXT, and where."""

    async def work(runtime: Runtime) -> Any:
        await _check_key(runtime, key_id)
        return await runtime.lists.match_long(text, key=key_id)

    listed = opening.with_runtime(work)
    if json_:
        print_json(listed)
        return
    click.echo(listed.decision or ("no list decides" if listed.hits else "no entry is found"))
    if listed.hits:
        header = ("list", "kind", "entry", "place", "found")
        rows = [
            (h.list_name, h.list_kind, h.entry_id, f"{h.start}-{h.end}", text[h.start : h.end])
            for h in listed.hits
        ]
        print_table(rows, header=header)


@lists.command()
@which
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def delete(list_: str, yes: bool, json_: bool) -> None:
    """Delete LIST with its entries."""

    async def work(runtime: Runtime) -> ListRecord:
        found = await _find(runtime.lists, list_)
        if not yes:
            count = runtime.lists.count(found.id)
            click.confirm(f"{found.name} has {count} entries. Delete it?", abort=True, err=True)
        await runtime.lists.delete(found.id, actor=ACTOR)
        return found

    deleted = opening.with_runtime(work)
    print_json({"deleted": deleted.id}) if json_ else click.echo(f"deleted {deleted.name}")


async def _all(lists: Lists) -> list[ListRecord]:
    return await lists.page(after=None, limit=1 << 30, seen_by=None)


async def _find(lists: Lists, name: str) -> ListRecord:
    """The list of this id, or the only one of this name."""
    found = [each for each in await _all(lists) if name in (each.id, each.name)]
    if not found:
        raise NotFound(f"there is no list {name!r}; see: penstock lists list")
    if len(found) > 1:
        told = "".join(f"\n  {each.id}  {_owner(each)}" for each in found)
        raise click.UsageError(f"{len(found)} lists are called {name!r}; give the id of one:{told}")
    return found[0]


def _shown(lists: Lists, record: ListRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "kind": record.kind,
        "key_id": record.key_id,
        "disguises": record.disguises,
        "enabled": record.enabled,
        "entries": lists.count(record.id),
        "created_at": instant(record.created_at),
    }


def _owner(record: ListRecord) -> str:
    return "for everyone" if record.key_id is None else f"for the key {record.key_id}"


async def _check_key(runtime: Runtime, key_id: str | None) -> None:
    """Refuse a key that there is not: its lists would never act."""
    from penstock.server.keys import KeyRing
    from penstock.server.routes.lists import UNSTORED

    if key_id is not None and key_id not in UNSTORED:
        await KeyRing(runtime.database, runtime.hub, runtime.clock).get(key_id)


def _looks(image: IO[bytes]) -> tuple[str, str]:
    """The entry for a picture."""
    from penstock.images import LIMITS
    from penstock.lists.pictures import looks_of

    return looks_of(image.read(LIMITS.bytes + 1)).entry


def _format(file: IO[bytes], begin: bytes) -> FileFormat:
    from penstock.lists.files import is_csv

    named = str(getattr(file, "name", "")).endswith(".csv")
    return "csv" if named or is_csv(begin) else "text"


async def _chunks(begin: bytes, file: IO[bytes]) -> AsyncIterator[bytes]:
    yield begin
    while chunk := file.read(CHUNK):
        yield chunk


def _name_faults(error: InvalidInput, what: str) -> None:
    """Say on standard error what is wrong with which line or value."""
    faults = error.fields.get("errors")
    for fault in faults if isinstance(faults, list) else ():
        number = int(fault["pointer"].rpartition("/")[2]) + (what == "value")
        click.echo(f"{what} {number}: {one_line(fault['detail'])}", err=True)


def _tell(report: Report, json_: bool) -> None:
    if json_:
        print_json(report)
        return
    click.echo(f"{report.taken} taken, {report.skipped} skipped, {report.refused} refused")
    for refusal in report.refusals:
        click.echo(f"line {refusal.line}: {one_line(refusal.detail)}", err=True)
