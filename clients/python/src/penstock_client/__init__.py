"""Client of a Penstock server: moderation, batches and jobs, sync and async.

>>> from penstock_client import Penstock
>>> with Penstock(api_key="psk_...") as client:  # doctest: +SKIP
...     client.moderate_content("Have a lovely day.").final_decision
'A'

Importing it is cheap: the HTTP library is loaded when the first client is made.
"""

from penstock_client.aio import AsyncBatchJob, AsyncPenstock
from penstock_client.answers import (
    Batch,
    BatchProgress,
    BatchResult,
    BatchStatus,
    CacheStats,
    Cleared,
    Health,
    ItemError,
    JobError,
    JobRecord,
    Metrics,
    Moderation,
    Progress,
    Span,
    Verdict,
)
from penstock_client.client import BatchJob, Penstock
from penstock_client.clock import Clock
from penstock_client.config import (
    BatchOptions,
    CallOptions,
    ClearOptions,
    ContentOptions,
    JobFilter,
    ListOptions,
)
from penstock_client.decode import Answer
from penstock_client.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectionError,
    InvalidAnswerError,
    InvalidInputError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    PenstockError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TimeoutError,
    TooLargeError,
    WaitTimeoutError,
)
from penstock_client.fist import FistClient
from penstock_client.pages import AsyncPaged, Page, Paged
from penstock_client.version import __version__

__all__ = [
    "APIError",
    "Answer",
    "AsyncBatchJob",
    "AsyncPaged",
    "AsyncPenstock",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "BatchJob",
    "BatchOptions",
    "BatchProgress",
    "BatchResult",
    "BatchStatus",
    "CacheStats",
    "CallOptions",
    "ClearOptions",
    "Cleared",
    "Clock",
    "ConflictError",
    "ConnectionError",
    "ContentOptions",
    "FistClient",
    "Health",
    "InvalidAnswerError",
    "InvalidInputError",
    "ItemError",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobFilter",
    "JobRecord",
    "ListOptions",
    "Metrics",
    "Moderation",
    "NotFoundError",
    "Page",
    "Paged",
    "Penstock",
    "PenstockError",
    "PermissionDeniedError",
    "Progress",
    "RateLimitError",
    "ServerError",
    "Span",
    "TimeoutError",
    "TooLargeError",
    "Verdict",
    "WaitTimeoutError",
    "__version__",
]
