from __future__ import annotations

import functools
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.errors import ConfigurationError, InvalidInput
from penstock.tasks import Retry, Task, declare
from penstock.tasks.options import rate_of


async def greet(name: str, times: int = 1) -> str:
    """Say hello."""
    return f"hello {name}" * times


def count(text: str) -> int:
    return len(text)


async def test_a_task_stays_the_function_it_was():
    later, plain = declare()(greet), declare()(count)

    assert await later("Ann") == "hello Ann"
    assert plain("four") == 4
    assert (later.__name__, later.__doc__) == ("greet", "Say hello.")


def test_a_task_is_named_after_its_module_and_function():
    assert Task(greet).name == f"{__name__}:greet"
    assert Task(greet, name="shop.greet").name == "shop.greet"
    assert Task(functools.partial(greet, "Ann")).name == f"{__name__}:greet"


def test_a_task_of_a_script_has_the_name_under_which_others_import_it(monkeypatch):
    def report() -> None: ...

    report.__module__, report.__qualname__ = "__main__", "report"
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None, raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/srv/shop.py", raising=False)

    assert Task(report).name == "shop:report"


def test_what_runs_where():
    assert [Task(greet).kind, Task(count).kind, Task(count, process=True).kind] == [
        "async",
        "thread",
        "process",
    ]


def test_the_defaults_are_modest():
    task = Task(greet)

    assert (task.queue, task.priority, task.policy.attempts) == ("default", 5, 3)
    assert (task.timeout, task.expires, task.rate, task.schedule, task.key) == (None,) * 5
    assert (task.keep, task.keep_failed) == (86_400, 30 * 86_400)


def test_durations_are_numbers_or_words():
    task = Task(greet, timeout="5m", expires=30, keep="1h", backoff=("500ms", "1m"))

    assert (task.timeout, task.expires, task.keep) == (300, 30, 3600)
    assert (task.policy.base, task.policy.cap) == (0.5, 60)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10/s", (10, 1)), ("100/m", (100, 60)), ("5 / 10s", (5, 10)), ("1/day", (1, 86400))],
)
def test_rates_are_starts_in_a_time(text, rate):
    assert rate_of(text) == rate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": "fast"}, "no queue is called 'fast'; known: default"),
        ({"priority": "soon"}, "'soon' is no priority; known: urgent"),
        ({"priority": 10}, "10 is no priority"),
        ({"retries": -1}, "retries is -1"),
        ({"timeout": 0}, "timeout is 0"),
        ({"rate": "fast"}, "'fast' is no rate; write '10/s'"),
        ({"priority": None}, "None is no priority; known: urgent"),
        ({"retries": "3"}, "retries is '3'; it is a whole number"),
        ({"backoff": -1}, "backoff of .* is -1; it is a time of 0 or more"),
        ({"backoff": float("inf")}, "backoff of .* is inf; a hundred years are the most"),
        ({"keep": float("inf")}, "keep is inf; a hundred years are the most"),
        ({"retry_on": [ValueError]}, r"retry_on of .*greet has \[.*ValueError.*\] in it; it is an"),
        ({"retry_on": "ValueError"}, "retry_on of .* has 'ValueError' in it"),
        ({"retry_on": (OSError, int)}, "retry_on of .* has <class 'int'> in it"),
        ({"key": "c:{nope}"}, "names 'nope', which is no parameter; known: name, times"),
        ({"key": "c:{}"}, "names '', which is no parameter"),
        ({"key": "c:{name"}, "cannot be read .* write key='user:{id}'"),
        ({"key": 7}, "the key 7 of .* cannot be read"),
        ({"schedule": "every 15m"}, "callable without arguments; give defaults to: name"),
        ({"process": True}, "process=True is for plain ones"),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_the_declaration(options: Any, message):
    with pytest.raises((ConfigurationError, InvalidInput), match=message):
        Task(greet, **options)


