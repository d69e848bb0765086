"""Where the server is, whose key is sent, and what a single call may change."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypedDict
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from penstock_client.answers import JobState

DEFAULT_URL: Final = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT: Final = 60.0
DEFAULT_RETRIES: Final = 2

_VISIBLE: Final = re.compile(r"[!-~]+")


class CallOptions(TypedDict, total=False):
    """What every method takes beside its own arguments.

    `timeout`: seconds that one attempt waits for the server, None: for ever. `max_retries`: how
    often it is tried again. `idempotency_key`: instead of one made for the call. `headers`: more.
    """

    timeout: float | None
    max_retries: int
    idempotency_key: str
    headers: Mapping[str, str]


class ContentOptions(CallOptions, total=False):
    """What judging in FIST's words takes; what is not given is the server's default.

    `percentages`: shares of the words that a paid model is sent, by length, one more than there are
    `thresholds`, which are rising numbers of words. `probability_thresholds`: `low` and `high` in
    percent, approved up to the one and rejected beyond the other.
    """

    percentages: Sequence[float]
    thresholds: Sequence[int]
    probability_thresholds: Mapping[str, int]


class ClearOptions(CallOptions, total=False):
    """Which entries of the cache are meant, beside a pattern: those that fulfil all of it."""

    tag: str | None
    namespace: str | None
    older_than_seconds: float | None


class BatchOptions(CallOptions, total=False):
    """What a batch is made of, beside its requests.

    `endpoint` answers each request, /v1/moderations unless it is given. `input_file_id`: a file
    that was uploaded in OpenAI's form, in place of requests. `metadata` is yours, up to 16 entries.
    """

    endpoint: str
    input_file_id: str | None
    metadata: Mapping[str, str] | None


class ListOptions(CallOptions, total=False):
    """What lists take: how many entries a page has."""

    page_size: int | None


class JobFilter(ListOptions, total=False):
    """Which jobs to list: those that fulfil everything given; `owner` is for administrators."""

    state: JobState | Iterable[JobState] | None
    queue: str | None
    task: str | None
    batch_id: str | None
    owner: str | None
    created_after: datetime | None
    created_before: datetime | None


class Secret:
    """A key that no repr, traceback or log shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a key is not written anywhere: make a new client there")


class Config:
    """What a client was made with, checked."""

    def __init__(
        self,
        *,
        base_url: str | None,
        api_key: str | None,
        timeout: float | None,
        max_retries: int,
        headers: Mapping[str, str] | None,
    ) -> None:
        given = base_url or os.environ.get("PENSTOCK_URL") or DEFAULT_URL
        self.base_url = given.rstrip("/")
        self.shown_url = _shown(self.base_url)
        key = os.environ.get("PENSTOCK_KEY") if api_key is None else api_key
        self.key = _checked(key) if key else None
        self.timeout = seconds(timeout)
        self.max_retries = count(max_retries)
        self.headers = dict(headers or {})


def seconds(value: float | None) -> float | None:
    """A time limit; ValueError for one that has passed before it begins."""
    if value is not None and not value > 0:
        raise ValueError(f"timeout is {value!r}; give seconds above 0, or None for no limit")
    return value


def count(value: int) -> int:
    """A number of retries; ValueError for a negative one."""
    if value < 0:
        raise ValueError(f"max_retries is {value!r}; give 0 or more")
    return value


def _checked(key: str) -> Secret:
    """The key, refused here if HTTP would refuse it in an error that shows it."""
    stripped = key.strip()  # a file's last line break
    if not _VISIBLE.fullmatch(stripped):
        raise ValueError("the API key holds characters that no key has")
    return Secret(stripped)


def _shown(url: str) -> str:
    """The address without a user's name and password; ValueError for what is no address."""
    wrong = ValueError("base_url is an address such as http://127.0.0.1:8000")
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
