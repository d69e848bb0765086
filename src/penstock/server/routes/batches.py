"""/v1/batches: OpenAI's batches, of a file or of requests in the body, with progress and results.

Times are epoch seconds here, as OpenAI writes them. Unknown fields are ignored, as OpenAI does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from penstock.batch import Batch, Batches, Progress, id_of
from penstock.batch.output import line
from penstock.batch.records import FileError, named
from penstock.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    StorageFull,
    StorageUnavailable,
    TooLarge,
    UnsupportedMedia,
)
from penstock.server.batch_request import Asked, BatchRequest, read
from penstock.server.routes.files import find as find_file
from penstock.web.body import gives, read_body, takes
from penstock.web.errors import responses
from penstock.web.idempotency import IdempotencyKey
from penstock.web.pages import decode_cursor, encode_cursor
from penstock.web.principal import Principal
from penstock.web.roles import Operator, Viewer
from penstock.web.sse import DOCUMENTED, FINISHED, Event, EventStream, LastEventId
from penstock.web.streams import Streams

PATH = "/v1/batches"
Id = Annotated[str, Path(min_length=1, max_length=64)]
Limit = Annotated[int, Query(ge=1, le=100)]
ResultLimit = Annotated[int, Query(ge=1, le=1000)]
After = Annotated[str | None, Query(max_length=64, description="The last id of the page before.")]
Cursor = Annotated[
    str | None, Query(max_length=1024, description="`next` of the page before this one.")
]


class Counts(msgspec.Struct, frozen=True):
    """Requests by outcome."""

    total: int
    completed: int
    failed: int


class Errors(msgspec.Struct, frozen=True):
    """What is wrong with the input file."""

    data: list[FileError]
    object: Literal["list"] = "list"


class Ours(msgspec.Struct, frozen=True):
    """Penstock's own part of a batch."""

    job_id: str | None
    progress: BatchProgress


class BatchProgress(msgspec.Struct, frozen=True):
    """How far it is; `failed` and `cached` are among `done`."""

    done: int
    total: int
    failed: int
    cached: int
    percent: float
    rate_per_second: float
    eta_seconds: float | None


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's batch with the `penstock` block."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: Errors | None
    input_file_id: str | None
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: Counts
    metadata: dict[str, Any] | None
    penstock: Ours


class BatchList(msgspec.Struct, frozen=True):
    """Batches, newest first."""

    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class Result(msgspec.Struct, frozen=True):
    """What one request came to, as a line of OpenAI's output or error file."""

    id: str
    custom_id: str | None
    response: dict[str, Any] | None
    error: dict[str, Any] | None


class ResultPage(msgspec.Struct, frozen=True):
    """Results in the order of the requests; while the batch runs, `next` leads on to later ones."""

    items: list[msgspec.Raw]
    next: str | None


class _ShownPage(msgspec.Struct):
    items: list[Result]
    next: str | None


_encode = msgspec.json.Encoder().encode
_errors = msgspec.json.Decoder(list[FileError])


