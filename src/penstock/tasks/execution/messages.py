"""What a process and its children say to one another: JSON with its length in front."""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.tasks.job import Progress

HEAD: Final = 4  # bytes, big endian
MAX_MESSAGE: Final = 16 << 20


class Hello(msgspec.Struct, tag_field="is", tag="hello", frozen=True):
    """The first message to a child: where it finds modules."""

    path: list[str]


class Call(msgspec.Struct, tag_field="is", tag="call", frozen=True):
    """Run this function."""

    job_id: str
    address: str  # "module:qualname"
    arguments: msgspec.Raw
    attempt: int
    owner: str | None
    request_id: str | None
    trace_id: str | None


class End(msgspec.Struct, tag_field="is", tag="end", frozen=True):
    """End the function that runs."""


class Begun(msgspec.Struct, tag_field="is", tag="begun", frozen=True):
    """The call arrived: from now on the job counts as started."""


class Report(msgspec.Struct, tag_field="is", tag="report", frozen=True):
    """How far it is."""

    progress: Progress


class Returned(msgspec.Struct, tag_field="is", tag="returned", frozen=True):
    """The function returned."""

    result: msgspec.Raw


class Raised(msgspec.Struct, tag_field="is", tag="raised", frozen=True):
    """The function raised."""

    type: str
    message: str
    traceback: str
    retryable: bool
    after: float | None


class Ended(msgspec.Struct, tag_field="is", tag="ended", frozen=True):
    """The function ended because it was told to."""

    traceback: str  # where it was


ToChild = Hello | Call | End
ToParent = Begun | Report | Returned | Raised | Ended

_encoder: Final = msgspec.json.Encoder()
read_for_child: Final = msgspec.json.Decoder(ToChild).decode
read_for_parent: Final = msgspec.json.Decoder(ToParent).decode


def packed(message: ToChild | ToParent) -> bytes:
    """The bytes to be sent."""
    body = _encoder.encode(message)
    return len(body).to_bytes(HEAD, "big") + body


class Inbox:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def add(self, data: bytes) -> list[bytes]:
        """The messages that are complete with this. Raises ValueError for nonsense."""
        buffer = self._buffer
        buffer += data
        found: list[bytes] = []
        start = 0
        while len(buffer) - start >= HEAD:
            size = int.from_bytes(buffer[start : start + HEAD], "big")
            if size > MAX_MESSAGE:
                raise ValueError(f"a message of {size} bytes")
            end = start + HEAD + size
            if len(buffer) < end:
                break
            found.append(bytes(buffer[start + HEAD : end]))
            start = end
        del buffer[:start]
        return found
