"""Whatever an exception does, a job has an outcome."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest

from penstock.tasks.engine import Failed
from penstock.tasks.execution.failure import MAX_AFTER, failure
from penstock.tasks.retry import Retry, RetryPolicy
from penstock.tasks.task import declare
from tests.tasks.execution.conftest import Rig


class Odd(Exception):
    @property
    def retryable(self) -> bool:
        raise RuntimeError("nobody knows")


async def test_an_exception_whose_own_code_fails_is_an_outcome_and_logged(
    rig: Rig, told: Callable[[], list[str]]
) -> None:
    @declare()
    async def fail() -> None:
        raise Odd("odd")

    outcome = await rig.run(fail)

    assert isinstance(outcome, Failed)
    assert (outcome.type, outcome.message, outcome.retryable) == ("Odd", "odd", True)
    assert any("error_unreadable" in line for line in told())


@pytest.mark.parametrize(
    ("asked", "after"),
    [(7, 7.0), (-1, 0.0), (math.inf, MAX_AFTER), (1e300, MAX_AFTER), (math.nan, None)],
)
def test_a_wait_that_cannot_be_is_made_one_that_can(asked: float, after: float | None) -> None:
    assert failure(Retry(after=asked), RetryPolicy()).after == after


def test_halves_of_characters_can_be_stored() -> None:
    """As in the name of a file that is no UTF-8."""
    outcome = failure(OSError("no file caf\udce9"), RetryPolicy())

    assert outcome.message == r"no file caf\udce9"
    assert msgspec.json.encode(outcome)
