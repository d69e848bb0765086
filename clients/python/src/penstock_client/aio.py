"""The asynchronous client: the methods of `Penstock`, awaited. Lists are read by `async for`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal, overload

from penstock_client.answers import (
    Batch,
    BatchResult,
    BatchStatus,
    CacheStats,
    Cleared,
    Health,
    JobRecord,
    Metrics,
    Moderation,
    Verdict,
)
from penstock_client.api import Api, texts_of
from penstock_client.clock import Clock, SystemClock
from penstock_client.config import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    BatchOptions,
    CallOptions,
    ClearOptions,
    Config,
    ContentOptions,
    JobFilter,
    ListOptions,
)
from penstock_client.pages import AsyncPaged

if TYPE_CHECKING:
    import httpx2
    from typing_extensions import Unpack


class AsyncPenstock:
    """A client of one server, for one event loop; arguments are those of `Penstock`.

    `base_url` and `api_key` default to PENSTOCK_URL and PENSTOCK_KEY, then to
    http://127.0.0.1:8000 without a key. `timeout` is in seconds for one attempt, `max_retries` how
    often a call is tried again after connection errors and answers 408, 429 and 5xx. Every method
    takes both, `idempotency_key` and `headers` too, for that call alone. `http_client` brings
    proxies, certificates or a transport of your own; it is not closed here.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        headers: Mapping[str, str] | None = None,
        http_client: httpx2.AsyncClient | None = None,
        clock: Clock | None = None,
    ) -> None:
        from penstock_client.transport import AsyncTransport  # the HTTP library, 100 ms

        config = Config(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            headers=headers,
        )
        self._api = Api(config, clock or SystemClock())
        self._transport = AsyncTransport(config, self._api.clock, http_client)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._api.config.shown_url!r})"

    async def __aenter__(self) -> AsyncPenstock:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def moderate_content(self, text: str, **options: Unpack[ContentOptions]) -> Moderation:
        """Moderate one text: A approved, M manual review or R rejected."""
        return await self._transport.run(self._api.moderate_content(text, options))

    async def get_result(self, moderation_id: str, **options: Unpack[CallOptions]) -> Moderation:
        """What was decided under this id; its owner and administrators may ask."""
        return await self._transport.run(self._api.find_result(moderation_id, options))

    @overload
    async def moderate(  # type: ignore[overload-overlap] # a str is one text, not its letters
        self, text: str, *, user: str | None = None, **options: Unpack[CallOptions]
    ) -> Verdict: ...

    @overload
    async def moderate(
        self, text: Iterable[str], *, user: str | None = None, **options: Unpack[CallOptions]
    ) -> list[Verdict]: ...

    async def moderate(
        self,
        text: str | Iterable[str],
        *,
        user: str | None = None,
        **options: Unpack[CallOptions],
    ) -> Verdict | list[Verdict]:
        """Moderate one text or several, with OpenAI's categories, scores and places in the text.

        `user` is whose text it is: what is kept of it can be erased under that name.
        """
        texts = [text] if isinstance(text, str) else list(text)
        found = await self._transport.run(self._api.moderate(texts, user, options))
        return found[0] if isinstance(text, str) else found

    @overload
    async def moderate_batch(
        self,
        contents: Iterable[str],
        background: Literal[False] = False,
        **options: Unpack[ContentOptions],
    ) -> list[Moderation]: ...

    @overload
    async def moderate_batch(
        self, contents: Iterable[str], background: Literal[True], **options: Unpack[ContentOptions]
    ) -> AsyncBatchJob: ...

    @overload
    async def moderate_batch(
        self, contents: Iterable[str], background: bool, **options: Unpack[ContentOptions]
    ) -> list[Moderation] | AsyncBatchJob: ...

    async def moderate_batch(
        self,
        contents: Iterable[str],
        background: bool = False,
        **options: Unpack[ContentOptions],
    ) -> list[Moderation] | AsyncBatchJob:
        """Moderate many texts: results in their order, or at once a job that goes on without you.

        Without `background` an answer is waited for up to 330 s, or `timeout` where that is given.
        """
        texts = texts_of(contents)
        if not background:
            return await self._transport.run(self._api.moderate_batch(texts, options))
        begun = await self._transport.run(self._api.start_batch(texts, options))
        return AsyncBatchJob(self, begun.job_id, begun)

    async def get_batch_status(self, job_id: str, **options: Unpack[CallOptions]) -> BatchStatus:
        """How far a batch is."""
        return await self._transport.run(self._api.batch_status(job_id, options))

    async def get_batch_results(
        self, job_id: str, **options: Unpack[CallOptions]
    ) -> list[Moderation]:
        """The results of a batch in the order of its texts; ConflictError before it is done."""
        return await self._transport.run(self._api.batch_moderations(job_id, options))

    async def get_health(self, **options: Unpack[CallOptions]) -> Health:
        """Whether the server is well; with a key every check."""
        return await self._transport.run(self._api.health(options))

    async def get_metrics(self, **options: Unpack[CallOptions]) -> Metrics:
        """Requests, errors, durations, cache and system, as far as they are counted."""
        return await self._transport.run(self._api.metrics(options))

    async def get_cache_stats(self, **options: Unpack[CallOptions]) -> CacheStats:
        """Hits, misses and sizes of the server's cache."""
        return await self._transport.run(self._api.cache_stats(options))

    async def clear_cache(
        self, pattern: str | None = None, **options: Unpack[ClearOptions]
    ) -> Cleared:
        """Forget cached results: all, or those that fulfil everything given.

        `pattern` names keys: `*` is any text, `?` one letter, `[ab]` one of them.
        """
        return await self._transport.run(self._api.clear_cache(pattern, options))

    async def test_connection(self, **options: Unpack[CallOptions]) -> bool:
        """Whether the server answers and takes the key. Does not raise, does not retry."""
        return await self._transport.run(self._api.test_connection(options))

    async def get_job(self, job_id: str, **options: Unpack[CallOptions]) -> JobRecord:
        """One job, with its result."""
        return await self._transport.run(self._api.job(job_id, options))

    def list_jobs(self, **options: Unpack[JobFilter]) -> AsyncPaged[JobRecord]:
        """Jobs, newest first, fetched page by page while they are read; see JobFilter."""
        return AsyncPaged(self._transport.run, self._api.jobs(options))

    async def cancel_job(self, job_id: str, **options: Unpack[CallOptions]) -> JobRecord:
        """Ask a job to end; ConflictError when it has."""
        return await self._transport.run(self._api.change_job(job_id, "cancel", options))

    async def retry_job(self, job_id: str, **options: Unpack[CallOptions]) -> JobRecord:
        """Queue a failed, cancelled or expired job anew."""
        return await self._transport.run(self._api.change_job(job_id, "retry", options))

    async def wait_for_job(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        progress: bool | Callable[[JobRecord], object] = False,
    ) -> JobRecord:
        """Wait for any job: the record with its result, or JobFailedError."""
        return await self._transport.run(self._api.wait_for_job(job_id, timeout, progress))

    async def create_batch(
        self,
        requests: Iterable[Mapping[str, object]] | None = None,
        **options: Unpack[BatchOptions],
    ) -> Batch:
        """Begin a batch of one endpoint's requests: `{"custom_id": ..., "body": {...}}` each."""
        return await self._transport.run(self._api.create_batch(requests, options))

    async def get_batch(self, batch_id: str, **options: Unpack[CallOptions]) -> Batch:
        """How a batch is."""
        return await self._transport.run(self._api.batch(batch_id, options))

    async def cancel_batch(self, batch_id: str, **options: Unpack[CallOptions]) -> Batch:
        """Stop a batch; what it has finished stays."""
        return await self._transport.run(self._api.cancel_batch(batch_id, options))

    def batch_results(
        self, batch_id: str, **options: Unpack[ListOptions]
    ) -> AsyncPaged[BatchResult]:
        """The outcomes of a batch in the order of its requests, fetched while they are read.

        Of a batch that still runs the later ones are waited for, over a restart of the server too.
        """
        return AsyncPaged(self._transport.run, self._api.batch_results(batch_id, options))

    async def wait_for_batch(
        self,
        batch_id: str,
        *,
        timeout: float | None = None,
        progress: bool | Callable[[Batch], object] = False,
    ) -> Batch:
        """Wait for a batch of `create_batch`: its last state, or JobFailedError."""
        return await self._transport.run(self._api.wait_for_batch(batch_id, timeout, progress))


