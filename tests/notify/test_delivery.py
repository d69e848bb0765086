from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from standardwebhooks import Webhook as Reader

from penstock.clock import SystemClock
from penstock.notify import Changes
from penstock.notify.delivery import ATTEMPTS, DELIVERIES, LONGEST_WAIT, WAITS
from penstock.notify.delivery import _retry_after as retry_after
from tests.notify.conftest import HANG, SOON, Open, on_both, receiver


async def test_an_event_is_posted_signed(opened: Open) -> None:
    async with receiver() as here, opened(here) as rig:
        new = await rig.subscribe(here.url)
        event = rig.event(decision="rejected")

        job = await rig.deliver(event)

        (posted,) = here.posted
        assert job.result == {"outcome": "delivered", "status": 204}
        assert posted.path == "/hook"
        assert posted.headers["content-type"] == "application/json"
        assert posted.headers["webhook-id"] == event.id
        assert Reader(new.secret).verify(posted.body, posted.headers)["data"] == event.data


@on_both
async def test_the_webhook_remembers_how_it_went(opened: Open) -> None:
    async with receiver(200) as here, opened(here) as rig:
        id = (await rig.subscribe(here.url)).webhook.id

        await rig.deliver()

        webhook = await rig.webhooks.get(id)
        async with asyncio.timeout(SOON):
            while webhook.last_at is None:  # it is written some time soon
                await asyncio.sleep(0)
                webhook = await rig.webhooks.get(id)
        assert (webhook.last_status, webhook.last_error) == (200, None)


async def test_without_workers_a_receiver_that_fails_holds_up_no_event(opened: Open) -> None:
    async with receiver(500, 204) as here, opened(here, engine="inline://", workers=0) as rig:
        await rig.subscribe(here.url)
        await rig.tell(rig.event())

        first, second = await rig.tell(rig.event())

        assert (first.state, first.attempt) == ("queued", 1)
        assert second.state == "completed"


@pytest.mark.usefixtures("at_once")
async def test_what_failed_is_tried_again_under_the_same_id(opened: Open) -> None:
    async with receiver(500, 503, 200) as here, opened(here) as rig:
        await rig.subscribe(here.url)

        job = await rig.deliver()

        assert (job.state, job.attempt) == ("completed", 3)
        assert len({posted.headers["webhook-id"] for posted in here.posted}) == 1
        assert len({posted.body for posted in here.posted}) == 1
        assert [error.message for error in job.errors] == [
            "127.0.0.1 answered 500",
            "127.0.0.1 answered 503",
        ]


@pytest.mark.usefixtures("at_once")
async def test_after_the_last_attempt_the_job_is_a_dead_letter(opened: Open) -> None:
    async with receiver(500) as here, opened(here) as rig:
        id = (await rig.subscribe(here.url)).webhook.id

        job = await rig.deliver()

        assert (job.state, job.owner, job.queue) == ("failed", "team", "notifications")
        assert len(here.posted) == ATTEMPTS == 8
        webhook = await rig.webhooks.get(id)
        assert (webhook.last_status, webhook.enabled) == (500, True)


@pytest.mark.usefixtures("at_once")
async def test_a_dead_letter_can_be_sent_again(opened: Open) -> None:
    async with receiver(*[500] * 8, 200) as here, opened(here) as rig:
        await rig.subscribe(here.url)
        dead = await rig.deliver()

        await rig.queue.retry(dead.id)

        assert (await rig.ended(dead)).state == "completed"
        assert here.posted[-1].headers["webhook-id"] == here.posted[0].headers["webhook-id"]


async def test_the_first_wait_is_seconds_and_all_are_about_a_day(opened: Open) -> None:
    async with receiver(500) as here, opened(here) as rig:
        await rig.subscribe(here.url)

        (new,) = await rig.tell(rig.event())
        job = await rig.failed_once(new)

        assert 4.5 <= (job.run_at - job.errors[-1].at) / 1000 <= 5.6
        assert 20 * 3600 < sum(WAITS) < 28 * 3600


