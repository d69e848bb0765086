"""`penstock cache`: what is remembered, by key and pattern; forgetting it; learning ahead.

The memory tier lives in each running server and is not seen from here; what is cleared or deleted
here is forgotten there too.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

from penstock.cli import lines, opening
from penstock.cli.duration import in_seconds
from penstock.cli.failure import FAILED, OK, UNREACHABLE, one_line
from penstock.cli.output import as_json, print_json, print_table, size, span
from penstock.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from penstock.cache import Cache
    from penstock.runtime import Runtime

OWN = "memory"  # the tier of this very process: it begins empty and ends with it
COUNTED = 100_000  # a preview counts no further


@click.group()
def cache() -> None:
    """Look into the cache, clear it, warm it."""


@cache.command()
@as_json
def stats(json_: bool) -> None:
    """Show entries and sizes of the tiers that outlive a process.

    Hits and misses are counted by each server: GET /v1/cache.
    """
    found = opening.with_cache(lambda cache: cache.stats())
    facts = ("entries", "size_bytes", "max_bytes", "state", "detail")
    tiers: dict[str, dict[str, Any]] = {
        name: {fact: getattr(tier, fact) for fact in facts}
        for name, tier in found.tiers.items()
        if name != OWN
    }
    if json_:
        print_json({"enabled": found.enabled, "tiers": tiers})
        return
    if not found.enabled:
        click.echo("the cache is turned off (ENABLE_CACHE)", err=True)
    print_table(
        [
            (name, tier["entries"], size(tier["size_bytes"]), _bound(tier["max_bytes"]), *state)
            for name, tier in tiers.items()
            for state in [(tier["state"], tier["detail"])]
        ],
        header=("tier", "entries", "size", "most", "state", "detail"),
    )


@cache.command("list")
@click.argument("pattern", default="*")
@click.option("--limit", type=click.IntRange(1, COUNTED), default=100, show_default=True)
@as_json
def list_(pattern: str, limit: int, json_: bool) -> None:
    """List entries whose key matches PATTERN: * any text, ? one letter, [ab] a set."""
    found = opening.with_cache(lambda cache: cache.scan(pattern, limit))
    if json_:
        print_json(found)
        return
    print_table(
        [
            (e.key, size(e.size_bytes), span(e.age_seconds), span(e.expires_in_seconds), e.tier)
            for e in found
        ],
        header=("key", "size", "age", "expires in", "tier"),
    )


@cache.command()
@click.argument("key")
@as_json
def get(key: str, json_: bool) -> None:
    """Print the value under KEY as JSON; with --json its source and age too."""
    hit = opening.with_cache(lambda cache: cache.lookup(key))
    if hit is None:
        raise NotFound(f"there is no cached key {key!r}")
    print_json(
        {"key": key, "value": hit.value, "source": hit.source, "age_seconds": hit.age}
        if json_
        else hit.value
    )


@cache.command()
@click.argument("key")
@as_json
def delete(key: str, json_: bool) -> None:
    """Forget the entry under KEY, in every running server too."""
    deleted = opening.with_cache(lambda cache: cache.delete(key))
    if not deleted:
        raise NotFound(f"there is no cached key {key!r}")
    _told({"deleted": deleted}, f"deleted {one_line(key)}", json_)


@cache.command()
@click.option("--pattern", help="Only keys that match.")
@click.option("--tag", help="Only entries with this tag.")
@click.option("--namespace", help="Only keys that begin with this word and a colon.")
@click.option("--older-than", callback=in_seconds, help="Only entries older than: 12h, 30d.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def clear(
    pattern: str | None,
    tag: str | None,
    namespace: str | None,
    older_than: float | None,
    yes: bool,
    json_: bool,
) -> None:
    """Forget entries that fulfil everything given; all of them when nothing is.

    Says how many that would be, and asks, unless --yes is given.
    """
    if tag is not None and namespace is not None:
        raise click.UsageError("clear by --tag or by --namespace, not both")

    selection = Selected(pattern, tag, namespace, older_than)
    cleared = opening.with_cache(lambda cache: _clear(cache, selection, ask=not yes))
    _told({"cleared": cleared}, f"{cleared} entries forgotten", json_)


@cache.command()
@click.argument("file", type=click.File("rb"))
@as_json
def warm(file: IO[bytes], json_: bool) -> None:
    """Judge every line of FILE (- for stdin) ahead of time, so that its first request is a hit."""
    counts = opening.with_runtime(lambda runtime: _warm(runtime, file))
    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    _told(counts, told, json_)
    code = FAILED if counts["refused"] else UNREACHABLE if counts["failed"] else OK
    raise click.exceptions.Exit(code)


class Selected(NamedTuple):
    """Which entries are meant: those that fulfil all that is given."""

    pattern: str | None = None
    tag: str | None = None
    namespace: str | None = None
    older_than: float | None = None  # seconds


async def preview(cache: Cache, selected: Selected) -> str:
    """How many entries a selection means, in words; tags are not listed anywhere."""
    from penstock.cache.patterns import escape, matcher

    pattern, tag, namespace, older_than = selected
    if tag is not None:
        return f"every entry with the tag {tag!r}"
    found = await cache.scan(f"{escape(namespace)}:*" if namespace else pattern or "*", COUNTED)
    matches = matcher(pattern or "*")
    meant = sum(
        1
        for entry in found
        if matches(entry.key) and (older_than is None or entry.age_seconds > older_than)
    )
    return f"{meant}{' or more' if len(found) >= COUNTED else ''} entries"


async def _clear(cache: Cache, selected: Selected, *, ask: bool) -> int:
    if ask:
        meant = await preview(cache, selected)
        click.confirm(f"{meant} will be forgotten. Go on?", abort=True, err=True)
    return await cache.clear(**selected._asdict())


async def _warm(runtime: Runtime, file: IO[bytes]) -> dict[str, int]:
    from penstock.cli.moderate import OWNER

    counts = {"computed": 0, "known": 0, "failed": 0, "refused": 0}
    with lines.progress(file, "warm") as meter:
        for part in lines.parts(lines.read(file)):
            with meter.aside():
                texts = _usable(part)
            counts["refused"] += len(part) - len(texts)
            done = await runtime.moderation.warm(texts, owner=OWNER)
            for name, number in done._asdict().items():
                counts[name] += number
            meter.advance(len(part))
    return counts


def _bound(most: int) -> str:
    """What a tier may hold at most."""
    return size(most) if most else "unbounded"


def _usable(part: list[lines.Line]) -> list[str]:
    """The texts that can be judged; the others are named on standard error."""
    from penstock.services.moderation.service import check_text

    texts = []
    for line in part:
        fault = line.fault
        if not fault:
            try:
                check_text(line.text)
            except InvalidInput as error:
                fault = error.detail
        if fault:
            click.echo(f"error: line {line.number}: {one_line(fault)}", err=True)
        else:
            texts.append(line.text)
    return texts


def _told(document: dict[str, int], words: str, json_: bool) -> None:
    print_json(document) if json_ else click.echo(words)
