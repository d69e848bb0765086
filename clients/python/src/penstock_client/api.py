"""Every call of the API: which path, which body, what the answer becomes. Nothing here does I/O."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

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
    Verdict,
)
from penstock_client.clock import Clock
from penstock_client.config import (
    BatchOptions,
    CallOptions,
    ClearOptions,
    Config,
    ContentOptions,
    JobFilter,
    ListOptions,
    count,
    seconds,
)
from penstock_client.decode import Answer, decode, parse
from penstock_client.encode import as_id, as_json, as_query, parameter, split
from penstock_client.errors import InvalidAnswerError, NotFoundError, PenstockError
from penstock_client.flow import Flow, Reply, Request, Sleep, exchange, pauses
from penstock_client.pages import Page
from penstock_client.progress import shown
from penstock_client.version import __version__
from penstock_client.watch import Patience, S, Watch

T = TypeVar("T")
A = TypeVar("A", bound=Answer)
Fetch = Callable[[str | None], Flow[Page[T]]]  # a page by its cursor

UNKNOWN: Final = 50  # percent: neither approved nor rejected, by anybody's thresholds
BATCH_TIMEOUT: Final = 330.0  # a batch answered at once may take the server 300 s

_BATCH_ID: Final = "this is a batch's id: use get_batch, wait_for_batch or cancel_batch"
_JOB_ID: Final = "this is a job's id: use get_job, wait_for_job or cancel_job"
_MIXED_UP: Final = {
    "/v1/jobs/batch_": _BATCH_ID,
    "/v1/batches/job_": _JOB_ID,
    "/api/moderate/batch/job_": _JOB_ID,
}
_QUERY: Final = {"page_size": "limit"}  # words of the caller that the server has others for
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
        given, rest = split(options, ContentOptions)
        found = yield from self._post("/api/moderate", {"content": text, **given}, rest)
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
        found = yield from self._get(f"/api/results/{as_id(moderation_id)}", options)
        return self._judged(found.body, found.request_id)

    def moderate_batch(self, texts: list[str], options: ContentOptions) -> Flow[list[Moderation]]:
        limit = self.config.timeout
        given, rest = split(options, ContentOptions)
        body = {"contents": texts, "background": False, **given}
        patient: CallOptions = {"timeout": limit and max(limit, BATCH_TIMEOUT), **rest}
        found = yield from self._post("/api/moderate/batch", body, patient)
        return _complete(self._results(found), texts)

    def start_batch(self, texts: list[str], options: ContentOptions) -> Flow[BatchStatus]:
        given, rest = split(options, ContentOptions)
        body = {"contents": texts, "background": True, **given}
        found = yield from self._post("/api/moderate/batch", body, rest)
        return decode(BatchStatus, found.body, request_id=found.request_id)

    def batch_status(self, job_id: str, options: CallOptions) -> Flow[BatchStatus]:
        path = f"/api/moderate/batch/{as_id(job_id)}/status"
        return (yield from self._one(BatchStatus, self._get(path, options)))

    def wait_for_texts(
        self,
        job_id: str,
        timeout: float | None,
        progress: bool | Callable[[BatchStatus], object],
    ) -> Flow[BatchStatus]:
        return self._wait(job_id, lambda: self._told_apart(job_id), timeout, progress)

    def _told_apart(self, job_id: str) -> Flow[BatchStatus]:
        """The status; FIST has one word for what failed and what was cancelled, we have two."""
        status = yield from self.batch_status(job_id, {})
        if status.status != "failed":
            return status
        batch = yield from self.batch(job_id, {})
        return replace(status, status=batch.status)

    def batch_moderations(self, job_id: str, options: CallOptions) -> Flow[list[Moderation]]:
        found = yield from self._get(f"/api/moderate/batch/{as_id(job_id)}/results", options)
        return self._results(found)

    # System

    def health(self, options: CallOptions) -> Flow[Health]:
        return (yield from self._one(Health, self._get("/api/health", options)))

    def metrics(self, options: CallOptions) -> Flow[Metrics]:
        return (yield from self._one(Metrics, self._get("/api/metrics", options)))

    def cache_stats(self, options: CallOptions) -> Flow[CacheStats]:
        return (yield from self._one(CacheStats, self._get("/api/cache/stats", options)))

    def clear_cache(self, pattern: str | None, options: ClearOptions) -> Flow[Cleared]:
        given, rest = split(options, ClearOptions)
        body = {"pattern": pattern, **given}
        return (yield from self._one(Cleared, self._post("/v1/cache/clear", body, rest)))

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
        return (yield from self._one(JobRecord, self._get(f"/v1/jobs/{as_id(job_id)}", options)))

    def jobs(self, options: JobFilter) -> Fetch[JobRecord]:
        given, rest = split(options, JobFilter)
        query = {_QUERY.get(name, name): parameter(value) for name, value in given.items()}
        return lambda cursor: self._page(JobRecord, "/v1/jobs", {**query, "cursor": cursor}, rest)

    def wait_for_job(
        self,
        job_id: str,
        timeout: float | None,
        progress: bool | Callable[[JobRecord], object],
    ) -> Flow[JobRecord]:
        return self._wait(job_id, lambda: self.job(job_id, {}), timeout, progress)

    def change_job(self, job_id: str, verb: str, options: CallOptions) -> Flow[JobRecord]:
        path = f"/v1/jobs/{as_id(job_id)}/{verb}"
        return (yield from self._one(JobRecord, self._post(path, None, options)))

    # Batches of any endpoint

    def create_batch(
        self, requests: Iterable[Mapping[str, object]] | None, options: BatchOptions
    ) -> Flow[Batch]:
        given, rest = split(options, BatchOptions)
        body = {
            "endpoint": "/v1/moderations",
            "requests": None if requests is None else list(requests),
            "completion_window": "24h",
            **given,
        }
        return (yield from self._one(Batch, self._post("/v1/batches", body, rest)))

    def batch(self, batch_id: str, options: CallOptions) -> Flow[Batch]:
        return (yield from self._one(Batch, self._get(f"/v1/batches/{as_id(batch_id)}", options)))

    def cancel_batch(self, batch_id: str, options: CallOptions) -> Flow[Batch]:
        path = f"/v1/batches/{as_id(batch_id)}/cancel"
        return (yield from self._one(Batch, self._post(path, None, options)))

    def wait_for_batch(
        self, batch_id: str, timeout: float | None, progress: bool | Callable[[Batch], object]
    ) -> Flow[Batch]:
        return self._wait(batch_id, lambda: self.batch(batch_id, {}), timeout, progress)

    def batch_results(self, batch_id: str, options: ListOptions) -> Fetch[BatchResult]:
        path = f"/v1/batches/{as_id(batch_id)}/results"
        given, rest = split(options, ListOptions)
        query = {"limit": given.get("page_size")}
        return lambda cursor: self._grown(
            lambda at: self._page(BatchResult, path, {**query, "cursor": at}, rest), cursor
        )

    def _grown(self, fetch: Fetch[T], cursor: str | None) -> Flow[Page[T]]:
        """The next page of a list that grows, when there is something on it, or nothing to come."""
        patience = Patience(self.clock)
        for rest in pauses():
            page = yield from patience.bear(fetch(cursor))
            if page is not None:
                if page.items or page.next is None:
                    return page
                cursor = page.next
            yield Sleep(rest)
        raise AssertionError("unreachable")

    # What all of them share

    def _one(self, kind: type[A], asked: Flow[Document]) -> Flow[A]:
        found = yield from asked
        return decode(kind, found.body, request_id=found.request_id)

    def _page(
        self, kind: type[A], path: str, query: Mapping[str, object], options: CallOptions
    ) -> Flow[Page[A]]:
        found = yield from self._call("GET", path + as_query(query), None, options)
        items = [
            decode(kind, item, where=f"items[{i}]", request_id=found.request_id)
            for i, item in enumerate(_list(found.body, "items"))
        ]
        following = found.body.get("next")
        return Page(items, following if isinstance(following, str) else None)

    def _wait(
        self,
        job_id: str,
        look: Callable[[], Flow[S]],
        timeout: float | None,
        progress: bool | Callable[[S], object],
    ) -> Flow[S]:
        watch = Watch(job_id, self.clock, timeout)
        with shown(progress, job_id) as report:
            return (yield from watch.wait(look, report))

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

    def _get(self, path: str, options: CallOptions) -> Flow[Document]:
        return self._call("GET", path, None, options)

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
        given = {name: value for name, value in (body or {}).items() if value is not None}
        content = None if body is None else as_json(given)
        request = Request(
            method,
            self.config.base_url + path,
            path,
            content,
            self._headers(method, content, options),
            seconds(options.get("timeout", self.config.timeout)),
        )
        retries = count(options.get("max_retries", self.config.max_retries))
        try:
            reply: Reply = yield from exchange(request, retries=retries, clock=self.clock)
        except NotFoundError as error:
            raise _explained(error, path) from None
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


def _explained(error: NotFoundError, path: str) -> NotFoundError:
    """The error, with a word where a batch's id was taken for a job's or the other way round."""
    hint = next((told for start, told in _MIXED_UP.items() if path.startswith(start)), None)
    if hint is None:
        return error
    return NotFoundError(
        f"{error.detail}; {hint}",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        problem=error.problem,
    )


def _complete(results: list[T], texts: list[str]) -> list[T]:
    """The results, one for each text: callers pair them."""
    if len(results) != len(texts):
        raise InvalidAnswerError(f"the answer has {len(results)} results for {len(texts)} texts")
    return results


def _list(body: dict[str, Any], name: str) -> list[Any]:
    found = body.get(name)
    if not isinstance(found, list):
        raise InvalidAnswerError(f"the answer is not understood: {name} is no list")
    return found
