"""FIST's batches: `POST /api/moderate/batch`, its status and its results.

With `background` the answer comes at once and the work survives a restart; without it the document
has the results inline. `results` are in the order of `contents`, null where `errors` has the item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from penstock.batch import Batch, Batches, ItemError, NewItem, Outcome, id_of, new_id
from penstock.clock import Clock
from penstock.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    StorageUnavailable,
    TooLarge,
)
from penstock.runtime import Runtime
from penstock.server.compat.fist import (
    HIGH,
    LOW,
    AIResult,
    FistOptions,
    FistResult,
    decide,
    excerpt_of,
    instant,
    limits_of,
)
from penstock.services.moderation.excerpt import ExcerptRule
from penstock.services.moderation.tasks import Text, TextAnswer, TextOperation
from penstock.settings import Settings
from penstock.web.body import gives, read_body, takes
from penstock.web.errors import responses
from penstock.web.idempotency import IdempotencyKey
from penstock.web.principal import Principal
from penstock.web.roles import Operator, Viewer

ENDPOINT = TextOperation.endpoint
PATH = f"{ENDPOINT}/batch"
PAGE = 500  # results at once

_STATUS = {
    "validating": "pending",
    "in_progress": "processing",
    "finalizing": "processing",
    "cancelling": "processing",
    "completed": "completed",
    "expired": "completed",  # what was finished in time stays, the rest are errors
    "failed": "failed",
    "cancelled": "failed",
}


class FistBatchRequest(FistOptions, kw_only=True):
    """FIST's batch request; the options are those of a single one, for all contents."""

    contents: list[str]
    background: bool = False


class FistItemError(msgspec.Struct, frozen=True):
    """Why one content has no result."""

    index: int
    error: str
    code: str


class FistBatch(msgspec.Struct, frozen=True, kw_only=True):
    """FIST's batch job; `results` and `errors` are there once it is completed."""

    job_id: str
    status: str  # pending, processing, completed or failed
    total_items: int
    processed_items: int
    progress_percent: float
    error_count: int
    created_at: str
    started_at: str | None
    completed_at: str | None
    elapsed_seconds: float
    estimated_remaining_seconds: float | None
    results: list[FistResult | None] | msgspec.UnsetType = msgspec.UNSET
    errors: list[FistItemError] | msgspec.UnsetType = msgspec.UNSET


class Limits(msgspec.Struct, frozen=True):
    """What of a batch's request only matters when its results are read."""

    low: int = LOW
    high: int = HIGH


_request = msgspec.json.Decoder(FistBatchRequest)
_answer = msgspec.json.Decoder(TextAnswer)
_error = msgspec.json.Decoder(ItemError)
_limits = msgspec.json.Decoder(Limits)
_encode = msgspec.json.Encoder().encode


