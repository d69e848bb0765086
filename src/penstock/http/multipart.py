"""Reads `multipart/form-data` as it comes in (RFC 7578): a file never stands in memory as a whole.

    async for part in parts(stream, content_type):
        async for piece in part.data: ...        # or: await part.text()

A part's data must be read before the next part is asked for; what is left is skipped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import Message
from typing import Final, NamedTuple

from penstock.errors import InvalidInput, RequestError, UnsupportedMedia

LONGEST_HEAD: Final = 16 << 10  # bytes of a part's headers
LONGEST_TEXT: Final = 64 << 10  # bytes of a field that is no file
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
    source = _Source(stream, _boundary(content_type))
    await source.skip()  # what stands before the first delimiter
    for _ in range(MOST_PARTS):
        if await source.take(2) == b"--":
            return
        head = await source.head()
        name, filename = _disposition(head)
        yield Part(name, filename, source.data())
        await source.skip()
    raise RequestError(f"the form has more than {MOST_PARTS} fields")


class _Source:
    """The stream with what was read too far of it."""

    def __init__(self, stream: AsyncIterator[bytes], boundary: bytes) -> None:
        self._stream = stream
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter looks like the others
        self._delimiter = b"\r\n--" + boundary
        self._inside = True

    async def data(self) -> AsyncIterator[bytes]:
        """Bytes up to the next delimiter."""
        kept = len(self._delimiter) - 1  # what may be the beginning of one
        while self._inside:
            at = self._buffer.find(self._delimiter)
            if at >= 0:
                piece = bytes(self._buffer[:at])
                del self._buffer[: at + len(self._delimiter)]
                self._inside = False
            else:
                piece = bytes(self._buffer[:-kept])
                del self._buffer[:-kept]
                await self._fill()
            if piece:
                yield piece

    async def skip(self) -> None:
        """Pass over what is left before the next delimiter."""
        async for _ in self.data():
            pass

    async def head(self) -> bytes:
        """The headers of a part, whose data comes next."""
        while (at := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > LONGEST_HEAD:
                raise RequestError("the headers of a field are too long")
            await self._fill()
        head = bytes(self._buffer[:at])
        del self._buffer[: at + 2]  # the line end that stays belongs to the delimiter of no data
        self._inside = True
        await self._pass_line_end()
        return head

    async def _pass_line_end(self) -> None:
        while len(self._buffer) < len(self._delimiter):
            await self._fill()
        if not self._buffer.startswith(self._delimiter):
            del self._buffer[:2]

    async def take(self, number: int) -> bytes:
        """The next bytes."""
        while len(self._buffer) < number:
            await self._fill()
        taken = bytes(self._buffer[:number])
        del self._buffer[:number]
        return taken

    async def _fill(self) -> None:
        more = await anext(self._stream, b"")
        while not more:  # an empty chunk stands at the end of some streams
            try:
                more = await anext(self._stream)
            except StopAsyncIteration:
                raise RequestError("the form ends before its last delimiter") from None
        self._buffer += more


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        raise UnsupportedMedia(
            "send a form with the header Content-Type: multipart/form-data; boundary=..."
        )
    return boundary.encode("latin-1", "replace")


def _disposition(head: bytes) -> tuple[str, str | None]:
    for line in head.decode(errors="replace").split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() == "content-disposition":
            message = Message()
            message["content-disposition"] = value.strip()
            name = message.get_param("name", header="content-disposition")
            if isinstance(name, str):
                return name, message.get_filename()
    raise RequestError("a field of the form has no name")