def test_an_unknown_option_is_refused_with_those_that_there_are():
    with pytest.raises(TypeError, match=r"no option 'retrys'; known: name, queue, .*retries"):
        declare(retrys=3)  # type: ignore[call-arg]


def test_a_method_is_no_task():
    with pytest.raises(ConfigurationError, match=r"Shop\.send is a method.* at module level"):

        class Shop:
            @declare()
            async def send(self, to: str) -> None: ...


async def test_a_function_in_a_class_and_a_method_of_an_object_may_be_tasks():
    class Shop:
        @staticmethod
        @declare()
        async def send(to: str) -> str:
            return to

        async def ship(self, to: str) -> str:
            return to

    assert await Shop.send("Ann") == "Ann"
    assert await Task(Shop().ship)("Bob") == "Bob"


def test_a_generator_is_no_task():
    def numbers():
        yield 1

    with pytest.raises(ConfigurationError, match="yields; a task returns"):
        Task(numbers)


def test_a_function_that_no_process_can_import_is_refused_for_one():
    with pytest.raises(ConfigurationError, match="top level of a module"):
        Task(lambda: None, process=True)


def test_a_job_has_its_tasks_options():
    task = Task(greet, queue="analytics", priority="low", retries=0, expires=5, again=True)

    job = task.new_job(("Ann",), {})

    assert (job.task, job.arguments) == (task.name, b'{"name":"Ann"}')
    assert (job.queue, job.priority, job.max_attempts) == ("analytics", 7, 1)
    assert (job.expires, job.again, job.delay, job.run_at) == (5, True, 0, None)


def test_a_job_may_have_options_of_its_own():
    bound = Task(greet, key="{name}").options(
        queue="maintenance",
        priority="urgent",
        retries=5,
        delay="1m",
        run_at=datetime(1970, 1, 2, tzinfo=UTC),
        expires="1h",
        key="one",
        owner="ann",
        batch_id="b1",
    )

    job = bound.task.new_job(("Ann",), {}, bound.given)

    assert (job.queue, job.priority, job.max_attempts) == ("maintenance", 0, 6)
    assert (job.delay, job.run_at, job.expires) == (60, 86_400_000, 3600)
    assert (job.key, job.owner, job.batch_id) == ("one", "ann", "b1")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"prioritty": 1}, TypeError),
        ({"queue": "fast"}, InvalidInput),
        ({"priority": "soon"}, InvalidInput),
        ({"priority": None}, InvalidInput),
        ({"delay": float("inf")}, ConfigurationError),
        ({"run_at": datetime(2026, 1, 1)}, InvalidInput),
        ({"expires": 0}, ConfigurationError),
        ({"retries": -1}, ConfigurationError),
    ],
)
def test_a_wrong_option_of_a_job_is_refused_before_anything_is_enqueued(options: Any, error):
    with pytest.raises(error):
        Task(greet).options(**options)


def test_an_unknown_option_of_a_job_is_refused_with_those_that_there_are():
    with pytest.raises(TypeError, match=r"no option 'prioritty'; known: queue, priority, "):
        Task(greet).options(prioritty="high")  # type: ignore[call-arg]


def test_a_key_is_made_of_the_arguments():
    by_template, by_function = Task(greet, key="{name}x{times}"), Task(greet, key=lambda name: name)

    assert by_template.new_job(("Ann",), {}).key == "Annx1"
    assert by_template.key_of((), {"name": "Ann", "times": 2}) == "Annx2"
    assert by_function.new_job(("Ann",), {}).key == "Ann"
    assert Task(greet, key="{name[0]}:{times:03}").key_of(("Ann",), {}) == "A:001"
    assert Task(greet).key_of(("Ann",), {}) is None


async def test_a_task_without_a_queue_says_what_to_do():
    with pytest.raises(ConfigurationError, match="has no queue yet"):
        await Task(greet).enqueue("Ann")


def test_retry_carries_the_time_to_wait():
    assert Retry(after=30).after == 30
    assert "again" in str(Retry())
