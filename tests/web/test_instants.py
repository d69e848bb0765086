from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.web.instants import instant, maybe


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_700_000_000_123, datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)),
        (1 << 62, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (-(1 << 62), datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_every_stored_number_is_an_instant(milliseconds: int, shown: datetime) -> None:
    assert instant(milliseconds) == maybe(milliseconds) == shown


def test_none_stays_none() -> None:
    assert maybe(None) is None
