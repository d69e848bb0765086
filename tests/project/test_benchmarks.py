"""That a benchmark runs and says what it should; never how fast."""

from __future__ import annotations

import pytest

from benchmarks import local_model


@pytest.mark.slow
def test_a_model_asked_for_again_is_measured_beside_a_dict() -> None:
    """E-04"""
    report = local_model.run(rounds=1)

    names = {row["name"]: row["unit"] for row in report["rows"]}
    assert names["cached ModelCache.get"] == names["plain dict look-up"] == "us"
    assert report["ratios"]["cached get, us"]["target"] == "<= 10"
