"""Reads a file of texts, one a line, without holding it; shows how far it is on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.progress import Progress

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


class Meter:
    """How far a file is, as a bar on standard error; without a bar it shows nothing."""

    def __init__(self, file: IO[bytes], *, bar: Progress | None = None, label: str = "") -> None:
        self._file = file
        self._total = _size(file)
        self._done = 0
        self._bar = bar
        self._task = None if bar is None else bar.add_task(label, total=self._total, done=0)

    def advance(self, lines: int) -> None:
        """Count lines that are done."""
        self._done += lines
        if self._bar is not None and self._task is not None:
            read = self._file.tell() if self._total else None
            self._bar.update(self._task, completed=read, done=self._done)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away while something else is printed."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        yield
        self._bar.start()


@contextmanager
def progress(file: IO[bytes], label: str) -> Iterator[Meter]:
    """A meter of `file`, with a bar if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield Meter(file)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    counted = TextColumn("{task.fields[done]} lines")
    columns = (TextColumn(label), BarColumn(), counted, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Meter(file, bar=bar, label=label)


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