class AsyncBatchJob:
    """A batch of `moderate_batch` that goes on in the server: of this call, or of an id you kept.

    `job_id` is the batch's id, as FIST names it. `latest` is what the server told last, None before
    it was asked.
    """

    def __init__(
        self, client: AsyncPenstock, job_id: str, latest: BatchStatus | None = None
    ) -> None:
        self._client = client
        self.job_id = job_id
        self.latest = latest

    def __repr__(self) -> str:
        return f"AsyncBatchJob({self.job_id!r})"

    async def status(self, **options: Unpack[CallOptions]) -> BatchStatus:
        """Ask how far it is."""
        self.latest = await self._client.get_batch_status(self.job_id, **options)
        return self.latest

    async def wait(
        self,
        timeout: float | None = None,
        progress: bool | Callable[[BatchStatus], object] = False,
    ) -> BatchStatus:
        """Wait until it has completed; WaitTimeoutError after `timeout` seconds, it goes on then.

        `progress=True` shows a bar on a terminal where rich is installed; a function is called
        with every state that differs from the one before. A server that restarts meanwhile is
        waited for. Raises JobFailedError, JobCancelledError.
        """
        api, transport = self._client._api, self._client._transport
        self.latest = await transport.run(api.wait_for_texts(self.job_id, timeout, progress))
        return self.latest

    async def cancel(self, **options: Unpack[CallOptions]) -> Batch:
        """Stop it; what it has finished stays."""
        return await self._client.cancel_batch(self.job_id, **options)

    async def results(self, **options: Unpack[CallOptions]) -> list[Moderation]:
        """The results in the order of the texts; ConflictError before it is done."""
        return await self._client.get_batch_results(self.job_id, **options)
