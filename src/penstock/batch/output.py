"""The lines of OpenAI's output and error files, made of the items when they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from penstock.batch.operation import ItemError
from penstock.batch.records import COMPLETED, WAITING, Item
from penstock.batch.store import BatchStore

PAGE: Final = 200  # items at once

_error = msgspec.json.Decoder(ItemError)
_encode = msgspec.json.Encoder().encode


async def lines(store: BatchStore, batch_id: str, *, state: int | None) -> AsyncIterator[bytes]:
    """The finished items as lines, in order, page by page; `state` None: whatever they came to."""
    start = 0
    while page := await store.items(batch_id, start=start, limit=PAGE):
        start = page[-1].number + 1
        chosen = [item for item in page if item.state == state or (state is None and item.state)]
        if chosen:
            yield b"".join([line(batch_id, item) + b"\n" for item in chosen])


async def size(store: BatchStore, batch_id: str, *, state: int) -> int:
    """Bytes that the lines would have."""
    return sum([len(part) async for part in lines(store, batch_id, state=state)])


def line(batch_id: str, item: Item) -> bytes:
    """One item as OpenAI writes it.

    What a single request would have been told stands in `response`; what never became an answer of
    the operation (time-out, cancel) in `error`.
    """
    id = f"batch_req_{batch_id.removeprefix('batch_')}_{item.number}"
    document: dict[str, object] = {"id": id, "custom_id": item.custom_id}
    document["response"], document["error"] = None, None
    if item.outcome is None or item.state == WAITING:
        return _encode(document)
    if item.state == COMPLETED:
        document["response"] = _response(200, id, msgspec.Raw(item.outcome))
        return _encode(document)
    error = _error.decode(item.outcome)
    if error.status is None:
        document["error"] = {"code": error.code, "message": error.message}
    else:
        kind = "server_error" if error.status >= 500 else "invalid_request_error"
        told = {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code,
        }
        document["response"] = _response(error.status, id, {"error": told})
    return _encode(document)


def _response(status: int, id: str, body: object) -> dict[str, object]:
    return {"status_code": status, "request_id": id, "body": body}
