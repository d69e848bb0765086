"""Uploaded files in pieces, and the outputs of batches, which are made when they are read.

A piece is small enough that writing one lets others through. A file can be read once its size is
known; one whose upload broke off is swept away.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

import msgspec

from penstock.batch.records import INPUT, File
from penstock.clock import Clock
from penstock.db import Database

PIECE: Final = 256 << 10  # bytes
LONGEST_LINE: Final = 1 << 20  # bytes; the default bound of a request's body
AT_ONCE: Final = 1000  # lines between two turns of the loop
ABANDONED: Final = 86_400.0  # seconds after which an unfinished upload is given up

_COLUMNS = ", ".join(File.__struct_fields__)
_INSERT = (
    f"INSERT INTO batch_files ({_COLUMNS}) "
    f"VALUES ({', '.join('?' * len(File.__struct_fields__))}) ON CONFLICT DO NOTHING"
)
_ADD_PIECE = "INSERT INTO batch_chunks (file_id, number, data) VALUES (?, ?, ?)"
_SET_SIZE = "UPDATE batch_files SET size = ? WHERE id = ?"
_FIND = f"SELECT {_COLUMNS} FROM batch_files WHERE id = ? AND size IS NOT NULL"
_PAGE = f"""
SELECT {_COLUMNS} FROM batch_files
WHERE size IS NOT NULL AND (CAST(:owner AS TEXT) IS NULL OR owner = :owner)
AND (CAST(:purpose AS TEXT) IS NULL OR purpose = :purpose)
AND (created_at, id) < (:created_at, :id) ORDER BY created_at DESC, id DESC LIMIT :limit
"""
_PIECE = "SELECT data FROM batch_chunks WHERE file_id = ? AND number = ?"
_DELETE_PIECES = """
DELETE FROM batch_chunks WHERE file_id = ? AND number IN (
    SELECT number FROM batch_chunks WHERE file_id = ? LIMIT 64
)
"""
_DELETE = "DELETE FROM batch_files WHERE id = ?"
_OLD = """
SELECT id FROM batch_files WHERE expires_at < ? OR (size IS NULL AND created_at < ?) LIMIT 100
"""
_LAST = (1 << 62, "")
_TEXT = re.compile(rb"\S[^\n]*")  # a line that is not blank, from its first letter


class FileStore:
    """Asks about and changes `batch_files` and `batch_chunks`."""

    def __init__(self, database: Database, *, clock: Clock, keep: float) -> None:
        self._database = database
        self._clock = clock
        self._keep = keep

    async def save(self, data: AsyncIterable[bytes], *, name: str, owner: str) -> File:
        """Write an upload as it comes in. Raises StorageError and what `data` raises."""
        now = self._now()
        file = File(
            id=f"file-{secrets.token_hex(12)}",
            owner=owner,
            purpose=INPUT,
            name=name,
            created_at=now,
            expires_at=now + int(self._keep * 1000),
        )
        await self._insert(file)
        try:
            size = await self._write(file.id, data)
        except BaseException:
            await self._remove(file.id)
            raise
        await self._database.write((_SET_SIZE, (size, file.id)))
        return msgspec.structs.replace(file, size=size)

    async def add_output(self, file: File) -> None:
        """Announce an output file; a second time changes nothing."""
        await self._insert(file)

    async def find(self, file_id: str) -> File | None:
        """One file that is complete."""
        row = await self._database.row(_FIND, (file_id,))
        return None if row is None else File(**dict(zip(File.__struct_fields__, row, strict=True)))

    async def page(
        self,
        *,
        owner: str | None,
        purpose: str | None,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[File]:
        """Files, newest first; `owner` None: everyone's."""
        created_at, last = after or _LAST
        params = {"owner": owner, "purpose": purpose, "limit": limit}
        params |= {"created_at": created_at, "id": last}
        rows = await self._database.scan(_PAGE, params)
        return [File(**dict(zip(File.__struct_fields__, row, strict=True))) for row in rows]

    async def pieces(self, file_id: str) -> AsyncIterator[bytes]:
        """The bytes of an uploaded file, piece by piece."""
        number = 0
        while (row := await self._database.row(_PIECE, (file_id, number))) is not None:
            yield row[0]
            number += 1
            await asyncio.sleep(0)  # a reader that never waits would keep the loop for itself

    async def delete(self, file_id: str) -> None:
        """Forget a file."""
        await self._remove(file_id)

    async def purge(self) -> int:
        """Delete what has expired and what was never finished; how many files."""
        now = self._now()
        total = 0
        while rows := await self._database.scan(_OLD, (now, now - int(ABANDONED * 1000))):
            for (file_id,) in rows:
                await self._remove(file_id)
            total += len(rows)
        return total

    async def _insert(self, file: File) -> None:
        await self._database.write((_INSERT, msgspec.structs.astuple(file)))

    async def _write(self, file_id: str, data: AsyncIterable[bytes]) -> int:
        waiting = bytearray()
        number = size = 0
        async for part in data:
            waiting += part
            while len(waiting) >= PIECE:
                await self._database.write((_ADD_PIECE, (file_id, number, bytes(waiting[:PIECE]))))
                del waiting[:PIECE]
                number, size = number + 1, size + PIECE
        if waiting:
            await self._database.write((_ADD_PIECE, (file_id, number, bytes(waiting))))
        return size + len(waiting)

    async def _remove(self, file_id: str) -> None:
        while await self._database.write((_DELETE_PIECES, (file_id, file_id))):
            pass
        await self._database.write((_DELETE, (file_id,)))

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


async def lines_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes | None]]:
    """Numbered lines (from 1) that are not blank; None for one that is too long to be read.

    Blank lines are counted, not looked at: a file may hold nothing else.
    """
    number = told = 0
    rest = b""
    skipping = False
    async for piece in pieces:
        text = rest + piece
        at, end = 0, text.rfind(b"\n") + 1
        if skipping and end:
            at, number, skipping = text.index(b"\n") + 1, number + 1, False
            yield number, None
        for found in _TEXT.finditer(text, at, end):
            number += text.count(b"\n", at, found.start())
            at = found.start()
            yield number + 1, None if len(found[0]) > LONGEST_LINE else found[0].strip()
            told += 1
            if not told % AT_ONCE:
                await asyncio.sleep(0)
        number += text.count(b"\n", at, end)
        rest = text[end:]
        if len(rest) > LONGEST_LINE:  # do not collect what will not be read
            rest, skipping = b"", True
    if skipping:
        yield number + 1, None
    elif rest := rest.strip():
        yield number + 1, rest
