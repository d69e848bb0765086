"""Every call of the API: which path, which body, what the answer becomes. Nothing here does I/O."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import quote, urlencode

from penstock_client.answers import (
    Batch,
    BatchResult,
    BatchStatus,
    CacheStats,
    Cleared,
    Health,
    ItemError,
    JobRecord,
    Metrics,
    Moderation,
    Page,
    Verdict,
)
from penstock_client.clock import Clock
from penstock_client.config import CallOptions, Config, ContentOptions, count, seconds
from penstock_client.decode import Answer, decode, parse
from penstock_client.errors import InvalidAnswerError, PenstockError
from penstock_client.flow import Flow, Reply, Request, Sleep, exchange, pauses
from penstock_client.version import __version__

T = TypeVar("T")
A = TypeVar("A", bound=Answer)

UNKNOWN: Final = 50  # percent: neither approved nor rejected, by anybody's thresholds
BATCH_TIMEOUT: Final = 330.0  # a batch answered at once may take the server 300 s

_AGENT: Final = f"penstock-client/{__version__} python/{sys.version_info[0]}.{sys.version_info[1]}"


class Document(NamedTuple):
    """The object of an answer, and the request id."""

    body: dict[str, Any]
    request_id: str | None


class Api:
    """The calls of one server, as flows."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock

    # Moderation

    def moderate_content(self, text: str, options: ContentOptions) -> Flow[Moderation]:
        body, rest = _split({"content": text}, options)
        found = yield from self._post("/api/moderate", body, rest)
        return self._judged(found.body, found.request_id)

    def moderate(
        self, texts: list[str], user: str | None, options: CallOptions
    ) -> Flow[list[Verdict]]:
        body = {"input": texts} if user is None else {"input": texts, "user": user}
        found = yield from self._post("/v1/moderations", body, options)
        results = [
            decode(Verdict, item, where=f"results[{i}]", request_id=found.request_id)
            for i, item in enumerate(_list(found.body, "results"))
        ]
        return _complete(results, texts)

    def find_result(self, moderation_id: str, options: CallOptions) -> Flow[Moderation]:
        found = yield from self._get(f"/api/results/{_id(moderation_id)}", options)
        return self._judged(found.body, found.request_id)

    def moderate_batch(self, texts: list[str], options: ContentOptions) -> Flow[list[Moderation]]:
        limit = self.config.timeout
        body, rest = _split({"contents": texts, "background": False}, options)
        patient: CallOptions = {"timeout": limit and max(limit, BATCH_TIMEOUT), **rest}
        found = yield from self._post("/api/moderate/batch", body, patient)
        return _complete(self._results(found), texts)

    def start_batch(self, texts: list[str], options: ContentOptions) -> Flow[BatchStatus]:
        body, rest = _split({"contents": texts, "background": True}, options)
        found = yield from self._post("/api/moderate/batch", body, rest)
        return decode(BatchStatus, found.body, request_id=found.request_id)

    def batch_status(self, job_id: str, options: CallOptions) -> Flow[BatchStatus]:
        path = f"/api/moderate/batch/{_id(job_id)}/status"
        return (yield from self._one(BatchStatus, self._get(path, options)))

    def watched_batch(self, job_id: str) -> Flow[BatchStatus]:
        """The status; FIST has one word for what failed and what was cancelled, we have two."""
        status = yield from self.batch_status(job_id, {})
        if status.status != "failed":
            return status
        batch = yield from self.batch(job_id, {})
        return replace(status, status=batch.status)

    def batch_moderations(self, job_id: str, options: CallOptions) -> Flow[list[Moderation]]:
        found = yield from self._get(f"/api/moderate/batch/{_id(job_id)}/results", options)
        return self._results(found)

    # System

    def health(self, options: CallOptions) -> Flow[Health]:
        return (yield from self._one(Health, self._get("/api/health", options)))

    def metrics(self, options: CallOptions) -> Flow[Metrics]:
        return (yield from self._one(Metrics, self._get("/api/metrics", options)))

    def cache_stats(self, options: CallOptions) -> Flow[CacheStats]:
        return (yield from self._one(CacheStats, self._get("/api/cache/stats", options)))

    def clear_cache(self, meant: Mapping[str, object], options: CallOptions) -> Flow[Cleared]:
        body = {name: value for name, value in meant.items() if value is not None}
        return (yield from self._one(Cleared, self._post("/v1/cache/clear", body, options)))

    def test_connection(self, options: CallOptions) -> Flow[bool]:
        """Whether the server answers and takes the key; /health would answer without one."""
        quick: CallOptions = {"max_retries": 0, **options}
        try:
            yield from self._get("/v1/keys/current", quick)
        except PenstockError:
            return False
        return True

    # Jobs

    def job(self, job_id: str, options: CallOptions) -> Flow[JobRecord]:
        return (yield from self._one(JobRecord, self._get(f"/v1/jobs/{_id(job_id)}", options)))

    def jobs_page(
        self, filters: Mapping[str, object], cursor: str | None, options: CallOptions
    ) -> Flow[Page[JobRecord]]:
        query = {**filters, "cursor": cursor}
        found = yield from self._get("/v1/jobs", options, query=query)
        return _page(JobRecord, found)

    def change_job(self, job_id: str, verb: str, options: CallOptions) -> Flow[JobRecord]:
        path = f"/v1/jobs/{_id(job_id)}/{verb}"
        return (yield from self._one(JobRecord, self._post(path, None, options)))

    # Batches of any endpoint

    def create_batch(self, body: Mapping[str, object], options: CallOptions) -> Flow[Batch]:
        given = {name: value for name, value in body.items() if value is not None}
        return (yield from self._one(Batch, self._post("/v1/batches", given, options)))

    def batch(self, batch_id: str, options: CallOptions) -> Flow[Batch]:
        return (yield from self._one(Batch, self._get(f"/v1/batches/{_id(batch_id)}", options)))

    def cancel_batch(self, batch_id: str, options: CallOptions) -> Flow[Batch]:
        path = f"/v1/batches/{_id(batch_id)}/cancel"
        return (yield from self._one(Batch, self._post(path, None, options)))

    def batch_results_page(
        self, batch_id: str, limit: int | None, cursor: str | None, options: CallOptions
    ) -> Flow[Page[BatchResult]]:
        """The next results; of a batch that still runs, when there are some."""
        path = f"/v1/batches/{_id(batch_id)}/results"
        for rest in pauses():
            query = {"limit": limit, "cursor": cursor}
            found = yield from self._get(path, options, query=query)
            page = _page(BatchResult, found)
            if page.items or page.next is None:
                return page
            cursor = page.next
            yield Sleep(rest)
        raise AssertionError("unreachable")

    # What all of them share

    def _one(self, kind: type[A], asked: Flow[Document]) -> Flow[A]:
        found = yield from asked
        return decode(kind, found.body, request_id=found.request_id)

    def _judged(self, body: Any, request_id: str | None) -> Moderation:
        """A result alone, or within FIST's response."""
        inner = body.get("result", body) if isinstance(body, dict) else body
        return decode(Moderation, inner, where="result", request_id=request_id)

    def _results(self, found: Document) -> list[Moderation]:
        errors = {
            error.get("index"): error
            for error in _list({"errors": [], **found.body}, "errors")
            if isinstance(error, dict)
        }
        return [
            unjudged(errors.get(number, {}), request_id=found.request_id)
            if item is None
            else self._judged(item, found.request_id)
            for number, item in enumerate(_list(found.body, "results"))
        ]

    def _get(
        self, path: str, options: CallOptions, *, query: Mapping[str, object] | None = None
    ) -> Flow[Document]:
        return self._call("GET", path + _query(query or {}), None, options)

    def _post(
        self, path: str, body: Mapping[str, object] | None, options: CallOptions
    ) -> Flow[Document]:
        return self._call("POST", path, body, options)

    def _call(
        self, method: str, path: str, body: Mapping[str, object] | None, options: CallOptions
    ) -> Flow[Document]:
        unknown = options.keys() - CallOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
        content = None if body is None else _json(body)
        request = Request(
            method,
            self.config.base_url + path,
            path,
            content,
            self._headers(method, content, options),
            seconds(options.get("timeout", self.config.timeout)),
        )
        retries = count(options.get("max_retries", self.config.max_retries))
        reply: Reply = yield from exchange(request, retries=retries, clock=self.clock)
        document = parse(reply.body, shown_url=self.config.shown_url)
        return Document(document, reply.request_id)

    def _headers(self, method: str, content: bytes | None, options: CallOptions) -> dict[str, str]:
        headers = {"accept": "application/json", "user-agent": _AGENT}
        if content is not None:
            headers["content-type"] = "application/json"
        if method == "POST":  # one for all attempts: the server does the work once
            headers["idempotency-key"] = options.get("idempotency_key") or os.urandom(16).hex()
        given = {**self.config.headers, **(options.get("headers") or {})}
        return {**headers, **{name.lower(): value for name, value in given.items()}}


