"""Reads a file of texts, one a line, without holding it; shows how far it is on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, NamedTuple

LONGEST = 1 << 20  # bytes of a line; the default bound of a request's body
AT_ONCE = 64  # lines that are worked on together


class Line(NamedTuple):
    """One text and where it stands; `fault` says why it cannot be used."""

    number: int  # from 1
    text: str
    fault: str = ""


def read(file: IO[bytes]) -> Iterator[Line]:
    """The lines that are not blank."""
    for number, raw in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), 1):
        line = raw.rstrip(b"\r\n")
        if len(line) > LONGEST:
            _skip_rest(file, raw)
            yield Line(number, "", f"is longer than {LONGEST} bytes")
        elif line.strip():
            yield _decoded(number, line)


def parts(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """The lines in groups that are worked on together."""
    while part := list(islice(lines, AT_ONCE)):
        yield part


@contextmanager
def progress(file: IO[bytes], label: str) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of lines done; draws only on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        TextColumn("{task.fields[done]} lines"),
        TimeElapsedColumn(),
    )
    total = _size(file)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, done=0)
        done = 0

        def advance(lines: int) -> None:
            nonlocal done
            done += lines
            bar.update(task, completed=file.tell() if total else None, done=done)

        yield advance


def _decoded(number: int, line: bytes) -> Line:
    try:
        return Line(number, line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return Line(number, "", f"is not UTF-8 at byte {error.start + 1}")


def _skip_rest(file: IO[bytes], raw: bytes) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = file.readline(LONGEST)


def _size(file: IO[bytes]) -> int | None:
    """Bytes in all, where the file knows."""
    try:
        if not file.seekable():
            return None
        at = file.tell()
        end = file.seek(0, 2)
        file.seek(at)
    except OSError:
        return None
    return end
