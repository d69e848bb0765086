"""What a task and its jobs may be given, and how each of it is read."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, cast

from penstock.clock import Seconds, seconds
from penstock.errors import ConfigurationError, InvalidInput
from penstock.tasks.engine import NewJob
from penstock.tasks.job import QUEUES, Priority, Queue, priority_of
from penstock.tasks.retry import RetryPolicy

if TYPE_CHECKING:
    from penstock.tasks.schedule import Schedule

Kind = Literal["async", "thread", "process"]
Key = str | Callable[..., str]
Backoff = Seconds | tuple[Seconds, Seconds]
RetryOn = type[BaseException] | tuple[type[BaseException], ...]

LONGEST: Final = 100 * 365 * 86_400.0  # seconds; what is longer, no file can note

_RATE = re.compile(r"(\d+)/(\d*)(s|m|h|d|sec|min|second|minute|hour|day)")


class TaskOptions(TypedDict, total=False):
    """What `@task` may be given; described at `Task`."""

    name: str | None
    queue: Queue
    priority: Priority
    retries: int
    backoff: Backoff
    retry_on: RetryOn
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

    queue: Queue
    priority: Priority
    retries: int
    delay: Seconds
    run_at: datetime | None
    expires: Seconds | None
    key: str | None
    again: bool
    owner: str | None
    batch_id: str | None


def check_names(given: Mapping[str, object], known: Iterable[str], *, whose: str) -> None:
    """Raise TypeError for an option that there is not, with those that there are."""
    known = list(known)
    for name in given:
        if name not in known:
            raise TypeError(f"{whose} has no option {name!r}; known: {', '.join(known)}")


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
    check_names(options, JobOptions.__annotations__, whose="a job")
    for name, given in options.items():
        if name in ("again", "owner", "batch_id", "key"):
            if given is not None:
                setattr(job, name, given)
        elif name == "queue":
            job.queue = known_queue(cast(str, given))
        elif name == "priority":
            job.priority = priority_of(cast(Priority, given))
        elif name == "delay":
            job.delay = max(0.0, bounded("delay", cast(Seconds, given)))
        elif name == "expires":
            job.expires = positive("expires", cast("Seconds | None", given))
        elif name == "retries":
            job.max_attempts = _attempts(cast(int, given))
        else:
            job.run_at = _milliseconds(cast("datetime | None", given))


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
    number = bounded(name, given)
    if not number > 0:
        raise ConfigurationError(f"{name} is {given!r}; it is a time above 0, or None")
    return number


def bounded(name: str, given: Seconds) -> float:
    """A time that can be stored. Raises ConfigurationError."""
    number = seconds(given)
    if not number <= LONGEST:  # neither is NaN
        raise ConfigurationError(f"{name} is {given!r}; a hundred years are the most")
    return number


def at_least_0(name: str, given: Seconds) -> float:
    """A time that is not negative. Raises ConfigurationError."""
    number = bounded(name, given)
    if number < 0:
        raise ConfigurationError(f"{name} is {given!r}; it is a time of 0 or more")
    return number


def _attempts(retries: int) -> int:
    if not isinstance(retries, int) or retries < 0:
        raise ConfigurationError(f"retries is {retries!r}; it is a whole number, 0 or more")
    return retries + 1


def policy_of(
    name: str,
    retries: int,
    backoff: Backoff,
    retry_on: RetryOn,
) -> RetryPolicy:
    """When a failed attempt is followed by another. Raises ConfigurationError."""
    base, cap = backoff if isinstance(backoff, tuple) else (backoff, RetryPolicy().cap)
    first, last = (at_least_0(f"the backoff of {name}", each) for each in (base, cap))
    on = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    for each in on:  # isinstance() would say so when a job has failed, at night
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise ConfigurationError(
                f"retry_on of {name} has {each!r} in it; it is an exception class, or a tuple of "
                "them: retry_on=(ConnectionError, TimeoutError)"
            )
    return RetryPolicy(_attempts(retries), first, max(first, last), on)


def check_key(name: str, key: Key | None, parameters: Iterable[str]) -> None:
    """Raise ConfigurationError for a key that no call of the task could have."""
    if key is None or callable(key):
        return
    known = list(parameters)
    try:
        fields = [field for _, field, _, _ in Formatter().parse(key) if field is not None]
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the key {key!r} of {name} cannot be read ({error}); write key='user:{{id}}', or give "
            "a function of the arguments"
        ) from None
    for field in fields:
        if re.split(r"[.\[]", field, maxsplit=1)[0] not in known:
            raise ConfigurationError(
                f"the key {key!r} of {name} names {field!r}, which is no parameter; known: "
                f"{', '.join(known) or 'none'}"
            )


def kind_of(function: Callable[..., Any], address: str, *, process: bool) -> Kind:
    """What a function runs in. Raises ConfigurationError for one that no job can run."""
    if _is_method(function):
        raise ConfigurationError(
            f"{address} is a method, and no worker has its object: declare a function at module "
            "level and hand it what it needs, as an id"
        )
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


def _is_method(function: Callable[..., Any]) -> bool:
    """Whether it was declared inside a class, to be called on an object."""
    if not inspect.isfunction(function):
        return False  # a bound method has its object
    around = function.__qualname__.rpartition(".")[0]
    first = next(iter(inspect.signature(function).parameters), "")
    return bool(around) and not around.endswith("<locals>") and first in ("self", "cls")


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
