"""What a task and its jobs may be given, and how each of it is read."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from penstock.clock import Seconds, seconds
from penstock.errors import ConfigurationError, InvalidInput
from penstock.tasks.engine import NewJob
from penstock.tasks.job import QUEUES, Priority, priority_of
from penstock.tasks.retry import RetryPolicy

if TYPE_CHECKING:
    from penstock.tasks.schedule import Schedule

Kind = Literal["async", "thread", "process"]
Key = str | Callable[..., str]
Backoff = Seconds | tuple[Seconds, Seconds]


_RATE = re.compile(r"(\d+)/(\d*)(s|m|h|d|sec|min|second|minute|hour|day)")


class TaskOptions(TypedDict, total=False):
    """What `@task` may be given; described at `Task`."""

    name: str | None
    queue: str
    priority: Priority
    retries: int
    backoff: Backoff
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    timeout: Seconds | None
    expires: Seconds | None
    key: Key | None
    again: bool
    rate: str | None
    schedule: str | Schedule | None
    process: bool
    keep: Seconds
    at_most_once: bool
    resumes: bool


class JobOptions(TypedDict, total=False):
    """What one job may be given that differs from its task; described at `Task.options`."""

    queue: str
    priority: Priority
    retries: int
    delay: Seconds
    run_at: datetime | None
    expires: Seconds | None
    key: str | None
    again: bool
    owner: str | None
    batch_id: str | None


def known_queue(name: str) -> str:
    """The name of a queue. Raises InvalidInput for one that is not."""
    if name not in QUEUES:
        raise InvalidInput(
            f"no queue is called {name!r}; known: {', '.join(QUEUES)}",
            errors=[{"pointer": "/queue", "detail": "is no queue"}],
        )
    return name


def rate_of(text: str) -> tuple[int, float]:
    """So many starts in so many seconds. Raises ConfigurationError.

    >>> rate_of("100/m")
    (100, 60.0)
    """
    found = _RATE.fullmatch(text.replace(" ", ""))
    if found is None or int(found[1]) == 0 or found[2] == "0":
        raise ConfigurationError(f"{text!r} is no rate; write '10/s', '100/m' or '5/10s'")
    return int(found[1]), seconds(f"{found[2] or 1}{found[3][0]}")


def apply(options: JobOptions, job: NewJob) -> None:
    """Give a job its own options. Raises InvalidInput, and TypeError for one that there is not."""
    for name, given in options.items():
        if name in ("again", "owner", "batch_id", "key"):
            if given is not None:
                setattr(job, name, given)
        elif name == "queue":
            job.queue = known_queue(cast(str, given))
        elif name == "priority":
            job.priority = priority_of(cast(Priority, given))
        elif name == "delay":
            job.delay = max(0.0, seconds(cast(Seconds, given)))
        elif name == "expires":
            job.expires = positive("expires", cast("Seconds | None", given))
        elif name == "retries":
            job.max_attempts = _attempts(cast(int, given))
        elif name == "run_at":
            job.run_at = _milliseconds(cast("datetime | None", given))
        else:
            known = ", ".join(JobOptions.__annotations__)
            raise TypeError(f"a job has no option {name!r}; known: {known}")


def _milliseconds(at: datetime | None) -> int | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise InvalidInput(
            f"run_at={at.isoformat()} has no time zone; write datetime(..., tzinfo=UTC)",
            errors=[{"pointer": "/run_at", "detail": "has no time zone"}],
        )
    return round(at.timestamp() * 1000)


def positive(name: str, given: Seconds | None) -> float | None:
    """A time above 0, or none. Raises ConfigurationError."""
    if given is None:
        return None
    number = seconds(given)
    if not number > 0:
        raise ConfigurationError(f"{name} is {given!r}; it is a time above 0, or None")
    return number


def _attempts(retries: int) -> int:
    if retries < 0:
        raise ConfigurationError(f"retries is {retries}; it is 0 or more")
    return retries + 1


def policy_of(
    name: str,
    retries: int,
    backoff: Backoff,
    retry_on: type[BaseException] | tuple[type[BaseException], ...],
) -> RetryPolicy:
    """When a failed attempt is followed by another. Raises ConfigurationError."""
    base, cap = backoff if isinstance(backoff, tuple) else (backoff, RetryPolicy().cap)
    first, last = seconds(base), seconds(cap)
    if first < 0 or last < 0:
        raise ConfigurationError(f"the backoff of {name} is below 0")
    on = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    return RetryPolicy(_attempts(retries), first, max(first, last), on)


def kind_of(function: Callable[..., Any], address: str, *, process: bool) -> Kind:
    """What a function runs in. Raises ConfigurationError for one that no job can run."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"{address} yields; a task returns its result")
    if inspect.iscoroutinefunction(function):
        if process:
            raise ConfigurationError(
                f"{address} is a coroutine function; process=True is for plain ones"
            )
        return "async"
    if not process:
        return "thread"
    if function.__module__ == "__main__" or "<" in address:
        raise ConfigurationError(
            f"{address} runs in a process of its own, which must import it: move it to the top "
            "level of a module that is not the script itself"
        )
    return "process"


def address_of(function: Callable[..., Any]) -> str:
    """The module and the qualified name; a script's module is what others would import it as."""
    named = function
    while isinstance(named, functools.partial):
        named = named.func
    module = getattr(named, "__module__", None) or type(named).__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        if spec is not None and spec.name != "__main__":
            module = spec.name.removesuffix(".__main__")
        elif file:
            module = Path(file).stem
    return f"{module}:{getattr(named, '__qualname__', type(named).__qualname__)}"