def router(batches: Batches, streams: Streams) -> APIRouter:
    """The routes below /v1/batches."""
    routes = APIRouter(prefix=PATH, tags=["batches"])
    known = responses(NotFound)

    @routes.post(
        "",
        response_class=Response,
        status_code=202,
        openapi_extra=takes(BatchRequest),
        responses={
            202: gives(BatchObject, "Accepted"),
            **responses(NotFound, TooLarge, UnsupportedMedia, StorageUnavailable, StorageFull),
        },
    )
    async def create_batch(
        request: Request, who: Operator, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Accept a batch of an uploaded file, or of `requests` in the body."""
        asked = await read_body(request, partial(read, batches))
        id = None if idempotency_key is None else id_of(PATH, who.owner, idempotency_key)
        batch = await _create(batches, asked, who, id=id)
        place = {"location": f"{PATH}/{batch.id}"}
        return _respond(view(batch), status=202, headers=place)

    @routes.get("", response_class=Response, responses={200: gives(BatchList), **known})
    async def list_batches(who: Viewer, after: After = None, limit: Limit = 20) -> Response:
        """List batches, newest first: one's own, or everybody's for administrators."""
        owner = _scope(who)
        last = None if after is None else await batches.find(after, owner=owner)
        found = await batches.page(owner=owner, after=last, limit=limit + 1)
        data = [view(batch) for batch in found[:limit]]
        first, last_id = (data[0].id, data[-1].id) if data else (None, None)
        return _respond(BatchList(data, first, last_id, has_more=len(found) > limit))

    @routes.get(
        "/{batch_id}", response_class=Response, responses={200: gives(BatchObject), **known}
    )
    async def get_batch(batch_id: Id, who: Viewer) -> Response:
        """One batch, with its progress."""
        return _respond(view(await batches.find(batch_id, owner=_scope(who))))

    @routes.post(
        "/{batch_id}/cancel",
        response_class=Response,
        responses={200: gives(BatchObject), **responses(NotFound, Conflict)},
    )
    async def cancel_batch(batch_id: Id, who: Operator) -> Response:
        """Cancel a batch; what is finished stays."""
        batch = await batches.find(batch_id, owner=_scope(who))
        return _respond(view(await batches.cancel(batch)))

    @routes.get(
        "/{batch_id}/results",
        response_class=Response,
        responses={200: gives(_ShownPage), **known},
    )
    async def get_batch_results(
        batch_id: Id, who: Viewer, cursor: Cursor = None, limit: ResultLimit = 100
    ) -> Response:
        """What the requests came to, in their order, as far as they are finished."""
        batch = await batches.find(batch_id, owner=_scope(who))
        start = 0 if cursor is None else _start(cursor)
        found = await batches.items(batch, start=start, limit=limit + 1)
        items = found[:limit]
        more = len(found) > limit or not batch.is_final
        return _respond(
            ResultPage(
                [msgspec.Raw(line(batch.id, item)) for item in items],
                encode_cursor(start + len(items)) if more else None,
            )
        )

    @routes.get("/{batch_id}/events", response_class=EventStream, responses={**known, **DOCUMENTED})
    async def watch_batch(batch_id: Id, who: Viewer, last_event_id: LastEventId = None) -> Response:
        """The batch now and after its changes, as server-sent events, until it has ended.

        Each event is named `batch` and holds the batch. Changes within a quarter of a second are
        one event.
        """
        batch = await batches.find(batch_id, owner=_scope(who))
        if batch.is_final and last_event_id == _event_id(batch):
            return Response(status_code=FINISHED)
        return streams.open(who, ("batch", batch.id), lambda: _events(batches, batch.id))

    return routes


def view(batch: Batch) -> BatchObject:
    """A batch as OpenAI describes it, with our block."""
    ended = batch.ended_at
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        errors=None if batch.errors is None else Errors(_errors.decode(batch.errors)),
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=batch.status,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=batch.created_at // 1000,
        in_progress_at=_seconds(batch.in_progress_at),
        expires_at=batch.expires_at // 1000,
        finalizing_at=_seconds(batch.finalizing_at),
        completed_at=_seconds(ended if batch.status == "completed" else None),
        failed_at=_seconds(ended if batch.status == "failed" else None),
        expired_at=_seconds(ended if batch.status == "expired" else None),
        cancelling_at=_seconds(batch.cancelling_at),
        cancelled_at=_seconds(ended if batch.status == "cancelled" else None),
        request_counts=Counts(batch.total, batch.completed, batch.failed),
        metadata=named(batch.metadata),
        penstock=Ours(batch.job_id, _progress(batch.progress)),
    )


async def _create(batches: Batches, asked: Asked, who: Principal, *, id: str | None) -> Batch:
    about = {"id": id, "owner": who.owner, "key_id": who.key_id, **asked.about}
    if asked.items is not None:
        return await batches.create(asked.items, **about)
    file = await find_file(batches, str(asked.input_file_id), who)
    return await batches.create_from_file(file.id, **about)


def _start(cursor: str) -> int:
    start = decode_cursor(cursor, type=int)
    if start < 0:
        raise InvalidInput(
            "the cursor cannot be read",
            errors=[{"pointer": "/cursor", "detail": "it is not a cursor of these results"}],
        )
    return start


async def _events(batches: Batches, batch_id: str) -> AsyncIterator[Event]:
    async for batch in batches.watch(batch_id, owner=None):
        yield Event("batch", _encode(view(batch)), _event_id(batch))


def _event_id(batch: Batch) -> str:
    """Names the end, so that who comes again with it is told that nothing more comes."""
    return f"{batch.status}-{batch.ended_at}" if batch.is_final else ""


def _progress(progress: Progress) -> BatchProgress:
    return BatchProgress(
        done=progress.done,
        total=progress.total,
        failed=progress.failed,
        cached=progress.cached,
        percent=progress.percent,
        rate_per_second=progress.rate_per_second,
        eta_seconds=progress.eta_seconds,
    )


def _scope(who: Principal) -> str | None:
    return None if who.role == "admin" else who.owner


def _seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // 1000


def _respond(
    found: msgspec.Struct, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(
        _encode(found), status_code=status, headers=headers, media_type="application/json"
    )
