from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec
import pytest

from penstock.clock import ManualClock
from penstock.errors import BlockedAddress, Conflict, InvalidInput, NotFound
from penstock.hub import LocalHub
from penstock.notify import Changes, Event
from penstock.notify.outbox import GATHER_SECONDS, LOST
from penstock.notify.store import Delivery
from tests.notify.conftest import Open, on_both, receiver

URL = "http://127.0.0.1:9999/hook"
ALLOW = ["127.0.0.1:9999"]


@on_both
async def test_whoever_subscribed_is_told(opened: Open) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        await rig.subscribe(URL, "case.opened")
        await rig.subscribe(URL, "verdict.*", "verdict.review")
        await rig.subscribe(URL, "*", owner="others")
        await rig.subscribe(URL, "*", owner="admin", everyone=True)

        jobs = await rig.tell(rig.event("verdict.review"))

        assert sorted(job.owner for job in jobs) == ["admin", "team"]


async def test_an_event_that_nobody_wants_need_not_be_made(opened: Open) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        await rig.webhooks.refresh()
        assert not rig.webhooks.wants("verdict.review")
        await rig.subscribe(URL, "verdict.*")

        assert rig.webhooks.wants("verdict.review")
        assert not rig.webhooks.wants("case.opened")


async def test_events_of_the_installation_are_for_those_who_hear_of_everyone(
    opened: Open,
) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        await rig.subscribe(URL)
        await rig.subscribe(URL, owner="admin", everyone=True)

        (job,) = await rig.tell(rig.event("policy.activated", owner=None))

        assert job.owner == "admin"


@on_both
async def test_a_change_is_known_to_every_process_at_once(opened: Open) -> None:
    async with opened(allow=ALLOW, workers=0) as here, opened(allow=ALLOW, workers=0) as there:
        assert not await there.tell(there.event())

        id = (await here.subscribe(URL)).webhook.id
        assert len(await there.tell(there.event())) == 1
        await here.webhooks.update(id, Changes(events=("case.opened",)), actor="key_1")
        assert len(await there.tell(there.event())) == 1
        await here.webhooks.update(id, Changes(events=("*",), enabled=False), actor="key_1")
        assert len(await there.tell(there.event())) == 1
        await here.webhooks.update(id, Changes(enabled=True), actor="key_1")
        assert len(await there.tell(there.event())) == 2
        await here.webhooks.delete(id, actor="key_1")
        assert len(await there.tell(there.event())) == 2


async def test_what_is_emitted_is_a_job_soon(opened: Open) -> None:
    clock = ManualClock()
    async with opened(allow=ALLOW, workers=0, clock=clock) as rig:
        await rig.subscribe(URL)
        keeping = asyncio.ensure_future(rig.webhooks.keep())
        for _ in range(3):
            rig.webhooks.emit(rig.event())
        await rig.until_jobs(3, lambda: clock.advance(GATHER_SECONDS))
        keeping.cancel()
        await asyncio.wait([keeping])

        assert len(await rig.jobs()) == 3


async def test_what_waits_is_a_job_when_the_process_stops(opened: Open) -> None:
    async with opened(allow=ALLOW, workers=0, clock=ManualClock()) as rig:
        await rig.subscribe(URL)
        keeping = asyncio.ensure_future(rig.webhooks.keep())
        await asyncio.sleep(0)
        rig.webhooks.emit(rig.event())

        keeping.cancel()
        await asyncio.wait([keeping])

        assert len(await rig.jobs()) == 1


@on_both
async def test_what_the_queue_takes_no_more_is_left_to_the_next_process(opened: Open) -> None:
    """The last jobs of a process tell of events while its queue stops."""
    async with opened(allow=ALLOW, workers=0) as rig:
        await rig.subscribe(URL)
        await rig.subscribe(URL, owner="others")
        keeping = asyncio.ensure_future(rig.webhooks.keep())
        await asyncio.sleep(0)
        await rig.queue.stop(0.1)
        for owner in ("team", "others", "team"):
            rig.webhooks.emit(rig.event(owner=owner))
        keeping.cancel()
        await asyncio.wait([keeping])
    async with opened(allow=ALLOW, workers=0) as rig:
        keeping = asyncio.ensure_future(rig.webhooks.keep())
        async with asyncio.timeout(60):
            await rig.until_taken_over()
        keeping.cancel()
        await asyncio.wait([keeping])

        assert sorted(str(job.owner) for job in await rig.jobs()) == ["others", "team", "team"]


@on_both
async def test_what_cannot_even_be_left_is_counted(opened: Open) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        await rig.subscribe(URL)
        keeping = asyncio.ensure_future(rig.webhooks.keep())
        await asyncio.sleep(0)
        await rig.queue.stop(0.1)
        rig.webhooks.emit(rig.event())
        await rig.database.aclose()
        keeping.cancel()
        await asyncio.wait([keeping])

        assert rig.metrics.total(LOST, reason="stopped") == 1


