"""Every error Penstock raises on purpose, in one tree.

    PenstockError                        500
    ├── ConfigurationError               500   a setting that cannot be used
    │   └── MissingExtra                       also an ImportError
    ├── RequestError                     400   the caller can fix it
    │   ├── InvalidInput                 422   says which field is wrong
    │   ├── Unauthorized                 401
    │   ├── Forbidden                    403
    │   ├── NotFound                     404
    │   ├── MethodNotAllowed             405
    │   ├── Conflict                     409
    │   ├── TooLarge                     413
    │   ├── UnsupportedMedia             415
    │   ├── BlockedAddress               422   an address that may not be dialled
    │   └── RateLimited                  429
    │       └── BudgetExhausted          429   money or tokens of its period are spent
    ├── CacheError                       500   the cache may fail, the answer may not
    │   ├── CacheUnavailable
    │   ├── UnencodableValue
    │   ├── UnreadableValue
    │   └── ReentrantCall                      a cached function that waits for itself
    ├── StorageError                     503
    │   ├── StorageUnavailable           503   locked, read-only, unreachable
    │   └── StorageFull                  507
    ├── TaskError                        500   a task or one of its jobs
    │   ├── UnknownTask                        no task of that name is declared here
    │   ├── JobFailed                          the job whose result was asked for has failed
    │   ├── JobCancelled                       it was cancelled, or its time ran out before it began
    │   └── QueueStopped                 503   the queue takes no more jobs: the process ends
    ├── FetchFailed                      502   a URL from outside did not answer as it should
    └── ProviderError                    502   an upstream model
        ├── ProviderTimeout              504
        ├── ProviderUnavailable          503   no connection, 5xx, or the breaker is open
        ├── ProviderThrottled            503   429 from upstream
        ├── ProviderRefused              502   4xx from upstream: our request or key is wrong
        └── ProviderGarbage              502   an answer that cannot be read

The docstring of a class is its default detail. `http/problems.py` alone turns an error into an RFC
9457 document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from penstock.tasks.job import JobError


class PenstockError(Exception):
    """Something failed inside Penstock."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str | None = None, **fields: object) -> None:
        self.detail = detail or (type(self).__doc__ or "").split("\n", 1)[0]
        self.fields = fields
        super().__init__(self.detail)


class ConfigurationError(PenstockError):
    """A setting cannot be used."""

    slug = "configuration"
    title = "Configuration error"


class MissingExtra(ConfigurationError, ImportError):
    """An optional package is not installed."""

    slug = "missing-extra"
    title = "Optional package missing"


class RequestError(PenstockError):
    """The request cannot be served as it is."""

    status = 400
    slug = "bad-request"
    title = "Bad request"


class InvalidInput(RequestError):
    """The input does not have the expected form.

    `errors` lists what is wrong where: `{"pointer": "/input/0", "detail": "..."}` (RFC 6901
    pointers).
    """

    status = 422
    slug = "invalid-input"
    title = "Invalid input"

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: list[dict[str, str]] | None = None,
        **fields: object,
    ) -> None:
        if errors:
            fields["errors"] = errors
        super().__init__(detail, **fields)


class Unauthorized(RequestError):
    """The request carries no valid API key."""

    status = 401
    slug = "unauthorized"
    title = "Unauthorized"


class Forbidden(RequestError):
    """The API key's role does not allow this."""

    status = 403
    slug = "forbidden"
    title = "Forbidden"


class NotFound(RequestError):
    """There is nothing under this address."""

    status = 404
    slug = "not-found"
    title = "Not found"


class MethodNotAllowed(RequestError):
    """The address does not answer that method."""

    status = 405
    slug = "method-not-allowed"
    title = "Method not allowed"


class Conflict(RequestError):
    """The request does not fit the present state."""

    status = 409
    slug = "conflict"
    title = "Conflict"


class TooLarge(RequestError):
    """The request is larger than allowed."""

    status = 413
    slug = "too-large"
    title = "Request too large"


class UnsupportedMedia(RequestError):
    """The body is not of a type that this address reads."""

    status = 415
    slug = "unsupported-media"
    title = "Unsupported media type"


class BlockedAddress(RequestError):
    """The address may not be dialled from here."""

    status = 422
    slug = "blocked-address"
    title = "Address not allowed"


