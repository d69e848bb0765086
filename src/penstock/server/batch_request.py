"""What `POST /v1/batches` is sent, and how it is read without keeping other requests waiting.

Decoding holds the interpreter from its first byte to its last, so what there is to decode is
bounded before: bytes, objects, metadata. Larger batches are files, which are read piece by piece.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, NamedTuple

import msgspec

from penstock.batch import Batches
from penstock.batch.lines import Request, inline
from penstock.batch.records import NewItem
from penstock.clock import seconds
from penstock.errors import ConfigurationError, InvalidInput, TooLarge

ADVICE = "upload a file with the requests to /v1/files instead"
MOST_BYTES = 8 << 20  # of a body; decoding one holds the loop
MOST_OBJECTS = 100_000  # in one body
LONGEST_METADATA = 256 << 10  # bytes of JSON: what is allowed is less, however it is escaped
LONGEST_WINDOW = 30 * 86_400.0

Name = Annotated[str, msgspec.Meta(max_length=64)]
Value = Annotated[str, msgspec.Meta(max_length=512)]
Metadata = Annotated[dict[Name, Value], msgspec.Meta(max_length=16)]


class _Outline(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request before its many parts are read."""

    endpoint: str
    input_file_id: str | None = None
    requests: msgspec.Raw = msgspec.Raw(b"null")
    completion_window: str = "24h"
    metadata: msgspec.Raw = msgspec.Raw(b"null")


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's request; `requests` in place of `input_file_id` brings them along."""

    endpoint: str
    input_file_id: str | None = None
    requests: list[Request] | None = None
    completion_window: str = "24h"
    metadata: Metadata | None = None


_outline = msgspec.json.Decoder(_Outline)
_request = msgspec.json.Decoder(BatchRequest)
_OBJECT = re.compile(rb'\{\s*"')
_encode = msgspec.json.Encoder().encode


class Asked(NamedTuple):
    """A request, checked."""

    about: dict[str, Any]
    input_file_id: str | None
    items: list[NewItem] | None


def read(batches: Batches, body: bytes) -> Asked:
    """Read a request; in a thread where it is large."""
    asked = _decode(body)
    if (asked.input_file_id is None) == (asked.requests is None):
        raise InvalidInput(
            "a batch has an input_file_id, or requests in its body",
            errors=[{"pointer": "/input_file_id", "detail": "one of the two is needed"}],
        )
    about = {
        "digest": hashlib.sha256(body).hexdigest(),
        "endpoint": asked.endpoint,
        "window": _window(asked.completion_window),
        "window_name": asked.completion_window,
        "metadata": None if asked.metadata is None else _encode(asked.metadata),
    }
    batches.check_endpoint(asked.endpoint)
    items = None
    if asked.requests is not None:
        items = inline(asked.requests, endpoint=asked.endpoint, most=batches.max_items)
    return Asked(about, asked.input_file_id, items)


def _decode(body: bytes) -> BatchRequest:
    """The request, decoded only when it is known how much that is."""
    outline = _outline.decode(body)
    if len(bytes(outline.metadata)) > LONGEST_METADATA:
        raise InvalidInput(
            "the metadata is too long",
            errors=[{"pointer": "/metadata", "detail": f"is longer than {LONGEST_METADATA} bytes"}],
        )
    if _has_more_objects(bytes(outline.requests), MOST_OBJECTS):
        raise TooLarge(
            f"the requests hold more than {MOST_OBJECTS} objects; {ADVICE}", limit=MOST_OBJECTS
        )
    # Not the body: what it names twice was looked at once.
    return _request.decode(_encode(outline))


def _has_more_objects(text: bytes, most: int) -> bool:
    """Whether JSON holds more objects than that; one whose text ends with "{" may count for two."""
    if text.count(b"{") <= most:
        return False
    found = 0
    for start in range(0, len(text), 1 << 20):  # a match in one piece would keep others waiting
        found += len(_OBJECT.findall(text, start, start + (1 << 20)))
        if found > most:
            return True
    return False


def _window(given: str) -> float:
    try:
        window = seconds(given)
    except ConfigurationError:
        window = 0.0
    if not 1.0 <= window <= LONGEST_WINDOW:
        raise InvalidInput(
            f"the completion_window {given[:40]!r} cannot be used; write 24h, 30m or up to 30d",
            errors=[{"pointer": "/completion_window", "detail": "is not a time up to 30d"}],
        )
    return window
