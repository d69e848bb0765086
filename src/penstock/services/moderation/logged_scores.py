"""Reads a CSV file of texts and the scores that Perspective gave them, row by row.

Nothing of the file is kept but the row that is read. What cannot be used is counted by its reason.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from penstock.errors import InvalidInput
from penstock.services.moderation.attributes import ATTRIBUTES

MOST_ROWS: Final = 1_000_000
MOST_BYTES: Final = 20_480  # of a text: Perspective took no longer ones
TEXT_COLUMNS: Final = ("text", "comment", "comment_text", "content", "body", "message")

_DELIMITERS: Final = (",", "\t", ";")
_AROUND: Final = ("PERSPECTIVE_", "SUMMARY_", "SCORE_")


class Row(NamedTuple):
    """A text, and the scores that are logged for it by attribute."""

    text: str
    scores: dict[str, float]


class LoggedScores:
    """The rows of one file; `skipped` says why others were left out, so far."""

    def __init__(self, lines: Iterable[str], *, text_column: str | None = None) -> None:
        self.skipped: Counter[str] = Counter()
        self._lines = iter(lines)
        header = next(self._lines, "").removeprefix("\ufeff")
        columns, delimiter = _columns(header)
        self._text = _text_at(columns, text_column)
        named = [(at, _attribute(name)) for at, name in enumerate(columns) if at != self._text]
        self.columns: dict[str, int] = {}
        for at, attribute in named:
            if attribute is not None:
                self.columns.setdefault(attribute, at)
        self.ignored = [columns[at] for at, _ in named if at not in self.columns.values()]
        if not self.columns:
            raise InvalidInput(
                f"no column is named like an attribute; there are {', '.join(columns)[:500]}; "
                f"known attributes: {', '.join(ATTRIBUTES)}"
            )
        self._reader = csv.reader(self._lines, delimiter=delimiter)

    def __iter__(self) -> Iterator[Row]:
        for number in range(MOST_ROWS + 1):
            try:
                fields = next(self._reader)
            except StopIteration:
                return
            except csv.Error:
                self.skipped["a row that is no CSV"] += 1
                continue
            if number == MOST_ROWS:
                self.skipped[f"beyond {MOST_ROWS} rows: the rest was not read"] += 1
            elif fields and (row := self._row(fields)):
                yield row

    def _row(self, fields: Sequence[str]) -> Row | None:
        text = fields[self._text] if self._text < len(fields) else ""
        fault = _fault(text)
        if fault:
            self.skipped[fault] += 1
            return None
        scores: dict[str, float] = {}
        for attribute, at in self.columns.items():
            score = _score(fields[at]) if at < len(fields) else None
            if score is None:
                self.skipped[f"no {attribute} from 0 to 1"] += 1
            else:
                scores[attribute] = score
        return Row(text, scores) if scores else None


def _columns(header: str) -> tuple[list[str], str]:
    """The names of the columns, and what stands between them."""
    found = [(next(csv.reader([header], delimiter=each), []), each) for each in _DELIMITERS]
    return max(found, key=lambda one: len(one[0]))


def _text_at(columns: Sequence[str], wanted: str | None) -> int:
    names = [name.strip().lower() for name in columns]
    for candidate in [wanted.strip().lower()] if wanted else TEXT_COLUMNS:
        if candidate in names:
            return names.index(candidate)
    known = ", ".join(columns)[:500] or "none"
    raise InvalidInput(
        f"no column {wanted!r}; there are {known}"
        if wanted
        else f"no column of texts is found; there are {known}; name it with --text-column"
    )


def _attribute(column: str) -> str | None:
    """The attribute that a column is named after: `TOXICITY`, `toxicity score`."""
    name = column.strip().upper().replace(" ", "_").replace("-", "_").replace(".", "_")
    for part in _AROUND:
        name = name.removeprefix(part).removesuffix(f"_{part[:-1]}")
    return name if name in ATTRIBUTES else None


def _fault(text: str) -> str:
    if not text.strip():
        return "no text"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "a text that is not UTF-8"
    if size > MOST_BYTES:
        return f"a text longer than {MOST_BYTES} bytes"
    return "a text with U+0000" if "\x00" in text else ""


def _score(field: str) -> float | None:
    try:
        score = float(field)
    except ValueError:
        return None
    return score if 0.0 <= score <= 1.0 else None
