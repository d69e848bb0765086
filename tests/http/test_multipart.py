"""Forms with files, however the network cuts them."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput, RequestError, UnsupportedMedia
from penstock.http.multipart import LONGEST_HEAD, LONGEST_TEXT, MOST_PARTS, parts

TYPE = "multipart/form-data; boundary=b"
NAMED = b'Content-Disposition: form-data; name="file"; filename="in.jsonl"'

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


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'b' * 71}",
        "\u2028;b=\u2028",
    ],
)
async def test_a_boundary_that_no_client_sends_is_refused(content_type: str):
    with pytest.raises(UnsupportedMedia):
        await read(b"", content_type)


@pytest.mark.parametrize(
    "content_type",
    ['Multipart/Form-Data;  Boundary="b"', "multipart/form-data;charset=utf-8;boundary=b"],
)
async def test_the_header_may_be_written_as_clients_write_it(content_type: str):
    body = b"--b\r\n" + NAMED + b"\r\n\r\nabc\r\n--b--"

    assert await read(body, content_type) == [("file", "in.jsonl", b"abc")]


@given(
    lines=st.lists(
        st.sampled_from(
            [
                b"--",
                b"--b",
                b"b",
                b"-",
                b"--b-x",
                b"--bound-x",
                b"--bounds",
                b"\r",
                b"\n",
                b"--c--",
                b"x",
            ]
        )
    ),
    size=st.integers(1, 9),
)
async def test_nearly_delimiters_are_contents_wherever_the_network_cuts(
    lines: list[bytes], size: int
):
    content = b"\r\n".join(lines)
    head = b"--bound\r\n" + NAMED + b"\r\n\r\n"

    found = await read(head + content + b"\r\n--bound--\r\n", f"{TYPE}ound", size=size)

    assert found == [("file", "in.jsonl", content)]


async def test_what_follows_the_last_delimiter_is_no_part():
    end = b"\r\nabc\r\n--b--"
    body = b"--b\r\n" + NAMED + b"\r\n" + end + b"\r\n--b\r\n" + NAMED + b"\r\n" + end

    assert await read(body, TYPE, size=1) == [("file", "in.jsonl", b"abc")]


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"--b\r\n", id="no head"),
        pytest.param(b"--b\r\n" + NAMED + b"\r\n", id="half a head"),
        pytest.param(b"--b\r\n" + NAMED + b"\r\n\r\nabc", id="unterminated part"),
        pytest.param(b"--b\r\n" + NAMED + b"\r\n\r\nabc\r\n--b\r\n", id="no last delimiter"),
        pytest.param(b"--b\r\n" + NAMED + b"\r\n\r\nabc\r\n--b-", id="half a last delimiter"),
        pytest.param(b"--b\r\n" + NAMED + b"\r\n\r\nabc\r\n--c--\r\n", id="ends another form"),
    ],
)
async def test_a_form_without_its_last_delimiter_is_refused(body: bytes, size: int):
    with pytest.raises(RequestError, match="ends before"):
        await read(body, TYPE, size=size)


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        pytest.param(b"--c\r\n" + NAMED, "malformed", id="another boundary"),
        pytest.param(b'{"a": 1}', "malformed", id="no form"),
        pytest.param(b"--b\r\nno header\r\n\r\n", "malformed", id="no header"),
        pytest.param(b"--b\r\n: x\r\n\r\n", "malformed", id="header without a name"),
        pytest.param(b"--b\r\nA: " + b"x" * LONGEST_HEAD, "malformed", id="huge header"),
        pytest.param(b"--b\r\n" + b"x" * LONGEST_HEAD, "malformed", id="huge header name"),
        pytest.param(b"--b\r\n" + b"A: x\r\n" * 9, "malformed", id="many headers"),
        pytest.param(
            b"--b\r\n" + (b"A: " + b"x" * 4000 + b"\r\n") * 5, "are too long", id="huge head"
        ),
        pytest.param(b"--b\r\n\r\nabc", "no name", id="no headers"),
        pytest.param(
            b"--b\r\nContent-Disposition: form-data\r\n\r\n", "no name", id="missing name"
        ),
        pytest.param(b"--b\r\nContent-Type: text/plain\r\n\r\n", "no name", id="no disposition"),
    ],
)
async def test_a_malformed_form_is_refused_without_waiting_for_its_end(
    body: bytes, complaint: str, size: int
):
    with pytest.raises(RequestError, match=complaint):
        await read(body + b"\r\n", TYPE, size=size)


async def test_a_form_may_have_so_many_fields_and_no_more():
    field = b"--b\r\n" + NAMED + b"\r\n\r\n\r\n"

    assert len(await read(field * MOST_PARTS + b"--b--", TYPE)) == MOST_PARTS
    with pytest.raises(RequestError, match="more than"):
        await read(field * (MOST_PARTS + 1) + b"--b--", TYPE)


async def test_the_text_of_a_field_is_bounded():
    async def stream(length: int):
        yield b"--b\r\n" + NAMED + b"\r\n\r\n" + b"x" * length + b"\r\n--b--"

    assert [len(await part.text()) async for part in parts(stream(LONGEST_TEXT), TYPE)] == [
        LONGEST_TEXT
    ]
    with pytest.raises(InvalidInput, match="too long"):
        [await part.text() async for part in parts(stream(LONGEST_TEXT + 1), TYPE)]


async def test_a_file_is_handed_on_as_it_comes_in():
    sent: list[int] = []

    async def stream():
        yield b"--b\r\n" + NAMED + b"\r\n\r\n"
        for number in range(100):
            sent.append(number)
            yield bytes(1000)
        yield b"\r\n--b--"

    async for part in parts(stream(), TYPE):
        behind = [len(sent) - at async for at, _ in counted(part.data)]

    assert max(behind) <= 1


async def counted(pieces):
    number = 0
    async for piece in pieces:
        number += 1
        yield number, piece
