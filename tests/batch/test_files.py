"""Uploaded files: whole or not at all, and read line by line."""

from __future__ import annotations

import pytest

from penstock.batch.files import LONGEST_LINE, PIECE, FileStore, lines_of


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
