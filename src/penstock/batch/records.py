"""What is stored about batches, their items and files.

    validating ──> in_progress ──> finalizing ──> completed
        │              ├─────────────────────────> expired      its time was over
        │              └──> cancelling ──────────> cancelled
        └────────────────────────────────────────> failed       the input cannot be read

The words are OpenAI's. Times are milliseconds since 1970, UTC.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from penstock.batch.progress import Progress

Status = Literal[
    "validating",
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
]

WAITING, COMPLETED, FAILED = range(3)  # states of an item

OUTPUT: Final = "batch_output"
INPUT: Final = "batch"


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `batch_batches`."""

    id: str
    owner: str
    endpoint: str
    status: Status
    completion_window: str
    time_limit: float | None = None  # seconds of work in one go
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    digest: str
    options: bytes = b"{}"  # JSON, for the adapter that made it
    metadata: bytes | None = None  # JSON
    errors: bytes | None = None  # JSON: what is wrong with the input file
    total: int
    completed: int = 0
    failed: int = 0
    cached: int = 0
    rate: float = 0.0  # items per second, lately
    job_id: str | None = None
    created_at: int
    expires_at: int
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    cancelling_at: int | None = None
    ended_at: int | None = None
    key_id: str | None = None  # the API key that made it

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.ended_at is not None

    @property
    def progress(self) -> Progress:
        """Items by outcome, the rate of late and the time that is left."""
        done = self.completed + self.failed
        left = 0 if self.is_final else self.total - done
        rate = 0.0 if self.is_final else self.rate
        eta = round(left / rate, 1) if rate > 0 else None if left else 0.0
        return Progress(done, self.total, self.failed, self.cached, round(rate, 2), eta)


class NewItem(msgspec.Struct, frozen=True):
    """One request of a batch, unread."""

    number: int
    body: bytes  # JSON
    custom_id: str | None = None


class Item(msgspec.Struct, frozen=True):
    """One item and what became of it, without its body."""

    number: int
    custom_id: str | None
    state: int
    cached: bool
    outcome: bytes | None  # JSON: the answer, or an ItemError


class Done(msgspec.Struct, frozen=True):
    """An outcome that is to be written."""

    number: int
    state: int
    cached: bool
    outcome: bytes


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `batch_files`."""

    id: str
    owner: str
    purpose: str
    name: str
    size: int | None = None  # bytes; None while it is being uploaded
    batch_id: str | None = None  # of an output: made of that batch's items when it is read
    created_at: int
    expires_at: int


class FileError(msgspec.Struct, frozen=True):
    """What is wrong with an input file, in OpenAI's words."""

    code: str
    message: str
    line: int | None = None  # from 1
    param: str | None = None


def named(metadata: bytes | None) -> dict[str, Any] | None:
    """Metadata as an object."""
    return None if metadata is None else msgspec.json.decode(metadata, type=dict[str, Any])
