"""Forms with files, however the network cuts them."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import RequestError, UnsupportedMedia
from penstock.http.multipart import parts

Found = list[tuple[str, str | None, bytes]]


async def read(body: bytes, content_type: str, *, size: int = 1 << 20) -> Found:
    async def stream():
        for at in range(0, len(body), size):
            yield body[at : at + size]
        yield b""

    return [
        (part.name, part.filename, b"".join([piece async for piece in part.data]))
        async for part in parts(stream(), content_type)
    ]


def form(content: bytes, filename: str = "in.jsonl") -> tuple[bytes, str]:
    request = httpx.Request(
        "POST", "http://h", data={"purpose": "batch"}, files={"file": (filename, content)}
    )
    return request.read(), request.headers["content-type"]


async def test_fields_and_files_are_read():
    body, content_type = form(b'{"a":1}\n', "Anträge 1.jsonl")

    assert await read(body, content_type) == [
        ("purpose", None, b"batch"),
        ("file", "Anträge 1.jsonl", b'{"a":1}\n'),
    ]


@given(content=st.binary(max_size=300), size=st.integers(1, 40))
async def test_what_is_read_does_not_depend_on_how_it_was_cut(content: bytes, size: int):
    body, content_type = form(content)

    found = await read(body, content_type, size=size)

    assert found[1] == ("file", "in.jsonl", content)


@pytest.mark.parametrize("content", [b"", b"\r\n", b"\r\n--", b"--", b"\r\n--x\r\n\r\n"])
async def test_contents_that_look_like_delimiters_are_contents(content: bytes):
    body, content_type = form(content)

    assert (await read(body, content_type, size=1))[1][2] == content


async def test_data_that_nobody_reads_is_passed_over():
    body, content_type = form(b"x" * 100_000)

    async def stream():
        yield body

    assert [part.name async for part in parts(stream(), content_type)] == ["purpose", "file"]


@pytest.mark.parametrize("cut", [3, 20, 60, 120])
async def test_a_form_that_ends_too_early_is_refused(cut: int):
    body, content_type = form(b"abc")

    with pytest.raises(RequestError, match="ends before"):
        await read(body[:-cut], content_type)


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data"])
async def test_what_is_no_form_is_refused(content_type: str):
    with pytest.raises(UnsupportedMedia):
        await read(b"", content_type)
