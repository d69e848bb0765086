from __future__ import annotations

import msgspec
import pytest

from penstock.clock import ManualClock
from penstock.errors import InvalidInput
from penstock.notify.event import TEST, TYPES, check_patterns, meant, new_event, payload


@pytest.mark.parametrize(
    ("pattern", "types"),
    [
        ("verdict.review", {"verdict.review"}),
        ("verdict.*", {"verdict.review", "verdict.rejected"}),
        ("*", set(TYPES)),
        ("verdict", set()),
        ("verdict*", set()),
        ("*.review", set()),
        (".*", set()),
        ("", set()),
        (TEST, set()),
    ],
)
def test_a_pattern_means_types(pattern: str, types: set[str]) -> None:
    assert meant(pattern) == types


def test_patterns_that_mean_nothing_are_told_by_their_place() -> None:
    with pytest.raises(InvalidInput, match=r"'case\.open'.*known: verdict\.review") as caught:
        check_patterns(["case.opened", "case.open", "x"])

    assert [one["pointer"] for one in caught.value.fields["errors"]] == ["/events/1", "/events/2"]  # type: ignore[attr-defined]


def test_the_payload_says_what_happened_when_and_to_what() -> None:
    event = new_event(
        "case.opened", subject="case_1", owner="team", data={"queue": "a"}, clock=ManualClock()
    )

    assert msgspec.json.decode(payload(event)) == {
        "id": event.id,
        "type": "case.opened",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "subject": "case_1",
        "owner": "team",
        "data": {"queue": "a"},
    }
