"""What a batch does with each of its items: one operation of one service.

A service hands its operations over (`operations(service)` in its `tasks.py`); whoever accepts
batches finds them by their endpoint. The words of an item's failure are here too.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from penstock.errors import PenstockError, ProviderError

Q = TypeVar("Q")
R = TypeVar("R")

TIMEOUT = "timeout"
CANCELLED = "batch_cancelled"
EXPIRED = "batch_expired"


class Answer(NamedTuple, Generic[R]):
    """What one item came to."""

    body: R
    cached: bool = False  # nothing was computed for it
    again: float | None = None  # a stopgap: asking again after so many seconds may give better


class ItemError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an item has no answer; `status` is what a single request would have got."""

    code: str
    message: str
    status: int | None = None
    param: str | None = None


class Operation(Protocol):
    """One endpoint whose requests can come in batches."""

    @property
    def endpoint(self) -> str:
        """The path that a single request would go to."""

    @property
    def version(self) -> str:
        """Changes when the same request may be answered differently."""

    @property
    def waits(self) -> bool:
        """Whether its time is spent waiting for others; False: it computes on this machine."""

    def check(self, body: bytes) -> Any:
        """Read one request. Raises RequestError (InvalidInput, TooLarge) for one it refuses."""

    def key(self, request: Any) -> str:
        """Equal for requests that have the same answer: they are computed once in a batch."""

    async def run(self, request: Any, *, owner: str, key: str | None) -> Answer[Any]:
        """Answer one request of an API key, with a body that msgspec can write as JSON."""


def failure(error: Exception) -> ItemError:
    """The words for what a worker raised; a fault of ours says nothing of itself."""
    if isinstance(error, PenstockError) and error.status != 500:
        listed = error.fields.get("errors")
        pointer = listed[0].get("pointer", "") if isinstance(listed, list) and listed else ""
        code = error.slug.replace("-", "_")
        param = pointer.lstrip("/").split("/")[0] or None
        return ItemError(code, error.detail[:500], error.status, param)
    return ItemError("internal", "Something failed inside the server.", 500)


def may_improve(error: Exception) -> bool:
    """Whether the same item may succeed a little later."""
    return isinstance(error, ProviderError) and error.retryable