def unjudged(error: Mapping[str, Any], *, request_id: str | None) -> Moderation:
    """What stands for a text that the server could not judge: a person has to."""
    message = str(error.get("error") or "there is no result")
    return Moderation(
        moderation_id="",
        final_decision="M",
        inappropriate_probability=UNKNOWN,
        reason=message,
        error=ItemError(code=str(error.get("code") or ""), message=message),
        request_id=request_id,
    )


def texts_of(contents: Iterable[str]) -> list[str]:
    """The texts of a batch; TypeError for one text, which is a sequence of texts too."""
    if isinstance(contents, (str, bytes)):
        raise TypeError("this takes a list of texts; for one text there is moderate_content")
    return list(contents)


def job_filters(
    *,
    state: str | Iterable[str] | None,
    queue: str | None,
    task: str | None,
    batch_id: str | None,
    owner: str | None,
    created_after: datetime | None,
    created_before: datetime | None,
    limit: int | None,
) -> dict[str, object]:
    """The query of a list of jobs."""
    return {
        "state": [state] if isinstance(state, str) else list(state or ()),
        "queue": queue,
        "task": task,
        "batch_id": batch_id,
        "owner": owner,
        "created_after": created_after and created_after.isoformat(),
        "created_before": created_before and created_before.isoformat(),
        "limit": limit,
    }