async def test_a_flush_that_is_cancelled_loses_nothing(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        await rig.subscribe(URL)
        began = asyncio.Event()
        working = rig.queue.engine.add

        async def never(_jobs: object) -> None:
            began.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(rig.queue.engine, "add", never)
        rig.webhooks.emit(rig.event())
        flushing = asyncio.ensure_future(rig.webhooks.flush())
        await began.wait()
        flushing.cancel()
        await asyncio.wait([flushing])
        monkeypatch.setattr(rig.queue.engine, "add", working)

        assert len(await rig.tell()) == 1


async def test_more_than_the_buffer_holds_is_lost_and_counted(opened: Open) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        await rig.subscribe(URL)
        rig.webhooks._outbox._most = 5

        jobs = await rig.tell(*(rig.event() for _ in range(8)))

        assert len(jobs) == 5
        assert rig.metrics.total(LOST, reason="full") == 3


async def test_an_event_that_cannot_be_stored_takes_no_other_along(opened: Open) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        await rig.subscribe(URL)
        large = rig.event(text="x" * 2_000_000)

        jobs = await rig.tell(rig.event(), large, rig.event(bad=object()), rig.event())

        assert len(jobs) == 2
        assert rig.metrics.total(LOST, reason="not_storable") == 2


async def test_events_wait_while_jobs_cannot_be_stored(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.errors import StorageFull

    async with opened(allow=ALLOW, workers=0) as rig:
        await rig.subscribe(URL)
        events = [rig.event() for _ in range(3)]
        working = rig.queue.engine.add

        def full(_jobs: object) -> object:
            raise StorageFull

        monkeypatch.setattr(rig.queue.engine, "add", full)
        assert not await rig.tell(*events)
        monkeypatch.setattr(rig.queue.engine, "add", working)

        assert len(await rig.tell()) == 3


async def test_a_job_does_not_hold_the_secret(opened: Open, tmp_path: Path) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        secret = (await rig.subscribe(URL)).secret
        await rig.tell(rig.event())
        folder = tmp_path

    stored = b"".join(path.read_bytes() for path in folder.glob("tasks.db*"))
    assert b"hook_" in stored
    assert secret.encode() not in stored
    assert b"127.0.0.1" not in stored  # a URL may be a secret, too


async def test_no_record_and_no_log_has_the_secret(
    opened: Open, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with receiver(410) as here, opened(here) as rig:
        new = await rig.subscribe(here.url)
        rotated = await rig.webhooks.rotate(new.webhook.id, actor="key_1")
        await rig.deliver()
        shown = [
            await rig.webhooks.get(new.webhook.id),
            *await rig.webhooks.page(owner="team"),
            *await rig.audit.page(),
            *await rig.jobs(),
        ]
    told = repr(shown) + caplog.text + "".join(capsys.readouterr())

    assert not any(secret in told for secret in (new.secret, rotated.secret))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://10.0.0.1/", "not a public address"),
        ("https://127.0.0.1/", "not a public address"),
        ("http://8.8.8.8/", "over https"),
        ("ftp://8.8.8.8/", "only http and https"),
        ("https://8.8.8.8:22/", "port 22"),
    ],
)
async def test_an_address_that_may_not_be_called_is_refused(
    opened: Open, url: str, why: str
) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        id = (await rig.subscribe(URL)).webhook.id
        with pytest.raises(BlockedAddress, match=why) as caught:
            await rig.subscribe(url)
        with pytest.raises(BlockedAddress):
            await rig.webhooks.update(id, Changes(url=url), actor="key_1")

        assert caught.value.fields["errors"][0]["pointer"] == "/url"  # type: ignore[index]
        assert (await rig.webhooks.get(id)).url == URL


async def test_a_public_https_address_is_taken(opened: Open) -> None:
    async with opened(workers=0) as rig:
        webhook = (await rig.subscribe("HTTPS://8.8.8.8:443/a?b#c")).webhook

    assert webhook.url == "https://8.8.8.8/a?b"


async def test_events_have_to_be_known(opened: Open) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        for events in ((), ("case.open",)):
            with pytest.raises(InvalidInput):
                await rig.webhooks.create(URL, events=events, owner="team", actor="key_1")


@on_both
async def test_an_owner_has_a_bounded_number(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.notify.webhooks.MOST", 2)
    async with opened(allow=ALLOW, workers=0) as rig:
        for _ in range(2):
            await rig.subscribe(URL)

        with pytest.raises(Conflict):
            await rig.subscribe(URL)
        await rig.subscribe(URL, owner="others")


@on_both
async def test_every_change_is_in_the_audit_log(opened: Open) -> None:
    async with opened(allow=ALLOW, workers=0) as rig:
        id = (await rig.subscribe(f"{URL}?token=hush")).webhook.id
        await rig.webhooks.update(id, Changes(description="x"), actor="key_2")
        await rig.webhooks.rotate(id, actor="key_3")
        await rig.webhooks.delete(id, actor="cli")

        entries = await rig.audit.page(subject=id)

    assert [(entry.actor, entry.action) for entry in reversed(entries)] == [
        ("key_1", "webhook.created"),
        ("key_2", "webhook.changed"),
        ("key_3", "webhook.secret_rotated"),
        ("cli", "webhook.deleted"),
    ]
    assert msgspec.json.decode(entries[0].detail)["host"] == "127.0.0.1"
    assert not any(b"hush" in entry.detail for entry in entries)


@on_both
async def test_enabling_forgets_why_it_was_disabled(opened: Open) -> None:
    async with receiver(410, 200) as here, opened(here) as rig:
        id = (await rig.subscribe(here.url)).webhook.id
        await rig.deliver()
        with pytest.raises(Conflict):
            await rig.webhooks.test(id)

        webhook = await rig.webhooks.update(id, Changes(enabled=True), actor="key_1")

        assert (webhook.enabled, webhook.disabled_reason) == (True, None)
        kept = await rig.webhooks.get(id)
        assert (kept.enabled, kept.disabled_reason) == (True, None)
        assert (await rig.deliver()).result == {"outcome": "delivered", "status": 200}


@on_both
async def test_what_is_not_there_is_not_found(opened: Open) -> None:
    async with opened(workers=0) as rig:
        for asked in (
            rig.webhooks.test("hook_0"),
            rig.webhooks.update("hook_0", Changes(), actor="key_1"),
            rig.webhooks.rotate("hook_0", actor="key_1"),
            rig.webhooks.delete("hook_0", actor="key_1"),
        ):
            with pytest.raises(NotFound):
                await asked


@on_both
async def test_pages_go_from_the_newest_to_the_oldest(opened: Open) -> None:
    clock = ManualClock()
    async with opened(allow=ALLOW, workers=0, clock=clock) as rig:
        made = []
        for _ in range(3):
            made.append((await rig.subscribe(URL)).webhook.id)
            clock.advance(1)
        hidden = (await rig.subscribe(URL, everyone=True)).webhook.id

        first = await rig.webhooks.page(owner="team", limit=2)
        after = (first[-1].created_at, first[-1].id)
        rest = await rig.webhooks.page(owner="team", after=after, limit=2)

        assert [webhook.id for webhook in first + rest] == made[::-1]
        assert (await rig.webhooks.page(owner=None))[0].id == hidden


async def test_webhooks_that_cannot_be_read_stay_as_they_were_known(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.errors import StorageUnavailable

    clock = ManualClock()
    async with opened(allow=ALLOW, workers=0, clock=clock) as rig:
        await rig.subscribe(URL)
        await rig.tell(rig.event())
        known = rig.webhooks._subscriptions
        working = known._read

        async def broken() -> list[object]:
            raise StorageUnavailable

        monkeypatch.setattr(known, "_read", broken)
        await rig.subscribe(URL)
        assert len(await rig.tell(rig.event())) == 2
        monkeypatch.setattr(known, "_read", working)
        assert len(await rig.tell(rig.event())) == 3
        clock.advance(1)
        assert len(await rig.tell(rig.event())) == 5


@on_both
async def test_without_a_hub_others_are_heard_of_within_a_second(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is away: nothing is told from one server to the other."""
    clock = ManualClock()
    monkeypatch.setattr(LocalHub, "is_current", False)
    monkeypatch.setattr(LocalHub, "bump", lambda self, name: 0)
    async with (
        opened(allow=ALLOW, workers=0, clock=clock) as here,
        opened(allow=ALLOW, workers=0, clock=clock) as there,
    ):
        await there.webhooks.refresh()
        await here.subscribe(URL)
        assert not await there.tell(there.event())
        clock.advance(1)

        assert len(await there.tell(there.event())) == 1


async def test_what_is_emitted_before_anything_was_read_is_told_all_the_same(
    opened: Open,
) -> None:
    async with opened(allow=ALLOW, workers=0) as here, opened(allow=ALLOW, workers=0) as there:
        await here.subscribe(URL)

        there.webhooks.emit(there.event())
        here.webhooks.emit(here.event())
        await there.webhooks.flush()
        await here.webhooks.flush()

        assert len(await here.jobs()) == 2


@on_both
async def test_what_is_left_while_others_take_over_stays(opened: Open) -> None:
    """A number says nothing about when a row was committed."""
    async with opened(allow=ALLOW, workers=0) as rig:
        store, event = rig.webhooks._store, rig.event()
        await store.leave([Delivery("hook_1", "team", event)])
        found = await store.left()
        await store.leave([Delivery("hook_2", "team", event)])

        await store.forget([number for number, _ in found])

        assert [one.receiver for _, one in await store.left()] == ["hook_2"]


def test_an_event_can_be_packed() -> None:
    event = Event("evt_1", 1, "case.opened", "case_1", None, {"a": [1]})

    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
