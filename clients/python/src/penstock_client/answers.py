"""What the server answers, as frozen dataclasses.

Every answer has `request_id`, under which the server's log knows the request, and `raw`, the whole
document with the fields that this client does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from penstock_client.decode import Answer, at

FinalDecision = Literal["A", "M", "R"]  # approved, manual review, rejected
Decision = Literal["approved", "review", "rejected"]
JobState = Literal["queued", "running", "completed", "failed", "cancelled", "expired"]

_ENDED: Final = frozenset(("completed", "failed", "cancelled", "expired"))
_CACHED: Final = frozenset(("memory", "disk", "redis"))


@dataclass(frozen=True, kw_only=True)
class ItemError:
    """Why one item of a batch has no result."""

    code: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Moderation(Answer):
    """What was decided about one text, in FIST's words: A approved, M manual review, R rejected.

    In a batch `error` says why a text could not be judged; its decision is M then, and its
    probability of 50 says nothing.
    """

    moderation_id: str
    final_decision: FinalDecision
    inappropriate_probability: int = at("ai_result", "inappropriate_probability")  # percent
    ai_reason: str = at("ai_result", "reason", default="")
    reason: str = ""
    from_cache: bool = False
    created_at: datetime | None = None
    content_hash: str = ""  # SHA-256 of the text, hexadecimal
    word_count: int = 0
    percentage_used: float = 1.0  # share of the words that a paid model was sent, 0..1
    error: ItemError | None = None


@dataclass(frozen=True, kw_only=True)
class Span:
    """A place in the text, offsets in code points, and what it speaks for."""

    start: int
    end: int
    category: str
    score: float = 0.0
    stage: str = ""
    rule: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict(Answer):
    """What was decided about one text, with OpenAI's categories and scores 0..1."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    id: str = at("penstock", "id")
    decision: Decision = at("penstock", "decision")
    reason: str = at("penstock", "reason", default="")
    risk: float = at("penstock", "risk", default=0.0)  # 0..1 over all categories
    spans: tuple[Span, ...] = at("penstock", "spans", default=())
    language: str = at("penstock", "language", default="")  # a code; "other", "und": nobody knew
    policy_id: str = at("penstock", "policy", "id", default="")
    policy_version: str = at("penstock", "policy", "version", default="")
    source: str = at("penstock", "receipt", "source", default="")  # memory, disk, local, ...
    models: dict[str, str] | None = at("penstock", "receipt", "models", default=None)
    recorded: bool = at("penstock", "recorded", default=False)
    degraded: str | None = at("penstock", "degraded", "detail", default=None)
    rationale: str = at("penstock", "rationale", default="")
    listed: dict[str, Any] | None = at("penstock", "listed", default=None)  # decision, and hits

    @property
    def from_cache(self) -> bool:
        """Whether the scores were known before; the policy decides anew each time."""
        return self.source in _CACHED


@dataclass(frozen=True, kw_only=True)
class BatchStatus(Answer):
    """A batch in FIST's words. Its `job_id` is the batch's id, as `get_batch` takes it."""

    job_id: str
    status: str  # pending, processing, completed or failed
    total_items: int = 0
    processed_items: int = 0
    progress_percent: float = 0.0
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    elapsed_seconds: float | None = None
    estimated_remaining_seconds: float | None = None
    error_count: int = 0

    @property
    def done(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in _ENDED

    @property
    def counts(self) -> tuple[int, int]:
        """Finished items, and all."""
        return self.processed_items, self.total_items

    @property
    def reason(self) -> str | None:
        """Not told: the results say it of each text."""
        return None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is; `total` 0 where nobody knows."""

    done: int = 0
    total: int = 0
    failed: int = 0
    cached: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Why one attempt did not succeed."""

    type: str = ""
    message: str = ""
    at: datetime | None = None
    attempt: int = 0
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class JobRecord(Answer):
    """One run of a task."""

    id: str
    task: str
    state: JobState
    queue: str = ""
    priority: int = 5  # 0 is first, 9 last
    owner: str | None = None
    key: str | None = None
    batch_id: str | None = None
    attempt: int = 0
    max_attempts: int = 0
    cancelling: bool = False
    waiting_for: str | None = None  # what a queued job lacks, where that is known
    run_at: datetime | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: Progress = Progress()
    result: Any = None  # in `get_job` only; lists leave it out
    error: JobError | None = None
    errors: tuple[JobError, ...] = ()

    @property
    def status(self) -> str:
        """The state, by the name that batches have for it."""
        return self.state

    @property
    def done(self) -> bool:
        """Whether nothing will change any more, unless somebody asks for a retry."""
        return self.state in _ENDED

    @property
    def counts(self) -> tuple[int, int]:
        """What is done of it, and all."""
        return self.progress.done, self.progress.total

    @property
    def reason(self) -> str | None:
        """Why it failed."""
        return self.error.message if self.error else None


@dataclass(frozen=True, kw_only=True)
class BatchProgress:
    """How far a batch is; `failed` and `cached` are among `done`."""

    done: int = 0
    total: int = 0
    failed: int = 0
    cached: int = 0
    percent: float = 0.0
    rate_per_second: float | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Batch(Answer):
    """OpenAI's batch object, with Penstock's progress."""

    id: str
    status: str  # validating, in_progress, finalizing, completed, failed, expired, cancelled ...
    endpoint: str = ""
    created_at: datetime | None = None
    completed_at: datetime | None = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: tuple[ItemError, ...] = at("errors", "data", default=())  # of the input file
    metadata: dict[str, str] | None = None
    job_id: str | None = at("penstock", "job_id", default=None)
    progress: BatchProgress = at("penstock", "progress", default=BatchProgress())

    @property
    def done(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in _ENDED

    @property
    def counts(self) -> tuple[int, int]:
        """Finished items, and all."""
        return self.progress.done, self.progress.total

    @property
    def reason(self) -> str | None:
        """What is wrong with it first."""
        return self.errors[0].message if self.errors else None


@dataclass(frozen=True, kw_only=True)
class BatchResult(Answer):
    """The outcome of one request of a batch; `body` is what its endpoint would have answered."""

    custom_id: str | None = None
    status_code: int | None = at("response", "status_code", default=None)
    body: Any = at("response", "body", default=None)
    error: ItemError | None = None


@dataclass(frozen=True, kw_only=True)
class Health(Answer):
    """Whether the server is well; checks and figures only for holders of a key."""

    status: str  # healthy, degraded or unhealthy
    checks: dict[str, Any] | None = None
    system: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics(Answer):
    """What the server, or all of them together, have counted."""

    enabled: bool = True
    scope: str = "process"  # or "all": all servers and workers, since midnight UTC
    since: str | None = None
    others_behind_seconds: float = 0.0
    requests: dict[str, Any] | None = None  # total, errors, error_rate
    response_time_seconds: dict[str, Any] | None = None  # average, p50, p95, p99
    moderation: dict[str, Any] | None = None
    cache: dict[str, Any] | None = None
    batch: dict[str, Any] | None = None
    jobs: dict[str, Any] | None = None  # queued by queue, completed, failed, wait_seconds
    system: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class CacheStats(Answer):
    """State of the server's cache."""

    enabled: bool
    connected: bool = True
    keys: int = 0
    memory_bytes: int = 0
    hits: int = 0
    misses: int = 0
    hit_rate: float = 0.0
    tiers: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Cleared(Answer):
    """What the server forgot."""

    cleared_entries: int
    pattern: str | None = None
    message: str = ""