async def test_a_receiver_may_ask_for_a_longer_wait(opened: Open) -> None:
    async with receiver(429, headers="Retry-After: 900\r\n") as here, opened(here) as rig:
        await rig.subscribe(here.url)

        (new,) = await rig.tell(rig.event())
        job = await rig.failed_once(new)

        assert 899 <= (job.run_at - job.errors[-1].at) / 1000 <= 901


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("-7", None),
        ("soon", None),
        ("99999999999", LONGEST_WAIT),
        (format_datetime(datetime.fromtimestamp(1_000_060, UTC), usegmt=True), 60.0),
        (format_datetime(datetime.fromtimestamp(999_000, UTC), usegmt=True), 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(told: str | None, seconds: float | None) -> None:
    assert retry_after(told, 1_000_000.0) == seconds


@on_both
async def test_a_receiver_that_is_gone_is_not_called_again(opened: Open) -> None:
    async with receiver(410) as here, opened(here) as rig:
        id = (await rig.subscribe(here.url)).webhook.id

        job = await rig.deliver()
        rig.webhooks.emit(rig.event())

        webhook = await rig.webhooks.get(id)
        assert job.state == "completed"
        assert not webhook.enabled
        assert webhook.disabled_reason == "127.0.0.1 answered 410"
        assert len(await rig.tell()) == 1
        (entry, _) = await rig.audit.page(subject=id)
        assert (entry.actor, entry.action) == ("penstock", "webhook.disabled")


@pytest.mark.usefixtures("at_once")
async def test_a_redirect_is_a_failure_and_not_followed(opened: Open) -> None:
    async with (
        receiver() as inner,
        receiver(307, headers=f"Location: {inner.url}\r\n") as here,
        opened(here, inner) as rig,
    ):
        await rig.subscribe(here.url)

        job = await rig.deliver()

        assert job.state == "failed"
        assert job.error is not None
        assert "redirects are not followed" in job.error.message
        assert not inner.posted


@pytest.mark.usefixtures("at_once")
async def test_a_refused_connection_is_tried_again(opened: Open) -> None:
    async with receiver() as here, opened(here) as rig:
        await rig.subscribe(here.url.replace("/hook", "/"))
        taken = here.port
    async with receiver() as other, opened(other, allow=[f"127.0.0.1:{taken}"]) as rig:
        job = await rig.deliver()

        assert (job.state, job.attempt) == ("failed", ATTEMPTS)
        assert job.error is not None
        assert job.error.message == "127.0.0.1 refused the connection"


@pytest.mark.usefixtures("at_once")
async def test_an_address_that_may_not_be_called_any_more_is_not(opened: Open) -> None:
    """The allow list was another when the webhook was made; a name may lead elsewhere by now."""
    async with receiver() as here:
        async with opened(here) as rig:
            await rig.subscribe(here.url)
        async with opened() as rig:
            job = await rig.deliver()

    assert job.state == "failed"
    assert not here.posted


@pytest.mark.usefixtures("at_once", "hurried")
async def test_a_receiver_that_hangs_is_given_up_and_told_later(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.notify.turns.SHORTEST_REST", 0.0)
    async with receiver(HANG, 200) as here, opened(here) as rig:
        await rig.subscribe(here.url)

        job = await rig.deliver()

        assert job.errors[0].message == "no complete answer within 0.3 s"
        assert (job.state, job.attempt) == ("completed", 2)


@pytest.mark.usefixtures("at_once", "hurried")
async def test_a_receiver_that_hung_a_moment_ago_is_not_called(opened: Open) -> None:
    async with receiver(HANG) as here, opened(here) as rig:
        id = (await rig.subscribe(here.url)).webhook.id

        job = await rig.deliver()

        assert (job.state, job.attempt) == ("failed", ATTEMPTS)
        assert job.errors[-2].message == "not called: it did not answer a moment ago"
        assert len(here.posted) == 2  # the first time and the last
        assert (await rig.webhooks.get(id)).last_error == "no complete answer within 0.3 s"


@pytest.mark.usefixtures("hurried")
async def test_a_receiver_that_hangs_does_not_hold_up_another(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty events for it would take all four places of the queue for ten attempts."""
    monkeypatch.setattr("penstock.notify.delivery.ATTEMPT_SECONDS", 3600.0)
    monkeypatch.setattr("penstock.notify.turns.PATIENCE", 0.05)
    async with receiver(HANG) as dead, receiver() as here, opened(dead, here) as rig:
        await rig.subscribe(dead.url, "verdict.review")
        await rig.subscribe(here.url, "verdict.rejected")

        events = [rig.event("verdict.review") for _ in range(40)]
        await rig.tell(*events, *(rig.event() for _ in range(5)))

        await here.until(5)
        assert len(dead.posted) <= 2
        assert rig.metrics.total(DELIVERIES, outcome="postponed") >= 38


@pytest.mark.usefixtures("at_once")
async def test_a_receiver_that_is_slow_gets_every_event_once(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.notify.turns.PATIENCE", 0.0)
    async with receiver() as here, opened(here) as rig:
        await rig.subscribe(here.url)
        events = [rig.event() for _ in range(50)]

        await rig.tell(*events)

        posted = await here.until(50)
        assert sorted(one.event["id"] for one in posted) == sorted(event.id for event in events)


@pytest.mark.parametrize("how", ["delete", "disable"])
async def test_what_waits_for_a_webhook_that_is_no_more_ends_quietly(
    opened: Open, how: str
) -> None:
    async with receiver() as here:
        async with opened(here, workers=0) as rig:
            id = (await rig.subscribe(here.url)).webhook.id
            (job,) = await rig.tell(rig.event())
            if how == "delete":
                await rig.webhooks.delete(id, actor="key_1")
            else:
                await rig.webhooks.update(id, Changes(enabled=False), actor="key_1")
        async with opened(here) as rig:
            ended = await rig.ended(job)

    assert ended.state == "completed"
    assert ended.result == {"outcome": "dropped", "reason": f"{how}d"}
    assert not here.posted


@on_both
async def test_a_delivery_outlives_its_process(opened: Open) -> None:
    async with receiver() as here:
        async with opened(here, workers=0) as rig:  # stops before anything is posted
            await rig.subscribe(here.url)
            event = rig.event()
            await rig.tell(event)
        async with opened(here):
            (posted,) = await here.until(1)

    assert posted.event["id"] == event.id


@on_both
async def test_the_old_secret_signs_for_a_day(opened: Open) -> None:
    async with receiver() as here, opened(here) as rig:
        first = await rig.subscribe(here.url)
        second = await rig.webhooks.rotate(first.webhook.id, actor="key_1")

        await rig.deliver()

        (posted,) = here.posted
        for secret in (first.secret, second.secret):
            Reader(secret).verify(posted.body, posted.headers)
        later = int((SystemClock().now() + 86_401) * 1000)
        assert await rig.webhooks._store.secrets(first.webhook.id, at=later) == [second.secret]


async def test_a_test_event_is_for_one_webhook_whatever_it_subscribed(opened: Open) -> None:
    async with receiver() as here, opened(here) as rig:
        id = (await rig.subscribe(here.url, "case.opened")).webhook.id
        await rig.subscribe(here.url)

        job = await rig.webhooks.test(id)

        await rig.ended(await job.status())
        (posted,) = here.posted
        assert posted.event["type"] == "webhook.test"
        assert posted.event["subject"] == id
