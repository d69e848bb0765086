"""Uploaded files: whole or not at all, and read line by line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.batch.files import LONGEST_LINE, PIECE, FileStore, lines_of
from penstock.batch.lines import NAMED, Reading

SPARSE = bytes(b"\n\n\r \tab"[byte % 7] for byte in range(256))  # letters among blanks


async def stream(*pieces: bytes):
    for piece in pieces:
        yield piece


async def lines(*pieces: bytes) -> list[tuple[int, bytes | None]]:
    return [line async for line in lines_of(stream(*pieces))]


async def test_a_file_is_read_as_it_was_written(files: FileStore):
    content = bytes(range(256)) * (PIECE // 100)

    file = await files.save(stream(content[:10], content[10:]), name="a.jsonl", owner="team")

    read = b"".join([piece async for piece in files.pieces(file.id)])
    assert read == content
    assert file.size == len(content)


async def test_an_upload_that_breaks_off_leaves_nothing(files: FileStore, database):
    async def breaking():
        yield b"x" * PIECE * 2
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await files.save(breaking(), name="a.jsonl", owner="team")

    assert await database.rows("SELECT count(*) FROM batch_chunks") == [(0,)]
    assert await files.page(owner=None, purpose=None, limit=10) == []


async def test_a_deleted_file_takes_its_pieces_along(files: FileStore, database):
    file = await files.save(stream(b"x" * PIECE * 3), name="a.jsonl", owner="team")

    await files.delete(file.id)

    assert await files.find(file.id) is None
    assert await database.rows("SELECT count(*) FROM batch_chunks") == [(0,)]


async def test_lines_are_found_wherever_the_pieces_end():
    whole = await lines(b'{"a":1}\n\n  {"b":2}\r\n{"c":3}')

    split = await lines(*[bytes([byte]) for byte in b'{"a":1}\n\n  {"b":2}\r\n{"c":3}'])

    assert whole == split == [(1, b'{"a":1}'), (3, b'{"b":2}'), (4, b'{"c":3}')]


async def test_a_line_that_is_too_long_is_named_and_the_rest_is_read():
    long = b"x" * (LONGEST_LINE + 1)

    found = await lines(b"1\n", long[:5], long, b"\n2\n")

    assert found == [(1, b"1"), (2, None), (3, b"2")]


async def turns_while(reading: AsyncIterator[Any]) -> int:
    """How often somebody else has the loop while something is read."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.ensure_future(count())
    async for _ in reading:
        pass
    other.cancel()
    return turns


async def test_others_have_the_loop_while_lines_are_read():
    assert await turns_while(lines_of(stream(b"1\n" * 20_000))) >= 15


async def test_others_have_the_loop_while_a_file_of_blank_lines_is_read(files: FileStore):
    file = await files.save(stream(b"\n" * PIECE * 8), name="a.jsonl", owner="team")

    assert await turns_while(lines_of(files.pieces(file.id))) >= 6


@given(st.binary().map(lambda raw: raw.translate(SPARSE)), st.integers(1, 20))
async def test_lines_are_numbered_as_they_stand_whatever_is_between_them(content, size):
    pieces = [content[at : at + size] for at in range(0, len(content), size)]

    found = await lines(*pieces)

    numbered = enumerate(content.split(b"\n"), 1)
    assert found == [(number, line.strip()) for number, line in numbered if line.strip()]


async def test_others_have_the_loop_between_the_pieces_of_a_file(files: FileStore):
    file = await files.save(stream(b"x" * PIECE * 8), name="a.jsonl", owner="team")

    assert await turns_while(files.pieces(file.id)) >= 6


async def test_a_file_of_wrong_lines_is_given_up_when_enough_of_them_are_named():
    read: list[int] = []

    async def wrong():
        for number in range(1, 5 * NAMED):
            read.append(number)
            yield number, b"?"

    reading = Reading(endpoint="/v1/x", most=10)
    items = [item async for item in reading.items(wrong())]

    assert items == []
    assert len(reading.errors) == len(read) == NAMED