def batch_body(
    requests: Iterable[Mapping[str, object]] | None,
    *,
    endpoint: str,
    input_file_id: str | None,
    metadata: Mapping[str, str] | None,
) -> dict[str, object]:
    """What a new batch is made of."""
    return {
        "endpoint": endpoint,
        "requests": None if requests is None else [dict(request) for request in requests],
        "input_file_id": input_file_id,
        "completion_window": "24h",
        "metadata": None if metadata is None else dict(metadata),
    }


def _split(
    body: dict[str, object], options: ContentOptions
) -> tuple[dict[str, object], CallOptions]:
    """What of the options goes into the body, and what says how the call is made."""
    rest: dict[str, Any] = dict(options)
    told = ContentOptions.__annotations__.keys() - CallOptions.__annotations__.keys()
    given = {name: rest.pop(name) for name in sorted(told & rest.keys())}
    return {**body, **given}, cast("CallOptions", rest)


def _complete(results: list[T], texts: list[str]) -> list[T]:
    """The results, one for each text: callers pair them."""
    if len(results) != len(texts):
        raise InvalidAnswerError(f"the answer has {len(results)} results for {len(texts)} texts")
    return results


def _page(kind: type[A], found: Document) -> Page[A]:
    items = [
        decode(kind, item, where=f"items[{i}]", request_id=found.request_id)
        for i, item in enumerate(_list(found.body, "items"))
    ]
    following = found.body.get("next")
    return Page(items, following if isinstance(following, str) else None)


def _list(body: dict[str, Any], name: str) -> list[Any]:
    found = body.get(name)
    if not isinstance(found, list):
        raise InvalidAnswerError(f"the answer is not understood: {name} is no list")
    return found


def _json(body: Mapping[str, object]) -> bytes:
    try:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: the server says in which text it is
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _query(query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value is not None and value != []}
    return "?" + urlencode(given, doseq=True) if given else ""


def _id(given: str) -> str:
    """An id as a part of a path; what would lead elsewhere is refused."""
    if not given or given in (".", ".."):
        raise ValueError(f"{given!r} is no id")
    return quote(given, safe="")