class RateLimited(RequestError):
    """The key's request limit is used up.

    `retry_after` is in seconds.
    """

    status = 429
    slug = "rate-limited"
    title = "Too many requests"

    def __init__(self, detail: str | None = None, *, retry_after: float, **fields: object) -> None:
        self.retry_after = retry_after
        super().__init__(detail, **fields)


class BudgetExhausted(RateLimited):
    """The key has spent what it may.

    `retry_after` is in seconds, until the period ends.
    """

    slug = "budget-exhausted"
    title = "Budget used up"


class CacheError(PenstockError):
    """The cache could not do what was asked."""

    slug = "cache"
    title = "Cache error"


class CacheUnavailable(CacheError):
    """A cache tier does not answer."""

    slug = "cache-unavailable"
    title = "Cache tier unavailable"


class UnencodableValue(CacheError):
    """The value has a type that cannot be stored as bytes and read back equal."""

    slug = "unencodable-value"
    title = "Value cannot be stored"


class UnreadableValue(CacheError):
    """Stored bytes are damaged, or of another version or type."""

    slug = "unreadable-value"
    title = "Stored value unreadable"


class ReentrantCall(CacheError):
    """A cached function waits for its own result."""

    slug = "reentrant-call"
    title = "Call waits for itself"


class StorageError(PenstockError):
    """Records could not be read or written."""

    status = 503
    slug = "storage"
    title = "Storage error"


class StorageUnavailable(StorageError):
    """The database is locked, read-only or unreachable."""

    slug = "storage-unavailable"
    title = "Storage unavailable"


class StorageFull(StorageError):
    """There is no space left to write records."""

    status = 507
    slug = "storage-full"
    title = "Storage full"


class TaskError(PenstockError):
    """A task or one of its jobs went wrong."""

    slug = "task"
    title = "Task error"


class UnknownTask(TaskError):
    """No task of that name is declared in this process."""

    slug = "unknown-task"
    title = "Unknown task"


class JobFailed(TaskError):
    """The job has failed.

    `errors` are its last ones, the newest last.
    """

    slug = "job-failed"
    title = "Job failed"

    def __init__(
        self, detail: str | None = None, *, errors: Sequence[JobError] = (), **fields: object
    ) -> None:
        self.errors = tuple(errors)
        super().__init__(detail, **fields)


class JobCancelled(TaskError):
    """The job was cancelled, or expired before it could start."""

    slug = "job-cancelled"
    title = "Job cancelled"


class QueueStopped(TaskError):
    """The queue takes no more jobs: its process is about to end."""

    status = 503
    slug = "queue-stopped"
    title = "Queue stopped"


class FetchFailed(PenstockError):
    """The address did not answer as it should.

    The detail names the host as the caller gave it, never an address behind it.
    """

    status = 502
    slug = "fetch-failed"
    title = "Address did not answer"


class ProviderError(PenstockError):
    """The AI provider could not answer.

    `retry_after` is in seconds, where the provider named it; `retryable` says whether the same call
    may succeed later. `tokens_in`, `tokens_out`, `cost_micros` and `currency` say what a useless
    answer cost.
    """

    status = 502
    slug = "provider"
    title = "Provider error"
    retryable: ClassVar[bool] = False
    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    currency: str = "USD"

    def __init__(
        self, detail: str | None = None, *, retry_after: float | None = None, **fields: object
    ) -> None:
        self.retry_after = retry_after
        super().__init__(detail, **fields)


class ProviderTimeout(ProviderError):
    """The AI provider did not answer in time."""

    status = 504
    slug = "provider-timeout"
    title = "Provider timed out"
    retryable = True


class ProviderUnavailable(ProviderError):
    """The AI provider cannot be reached or reports a failure of its own."""

    status = 503
    slug = "provider-unavailable"
    title = "Provider unavailable"
    retryable = True


class ProviderThrottled(ProviderError):
    """The AI provider limits our requests."""

    status = 503
    slug = "provider-throttled"
    title = "Provider throttles"
    retryable = True


class ProviderRefused(ProviderError):
    """The AI provider refuses the request: check the key, the model name and the address."""

    slug = "provider-refused"
    title = "Provider refused"


class ProviderGarbage(ProviderError):
    """The AI provider's answer cannot be read."""

    slug = "provider-garbage"
    title = "Provider answer unreadable"
    retryable = True
