"""Reads `multipart/form-data` as it comes in (RFC 7578): a file never stands in memory as a whole.

    async for part in parts(stream, content_type):
        async for piece in part.data: ...        # or: await part.text()

A part's data must be read before the next part is asked for; what is left is skipped.

python-multipart finds the delimiters and the headers; here are the order of events and the bounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from functools import partial
from typing import Final, NamedTuple

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from penstock.errors import InvalidInput, RequestError, UnsupportedMedia

LONGEST_HEAD: Final = 16 << 10  # bytes of a part's headers; the library bounds each of them too
LONGEST_TEXT: Final = 64 << 10  # bytes of a field that is no file
LONGEST_BOUNDARY: Final = 70  # RFC 2046
MOST_PARTS: Final = 64


class Part(NamedTuple):
    """One field of a form."""

    name: str
    filename: str | None  # None: not a file
    data: AsyncIterator[bytes]

    async def text(self) -> str:
        """The value of a short field. Raises InvalidInput for a long one."""
        value = bytearray()
        async for piece in self.data:
            value += piece
            if len(value) > LONGEST_TEXT:
                raise InvalidInput(f"the field {self.name[:80]!r} is too long")
        return value.decode(errors="replace")


async def parts(stream: AsyncIterator[bytes], content_type: str) -> AsyncIterator[Part]:
    """The parts of a body. Raises UnsupportedMedia, or RequestError for one that is malformed."""
    form = _Form(stream, content_type)
    while (event := await form.next()) is not None:
        if isinstance(event, Part):
            yield event


class _Form:
    """What the parser found in the stream: parts, each followed by its data and an empty piece."""

    def __init__(self, stream: AsyncIterator[bytes], content_type: str) -> None:
        self._stream = stream
        self._found: deque[Part | bytes | None] = deque()
        self._begun = 0
        self._head = [b"", b""]  # field and value of the header that is being read
        self._head_size = 0
        self._disposition = b""
        self._parser = self._open(content_type)

    async def next(self) -> Part | bytes | None:
        """What comes next; None at the end of the form."""
        while not self._found:
            chunk = await anext(self._stream, None)
            if chunk is None:  # the library does not mind
                raise RequestError("the form ends before its last delimiter")
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise RequestError(f"the form is malformed: {error}") from error
        return self._found.popleft()

    def _open(self, content_type: str) -> MultipartParser:
        kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= LONGEST_BOUNDARY:
            raise UnsupportedMedia(
                "send a form with the header Content-Type: multipart/form-data; boundary=..."
            )
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": partial(self._read_head, 0),
                "on_header_value": partial(self._read_head, 1),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_head,
                "on_part_data": lambda data, at, end: self._found.append(data[at:end]),
                "on_part_end": lambda: self._found.append(b""),
                "on_end": lambda: self._found.append(None),
            },
        )

    def _begin(self) -> None:
        self._begun += 1
        if self._begun > MOST_PARTS:
            raise RequestError(f"the form has more than {MOST_PARTS} fields")
        self._head_size = 0
        self._disposition = b""

    def _read_head(self, which: int, data: bytes, start: int, end: int) -> None:
        self._head_size += end - start
        if self._head_size > LONGEST_HEAD:
            raise RequestError("the headers of a field are too long")
        self._head[which] += data[start:end]

    def _end_header(self) -> None:
        field, value = self._head
        if field.lower() == b"content-disposition":
            self._disposition = value
        self._head = [b"", b""]

    def _end_head(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise RequestError("a field of the form has no name")
        filename = options.get(b"filename")
        self._found.append(
            Part(
                options[b"name"].decode(errors="replace"),
                None if filename is None else filename.decode(errors="replace"),
                self._data(),
            )
        )

    async def _data(self) -> AsyncIterator[bytes]:
        while isinstance(piece := await self.next(), bytes) and piece:
            yield piece
