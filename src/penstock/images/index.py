"""Finds the nearest of many perceptual hashes: all of them compared, none missed.

The hashes lie as columns of 64-bit words. A word of the question is compared with a column at once;
what is too far after two words is dropped, which at the distances that mean anything is nearly
everything. Trees and tables that skip comparisons gain little at a hundred thousand and forget
quickly what happens at larger distances.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_SLICE: Final = 16_384  # rows at a time: what a core keeps near itself
_EARLY: Final = 2  # words after which most rows are out
_WORD: Final = np.dtype(">u8")

Words = NDArray[np.uint64]
Counts = NDArray[np.uint8]


class Near(NamedTuple):
    """A known hash and how far it is from the one that was asked for."""

    id: str
    distance: int  # bits


class _Table(NamedTuple):
    """What a reader sees: the first `rows` of columns that are only ever appended to."""

    columns: Words  # (words, capacity)
    ids: list[str]
    rows: int


class HashIndex:
    """Hashes of one length under ids. Reads are safe from any thread, also during a change."""

    def __init__(self, bits: int) -> None:
        if bits not in (64, 128, 192, 256):
            raise ValueError(f"hashes of {bits} bits are not one to four words of 64")
        self.bits = bits
        self._words = bits // 64
        self._changing = threading.Lock()
        self._table = _Table(np.zeros((self._words, 0), np.uint64), [], 0)

    def __len__(self) -> int:
        return self._table.rows

    def add(self, id: str, hash: bytes) -> None:
        """Remember a hash; an id may have several."""
        self.extend([(id, hash)])

    def extend(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Remember many at once: the quick way to load a list."""
        pairs = list(items)
        if not pairs:
            return
        fresh = self._columns([hash for _, hash in pairs])
        with self._changing:
            columns, ids, rows = self._table
            end = rows + len(pairs)
            if end > columns.shape[1]:
                wider = np.zeros((self._words, max(end, 2 * rows, 64)), np.uint64)
                wider[:, :rows] = columns[:, :rows]
                columns = wider
            # Readers look at the rows that their table counts: what lies behind is nobody's yet.
            columns[:, rows:end] = fresh
            ids.extend(id for id, _ in pairs)
            self._table = _Table(columns, ids, end)

    def remove(self, *ids: str) -> None:
        """Forget all hashes of these ids; unknown ones are passed over. Copies what stays."""
        gone = frozenset(ids)
        with self._changing:
            columns, known, rows = self._table
            kept = [row for row in range(rows) if known[row] not in gone]
            if len(kept) < rows:
                left = np.ascontiguousarray(columns[:, kept])
                self._table = _Table(left, [known[row] for row in kept], len(kept))

    def nearest(self, hashes: Sequence[bytes], *, distance: int, most: int = 16) -> list[Near]:
        """Ids with a hash at most `distance` bits from any of these, the nearest first.

        Give the attitudes of a picture to find it mirrored and turned. A hundred thousand rows take
        milliseconds: with many, for a thread.
        """
        table = self._table
        if not hashes or not table.rows or distance < 0:
            return []
        distance = min(
            distance, 255
        )  # what fits into 8 bits; 256 of 256 is a photographic negative
        asked = np.unique(self._columns(hashes), axis=1).T
        parts = range(0, table.rows, _SLICE)
        found = [_within(table, start, question, distance) for start in parts for question in asked]
        rows, far = (np.concatenate(column) for column in zip(*found, strict=True))
        best: dict[str, int] = {}
        for at in np.argsort(far, kind="stable"):
            best.setdefault(table.ids[rows[at]], int(far[at]))
            if len(best) == most:
                break
        return [Near(id, distance) for id, distance in best.items()]

    def _columns(self, hashes: Sequence[bytes]) -> Words:
        size = self.bits // 8
        wrong = next((hash for hash in hashes if len(hash) != size), None)
        if wrong is not None:
            raise ValueError(f"a hash of {len(wrong)} bytes among those of {size}")
        rows = np.frombuffer(b"".join(hashes), _WORD).reshape(-1, self._words)
        return np.ascontiguousarray(rows.T.astype(np.uint64))


def _within(
    table: _Table, start: int, question: Words, distance: int
) -> tuple[NDArray[np.intp], Counts]:
    """Rows of one slice that are near enough, and how far each is."""
    part = table.columns[:, start : min(start + _SLICE, table.rows)]
    far = _distances(part[:_EARLY], question[:_EARLY])
    rows = np.flatnonzero(far <= distance)
    far = far[rows]
    if len(part) > _EARLY and len(rows):
        rest = _distances(part[_EARLY:, rows], question[_EARLY:])
        inside = far.astype(np.intp) + rest <= distance
        rows, far = rows[inside], far[inside] + rest[inside]
    return rows + start, far


def _distances(columns: Words, words: Words) -> Counts:
    far: Counts = count_bits(columns[0] ^ words[0])
    for column, word in zip(columns[1:], words[1:], strict=True):
        far += count_bits(column ^ word)
    return far


def count_bits_slowly(words: Words) -> Counts:
    """How many bits of each word are set, by adding neighbours (numpy before 2 cannot count)."""
    ones, pairs, nibbles = (
        np.uint64(0x5555555555555555),
        np.uint64(0x3333333333333333),
        np.uint64(0x0F0F0F0F0F0F0F0F),
    )
    counts: Words = words - ((words >> np.uint64(1)) & ones)
    counts = (counts & pairs) + ((counts >> np.uint64(2)) & pairs)
    counts = (counts + (counts >> np.uint64(4))) & nibbles
    total: Words = counts * np.uint64(0x0101010101010101) >> np.uint64(56)
    return total.astype(np.uint8)


_counter: Any = getattr(np, "bitwise_count", count_bits_slowly)
count_bits: Callable[[Words], Counts] = _counter
