r"""User lists as files: text with one entry a line, and CSV with kind, value and note.

    # a comment                     kind,value,note
    bad word                        phrase,bad word,told by A.
    \#hashtag                        regex,(?i)buy\s+now,

Text holds entries of one kind. Reading says of every line what is wrong with it; writing gives what
reading takes. A cell that a spreadsheet would run as a formula (`=`, `+`, `-`, `@`) is written with
a `'` before it, which reading takes away.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Literal, NamedTuple

import msgspec

from penstock.errors import InvalidInput, TooLarge
from penstock.lists.entries import (
    EntryKind,
    EntryRefused,
    EntryRules,
    NewEntry,
)

FileFormat = Literal["text", "csv"]

MOST_BYTES = 16 << 20
MOST_ENTRIES = 100_000  # of one import
MOST_REGEXES = 5_000  # of these
MOST_REFUSALS = 100  # told of one import
COLUMNS = ("kind", "value", "note")

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_SLICE = 100  # entries between two looks of the loop at others, about a millisecond


class Refusal(msgspec.Struct, frozen=True):
    """A line that was not taken."""

    line: int
    detail: str


class Report(msgspec.Struct, frozen=True):
    """What became of entries that were given."""

    taken: int
    skipped: int  # in the list already, or given twice
    refused: int
    refusals: tuple[Refusal, ...] = ()  # the first of them


class Parsed(msgspec.Struct):
    """The entries of a file, each once."""

    entries: list[NewEntry]
    skipped: int
    refused: int
    refusals: list[Refusal]
    lines: list[int]  # of each entry


class Line(NamedTuple):
    """An entry as it stands in a file."""

    number: int
    kind: str
    value: str
    note: str
    fault: str = ""


async def gather(chunks: AsyncIterator[bytes]) -> bytes:
    """A whole file, bounded. Raises TooLarge."""
    parts, size = [], 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MOST_BYTES:
            raise TooLarge(f"the file is larger than {MOST_BYTES} bytes; split it")
        parts.append(chunk)
    return b"".join(parts)


async def parse(data: bytes, rules: EntryRules, *, format: FileFormat, kind: EntryKind) -> Parsed:
    """Read a file in slices, so that the loop goes on meanwhile.

    `kind` is that of the lines of text. Raises InvalidInput for what is no such file, TooLarge for
    too many entries.
    """
    lines = _lines(_decoded(data), kind) if format == "text" else _rows(_decoded(data))
    return await check_all(lines, rules)


async def check_all(lines: Iterable[Line], rules: EntryRules, *, repeats: bool = False) -> Parsed:
    """Check entries one by one; with `repeats` what is given twice is refused, else skipped.

    Raises TooLarge.
    """
    given, count, patterns = iter(lines), 0, 0
    checking = _Checking(rules, repeats=repeats)
    while batch := list(islice(given, _SLICE)):
        count += len(batch)
        regexes = sum(line.kind == "regex" for line in batch)
        patterns += regexes
        if count > MOST_ENTRIES or patterns > MOST_REGEXES:
            most = f"{MOST_REGEXES} of them regex" if patterns > MOST_REGEXES else MOST_ENTRIES
            raise TooLarge(f"the file has more than {most} entries; split it")
        if regexes:  # compiling one may take 20 ms
            await asyncio.to_thread(checking.take, batch)
        else:
            checking.take(batch)
            await asyncio.sleep(0)
    return checking.parsed


class _Checking:
    """Checks entries, each once."""

    def __init__(self, rules: EntryRules, *, repeats: bool) -> None:
        self.parsed = Parsed([], 0, 0, [], [])
        self._rules = rules
        self._repeats = repeats
        self._known: dict[tuple[str, str], int] = {}

    def take(self, lines: Iterable[Line]) -> None:
        for line in lines:
            try:
                self._take(line)
            except EntryRefused as error:
                self.parsed.refused += 1
                if len(self.parsed.refusals) < MOST_REFUSALS:
                    refusal = Refusal(line.number, f"{error.field} {error.detail}")
                    self.parsed.refusals.append(refusal)

    def _take(self, line: Line) -> None:
        if line.fault:
            raise EntryRefused("value", line.fault)
        entry = self._rules.check(line.kind, line.value, line.note)
        first = self._known.setdefault((entry.kind, entry.value), line.number)
        if first == line.number:
            self.parsed.entries.append(entry)
            self.parsed.lines.append(line.number)
        elif self._repeats:
            raise EntryRefused("value", f"repeats entry {first}")
        else:
            self.parsed.skipped += 1


def write_lines(entries: Iterable[NewEntry]) -> str:
    """Entries of one kind as lines of text."""
    return "".join(f"{_escaped(each.value)}\n" for each in entries)


def write_rows(entries: Iterable[NewEntry], *, header: bool = False) -> str:
    """Entries as rows of CSV."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    writer.writerows((each.kind, _harmless(each.value), _harmless(each.note)) for each in entries)
    return sink.getvalue()


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"the file is not UTF-8: line {line} has the byte 0x{data[error.start]:02x}",
            errors=[{"pointer": f"/lines/{line}", "detail": "is not UTF-8"}],
        ) from None


def _lines(text: str, kind: EntryKind) -> Iterator[Line]:
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        value = line.strip()
        if not value or value.startswith("#"):
            continue
        yield Line(number, kind, value[1:] if value.startswith("\\#") else value, "")


def _rows(text: str) -> Iterator[Line]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Line(number, "", "", "", f"is not CSV: {error}")
            continue
        if not any(cell.strip() for cell in row) or row[0].startswith("#"):
            continue
        cells = [cell.strip() for cell in row]
        if number == 1 and cells[:2] == ["kind", "value"]:
            continue
        if not 2 <= len(row) <= len(COLUMNS):
            yield Line(number, "", "", "", f"of {len(row)} columns; kind,value,note are expected")
        else:
            note = cells[2] if len(row) > 2 else ""
            yield Line(number, cells[0], _meant(row[1]), _meant(note))


def is_csv(beginning: bytes) -> bool:
    """Whether a file says in its first line that it is CSV."""
    line = beginning.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0]
    return [cell.strip(b' "\r') for cell in line.split(b",")][:2] == [b"kind", b"value"]


def _harmless(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _meant(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _escaped(value: str) -> str:
    return f"\\{value}" if value.startswith(("#", "\\#")) else value
