"""`penstock batch`: answers a file of requests, and goes on where it stopped when it is run again.

The batch is stored before it is worked on, under an id made of the file, the endpoint and what
answers: the same command finds it again. A server on the same data folder works on it too.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from penstock.cli import lines, opening, sink
from penstock.cli.failure import FAILED, OK, UNREACHABLE
from penstock.cli.output import as_json, instant, print_json, span
from penstock.errors import InvalidInput

if TYPE_CHECKING:
    from penstock.batch import Batch, Batches, NewItem
    from penstock.runtime import Runtime

OWNER = "cli"
WINDOW = 30 * 86_400.0


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the results go, one line for each line, in order.",
)
@click.option(
    "--endpoint", default="/v1/moderations", show_default=True, help="What answers each line."
)
@click.option("--fresh", is_flag=True, help="Answer every line anew, whatever was done before.")
@as_json
def batch(file: IO[bytes], out: Path, endpoint: str, fresh: bool, json_: bool) -> None:
    """Answer every line of FILE (JSON lines) and write the results to a file.

    A line is a request ({"input": ...}), a text in quotes, {"custom_id": ..., "body": ...} or a
    line of OpenAI's batch files. Stopped or killed, the same command goes on where it was. Exits
    with 1 when a line has no answer, with 130 or 143 when a signal stopped it.
    """
    with sink.opened(out, source=file) as place:
        ended = opening.with_runtime(
            lambda runtime: _answer(runtime, file, place, endpoint, fresh), workers=None
        )
    if json_:
        print_json(_summary(ended, out), err=place.is_stdout)
    else:
        click.echo(_sentence(ended, out), err=place.is_stdout)
    if ended.status not in ("completed", "expired"):
        raise click.exceptions.Exit(UNREACHABLE if ended.status == "failed" else FAILED)
    raise click.exceptions.Exit(FAILED if ended.failed else OK)


async def _answer(
    runtime: Runtime, file: IO[bytes], place: sink.Sink, endpoint: str, fresh: bool
) -> Batch:
    batches = runtime.batches
    batches.check_endpoint(endpoint)
    started = await _start(batches, file, endpoint, fresh=fresh)
    following = asyncio.ensure_future(_follow(batches, started))
    with _asked_to_end() as asked:
        await asyncio.wait((following, asked), return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following  # the bar goes first
            await _stop(runtime, started, fresh=fresh)
            raise click.exceptions.Exit(128 + asked.result())
    ended = await following
    await place.write(batches.lines(ended))
    return ended


async def _follow(batches: Batches, batch: Batch) -> Batch:
    with _bar(batch.total) as show:
        async for state in batches.watch(batch.id, owner=None):
            show(state)
    return state


async def _stop(runtime: Runtime, started: Batch, *, fresh: bool) -> None:
    """Leave the batch to who comes next, with everything written that is done."""
    await runtime.jobs.stop(grace=0.0)
    now = await runtime.batches.repeated(started.id, digest=started.digest) or started
    next_ = "with --fresh it begins anew" if fresh else "the same command goes on"
    click.echo(f"stopped after {now.completed + now.failed} of {now.total}; {next_}", err=True)


@contextmanager
def _asked_to_end() -> Iterator[asyncio.Future[int]]:
    """A future that SIGINT and SIGTERM fulfil; a second signal is as rude as ever."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[int] = loop.create_future()
    signals = (signal.SIGINT, signal.SIGTERM)

    def end(number: int) -> None:
        if not asked.done():
            asked.set_result(number)
        forget()

    def forget() -> None:
        for each in signals:
            loop.remove_signal_handler(each)

    for each in signals:
        loop.add_signal_handler(each, end, int(each))
    try:
        yield asked
    finally:
        forget()


async def _start(batches: Batches, file: IO[bytes], endpoint: str, *, fresh: bool) -> Batch:
    """The batch of this file: a new one, or the one that it made before."""
    from penstock.batch import id_of, new_id

    items, digest, wrong = await asyncio.to_thread(_read, file, endpoint)
    if wrong:
        more = f" (and {len(wrong) - 1} more lines)" if len(wrong) > 1 else ""
        click.echo(f"{wrong[0]}{more}", err=True)
    version = batches.operations[endpoint].version
    id = new_id() if fresh else id_of(OWNER, digest, endpoint, version)
    known = None if fresh else await batches.repeated(id, digest=digest)
    if known is not None:
        click.echo(_told(known), err=True)
    return await batches.create(
        items,
        id=id,
        digest=digest,
        endpoint=endpoint,
        owner=OWNER,
        window=WINDOW,
        window_name="30d",
    )


