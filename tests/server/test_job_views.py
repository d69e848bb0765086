"""Jobs as the API shows them, whatever is stored of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.server.jobs import instant
from penstock.tasks.engine import NewJob
from tests.server.conftest import SHARED, App

pytestmark = SHARED

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (253_402_300_799_000, LAST),
        (253_402_300_800_000, LAST),
        (10**18, LAST),
        (-(10**18), datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_time_that_no_calendar_has_is_the_nearest_that_it_has(milliseconds, shown):
    assert instant(milliseconds) == shown


async def test_a_job_for_a_time_after_the_year_9999_hides_no_other(shared: App):
    far = NewJob("test.far", b"{}", "default", 5, 1, run_at=10**15, batch_id="far")
    (added,) = await shared.runtime.jobs.engine.add([far])

    reply = await shared.client.get("/v1/jobs", params={"batch_id": "far"})

    assert reply.status_code == 200
    assert [job["id"] for job in reply.json()["items"]] == [added.id]
    assert reply.json()["items"][0]["run_at"].startswith("9999-12-31T23:59:59")
    await shared.runtime.jobs.cancel(added.id)