def router(runtime: Runtime) -> APIRouter:
    """FIST's batch routes."""
    routes = APIRouter(prefix=PATH, tags=["fist"])
    batches, clock = runtime.batches, runtime.clock

    @routes.post(
        "",
        response_class=Response,
        openapi_extra=takes(FistBatchRequest),
        responses={
            200: gives(FistBatch, "The batch with its results"),
            202: gives(FistBatch, "Accepted, with background=true"),
            **responses(TooLarge, StorageUnavailable),
        },
    )
    async def moderate_batch(
        request: Request, who: Operator, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Moderate up to a hundred contents, at once or in the background."""
        asked, digest = await read_body(request, _read)
        _check(asked, runtime.settings)
        id = new_id() if idempotency_key is None else id_of(PATH, who.owner, idempotency_key)
        accepted = _Accepted(asked, runtime.settings, id=id, who=who, digest=digest)
        if asked.background:
            batch = await accepted.later(batches)
            place = {"location": f"{PATH}/{batch.id}/status"}
            return _respond(document(batch, clock), status=202, headers=place)
        known = await accepted.before(batches) if idempotency_key else None
        if known is not None:
            return _respond(await with_results(batches, known, clock))
        return _respond(await accepted.now(batches, clock))

    @routes.get(
        "/{job_id}/status",
        response_class=Response,
        responses={200: gives(FistBatch), **responses(NotFound)},
    )
    async def get_batch_status(job_id: str, who: Viewer) -> Response:
        """How far a batch is."""
        owner = None if who.role == "admin" else who.owner
        return _respond(document(await find(batches, job_id, owner=owner), clock))

    @routes.get(
        "/{job_id}/results",
        response_class=Response,
        responses={200: gives(FistBatch), **responses(NotFound, Conflict)},
    )
    async def get_batch_results(job_id: str, who: Viewer) -> Response:
        """The results of a batch that is completed."""
        owner = None if who.role == "admin" else who.owner
        batch = await find(batches, job_id, owner=owner)
        if not batch.is_final:
            done = batch.completed + batch.failed
            raise Conflict(
                f"the batch is {_STATUS[batch.status]}, {done} of {batch.total} items are done; "
                f"ask {PATH}/{batch.id}/status until it is completed"
            )
        return _respond(await with_results(batches, batch, clock))

    return routes


async def find(batches: Batches, job_id: str, *, owner: str | None) -> Batch:
    """One of FIST's batches. Raises NotFound and Forbidden."""
    batch = await batches.find(job_id, owner=owner)
    if batch.endpoint != ENDPOINT:
        raise NotFound(f"there is no batch {job_id[:80]!r} here; see /v1/batches/{batch.id}")
    return batch


def document(batch: Batch, clock: Clock) -> FistBatch:
    """A batch as FIST describes it, without results."""
    progress = batch.progress
    began = batch.in_progress_at
    until = batch.ended_at or int(clock.now() * 1000)
    return FistBatch(
        job_id=batch.id,
        status=_STATUS[batch.status],
        total_items=batch.total,
        processed_items=progress.done,
        progress_percent=progress.percent,
        error_count=batch.failed,
        created_at=instant(batch.created_at / 1000),
        started_at=None if began is None else instant(began / 1000),
        completed_at=None if batch.ended_at is None else instant(batch.ended_at / 1000),
        elapsed_seconds=0.0 if began is None else max(0, until - began) / 1000,
        estimated_remaining_seconds=progress.eta_seconds,
    )


async def with_results(batches: Batches, batch: Batch, clock: Clock) -> FistBatch:
    """A batch that has ended, with what its items came to."""
    limits = _limits.decode(batch.options)
    results: list[FistResult | None] = []
    errors: list[FistItemError] = []
    while page := await batches.items(batch, start=len(results), limit=PAGE):
        for item in page:
            outcome = item.outcome or b"{}"
            if item.state == 1:
                found = _result(_answer.decode(outcome), limits, cached=item.cached)
                results.append(found)
            else:
                results.append(None)
                errors.append(_fault(item.number, _error.decode(outcome)))
    return msgspec.structs.replace(document(batch, clock), results=results, errors=errors)


class _Accepted:
    """One request, checked."""

    def __init__(
        self, asked: FistBatchRequest, settings: Settings, *, id: str, who: Principal, digest: str
    ) -> None:
        low, high = limits_of(asked.probability_thresholds)
        self._limits = Limits(low, high)
        self._excerpt = excerpt_of(asked, settings.provider_excerpt_words)
        self._contents = asked.contents
        self._time = settings.batch_timeout
        self._about: dict[str, Any] = {
            "id": id,
            "endpoint": ENDPOINT,
            "owner": who.owner,
            "key_id": who.key_id,
            "digest": digest,
            "options": _encode(self._limits),
        }

    async def later(self, batches: Batches) -> Batch:
        """Accept it for the background."""
        texts = _texts(self._contents, self._excerpt)
        items = [NewItem(number, _encode(text)) for number, text in enumerate(texts)]
        return await batches.create(items, **self._about, time_limit=self._time)

    async def before(self, batches: Batches) -> Batch | None:
        """What the same request came to when it was sent before."""
        return await batches.repeated(self._about["id"], digest=self._about["digest"])

    async def now(self, batches: Batches, clock: Clock) -> FistBatch:
        """Answer it."""
        began = int(clock.now() * 1000)
        texts = _texts(self._contents, self._excerpt)
        outcomes = await batches.run_now(
            ENDPOINT,
            texts,
            owner=self._about["owner"],
            key=self._about["key_id"],
            time_limit=self._time,
        )
        batch = await batches.record(outcomes, **self._about, started_at=began)
        results = [
            None
            if outcome.value is None
            else _result(outcome.value, self._limits, cached=outcome.cached)
            for outcome in outcomes
        ]
        return msgspec.structs.replace(
            document(batch, clock), results=results, errors=_faults(outcomes)
        )


def _read(body: bytes) -> tuple[FistBatchRequest, str]:
    return _request.decode(body), hashlib.sha256(body).hexdigest()


def _check(asked: FistBatchRequest, settings: Settings) -> None:
    number, most = len(asked.contents), settings.max_batch_size
    if not number:
        wrong = {"pointer": "/contents", "detail": "is empty"}
        raise InvalidInput("a batch needs at least one content", errors=[wrong])
    if number > most:
        raise TooLarge(
            f"{number} contents in one batch; at most {most} are taken (MAX_BATCH_SIZE). Send them "
            "in several batches, or as a file to /v1/batches",
            limit=most,
        )


def _texts(contents: Sequence[str], excerpt: ExcerptRule) -> list[Text]:
    return [Text(content, excerpt) for content in contents]


def _result(answer: TextAnswer, limits: Limits, *, cached: bool) -> FistResult:
    probability, letter = decide(
        answer.risk,
        answer.decision,
        degraded=answer.degraded is not None,
        low=limits.low,
        high=limits.high,
    )
    return FistResult(
        moderation_id=answer.id,
        content_hash=answer.content_hash,
        ai_result=AIResult(probability, answer.rationale or answer.reason),
        final_decision=letter,
        reason=answer.reason,
        created_at=instant(answer.created_at / 1000),
        word_count=answer.word_count,
        percentage_used=round(answer.excerpt_share, 4),
        from_cache=cached,
    )


def _faults(outcomes: Sequence[Outcome[TextAnswer]]) -> list[FistItemError]:
    return [
        _fault(number, outcome.error)
        for number, outcome in enumerate(outcomes)
        if outcome.error is not None
    ]


def _fault(index: int, error: ItemError) -> FistItemError:
    return FistItemError(index, error.message, error.code)


def _respond(
    found: FistBatch, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(
        _encode(found), status_code=status, headers=headers, media_type="application/json"
    )