def _told(known: Batch) -> str:
    if not known.is_final:
        return f"goes on after {known.completed + known.failed} of {known.total} lines"
    end = "answered" if known.status == "completed" else known.status
    return f"was {end} before, at {instant(known.ended_at)}; --fresh answers every line anew"


def _read(file: IO[bytes], endpoint: str) -> tuple[list[NewItem], str, list[str]]:
    """The requests, what makes them the same file again, and what is wrong with lines."""
    items: list[NewItem] = []
    wrong: list[str] = []
    digest = hashlib.sha256()
    for line in lines.read(file):
        if line.fault.startswith("is longer"):
            raise InvalidInput(f"line {line.number} {line.fault}")
        items.append(_item(len(items), line, endpoint, wrong))
        digest.update(_identity(items[-1]))
    if not items:
        raise InvalidInput("the file holds no line")
    if len(wrong) == len(items):
        raise InvalidInput(wrong[0])
    return items, digest.hexdigest(), wrong


def _identity(item: NewItem) -> bytes:
    """What makes it the same item again: its name is in the results too."""
    import msgspec

    return msgspec.json.encode(item.custom_id) + b" " + item.body + b"\n"


def _item(number: int, line: lines.Line, endpoint: str, wrong: list[str]) -> NewItem:
    """A line in any of its forms as a request; what is none stays, and its answer says so."""
    import msgspec

    from penstock.batch import NewItem

    raw = line.text.encode()
    try:
        found: Any = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        wrong.append(f"line {line.number} {line.fault or _no_json(line.text)}")
        return NewItem(number, raw or b"?")
    if isinstance(found, str):
        return NewItem(number, msgspec.json.encode({"input": found}))
    if not isinstance(found, dict):
        return NewItem(number, raw)
    name = found.get("custom_id", found.get("id"))
    custom_id = None if name is None else str(name)
    if "body" in found:
        if found.get("url", endpoint) != endpoint:
            raise InvalidInput(
                f"line {line.number} is for {str(found['url'])[:80]!r}; repeat with --endpoint"
            )
        return NewItem(number, msgspec.json.encode(found["body"]), custom_id)
    for word in ("text", "content"):
        if "input" not in found and isinstance(found.get(word), str):
            return NewItem(number, msgspec.json.encode({"input": found[word]}), custom_id)
    return NewItem(number, raw, custom_id)


def _no_json(text: str) -> str:
    is_plain = not text.lstrip().startswith(("{", "["))
    return "is not JSON: put the text in quotes" if is_plain else "is not JSON"


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    """What shows the state of a batch on a terminal; elsewhere it shows nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    about = TextColumn("{task.fields[about]}")
    columns = (TextColumn("batch"), BarColumn(), MofNCompleteColumn(), about)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("batch", total=total, about="")

        def show(state: Batch) -> None:
            progress = state.progress
            left = "" if progress.eta_seconds is None else f", {span(progress.eta_seconds)} left"
            about = f"{progress.rate_per_second:.0f}/s{left}"
            bar.update(task, completed=progress.done, total=state.total or None, about=about)

        yield show


def _summary(ended: Batch, out: Path) -> dict[str, Any]:
    return {
        "id": ended.id,
        "status": ended.status,
        "total": ended.total,
        "completed": ended.completed,
        "failed": ended.failed,
        "cached": ended.cached,
        "out": str(out),
    }


def _sentence(ended: Batch, out: Path) -> str:
    began, until = ended.in_progress_at, ended.ended_at
    time = span((until - began) / 1000) if began is not None and until is not None else "no time"
    return (
        f"{ended.status}: {ended.completed} of {ended.total} lines answered in {time}, "
        f"{ended.failed} failed, {ended.cached} known before; {out}"
    )
