"""schemathesis over the whole OpenAPI document, against a server in a process of its own.

The examples are the same in every run (derandomize): a failure of today is one of tomorrow.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation, BaseSchema

from tests.conftest import ADMIN, Live

pytestmark = pytest.mark.slow

EXAMPLES = 12  # of each operation and mode
PARTS = 4  # tests that share the operations, so that they run in parallel
LEFT_OUT = (
    "positive_data_acceptance",  # a text of blanks fits the schema and cannot be judged
    "negative_data_rejection",  # unknown query parameters are ignored; bodies: test_bad_input.py
    "ignored_auth",  # so many wrong keys are 429 soon; tests/project/test_routes.py asks each route
)


@pytest.fixture(scope="module")
def contract(shared_server: Live) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{shared_server.url}/openapi.json")


def explore(operation: APIOperation, mode: GenerationMode) -> None:
    """Ask for one operation in many ways; the answers must be those of the document."""

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Case) -> None:
        case.call_and_validate(
            headers={"Authorization": f"Bearer {ADMIN}"},
            excluded_checks=[CHECKS.get_one(name) for name in LEFT_OUT],
        )

    with suppress(Unsatisfiable):  # every input fits: there is nothing to refuse
        ask()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_answer_is_one_that_the_document_promises(
    contract: BaseSchema, part: int, mode: GenerationMode
):
    operations = [found.ok() for found in contract.get_all_operations()]

    for operation in operations[part::PARTS]:
        explore(operation, mode)


def test_the_whole_document_was_asked_for(contract: BaseSchema):
    assert len(list(contract.get_all_operations())) >= 25
