from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rigs.servers import RedisServer
from benchmarks.rigs.smtp import SmtpSink
from penstock.bridges import WebhooksForServices
from penstock.clock import SystemClock
from penstock.errors import ConfigurationError
from penstock.notify import Event, new_event
from penstock.notify.mail import TASK, message, message_id
from penstock.notify.store import Delivery
from penstock.observe.health import CheckResult, Health
from penstock.runtime import open_runtime
from penstock.settings import Settings
from penstock.tasks import JobFilter
from tests.notify.conftest import Open, Rig, receiver

FROM, TO = "penstock@example.com", "ops@example.com"
PATIENCE = 60.0


@pytest.fixture
async def sink() -> AsyncIterator[SmtpSink]:
    async with SmtpSink() as sink:
        yield sink


def url(sink: SmtpSink) -> str:
    return f"smtp://127.0.0.1:{sink.port}"


def alert(rig: Rig) -> Event:
    return rig.event("alert.raised", owner=None, status="degraded", checks={"redis": "degraded"})


def an_event(subject: str = "health", **data: Any) -> Event:
    return new_event("alert.raised", subject=subject, owner=None, data=data, clock=SystemClock())


async def test_an_alert_arrives_as_a_message_of_its_own_for_each_address(
    opened: Open, sink: SmtpSink
) -> None:
    to = (TO, "boss@example.com", TO)
    async with opened(smtp=url(sink), to=to) as rig:
        event = alert(rig)

        jobs = [await rig.ended(job) for job in await rig.tell(event)]

        assert {(job.task, job.queue, job.owner) for job in jobs} == {(TASK, "notifications", None)}
        letters = {letter.to[0]: letter for letter in await sink.until(2)}
        assert set(letters) == {TO, "boss@example.com"}
        found = letters[TO].message
        assert letters[TO].sender == found["From"] == FROM
        assert (found["To"], found["Auto-Submitted"]) == (TO, "auto-generated")
        assert found["Subject"] == "[Penstock] alert.raised: mod_1 is degraded"
        assert found["Message-ID"] == message_id(event, sender=FROM, to=TO)
        assert len({each.message["Message-ID"] for each in letters.values()}) == 2
        body = found.get_content().splitlines()
        assert f"id: {event.id}" in body
        assert "checks.redis: degraded" in body
        assert "look it up: penstock doctor, and GET /health" in body


async def test_only_the_events_of_the_settings_are_told(opened: Open, sink: SmtpSink) -> None:
    async with opened(smtp=url(sink), mail_events=("case.*",), workers=0) as rig:
        kinds = ("alert.raised", "case.opened", "verdict.rejected", "case.decided")

        jobs = await rig.tell(*map(rig.event, kinds))

        assert len(jobs) == 2
        assert [rig.webhooks.wants(kind) for kind in kinds[:2]] == [False, True]


async def test_webhooks_are_told_beside_it(opened: Open, sink: SmtpSink) -> None:
    async with receiver() as here, opened(here, smtp=url(sink)) as rig:
        await rig.subscribe(here.url, everyone=True)

        await rig.tell(alert(rig), rig.event())

        assert len(await here.until(2)) == 2
        assert len(await sink.until(1)) == 1
        assert len(await rig.jobs()) == 3


@pytest.mark.usefixtures("at_once")
async def test_what_was_not_taken_this_time_is_sent_again_and_is_the_same(
    opened: Open, sink: SmtpSink
) -> None:
    sink.script("RCPT", "450 greylisted")
    sink.script("BODY", "451 the disk is full")
    async with opened(smtp=url(sink)) as rig:
        job = await rig.deliver(alert(rig))

        (letter,) = sink.letters
        assert (job.state, job.attempt) == ("completed", 3)
        assert [error.type for error in job.errors] == ["NotSent", "NotSent"]
        assert job.errors[0].message == f"127.0.0.1:{sink.port} answered 450 greylisted"
        assert job.result == {"outcome": "sent", "message_id": letter.message["Message-ID"]}


async def test_while_there_is_no_server_the_message_waits(opened: Open, sink: SmtpSink) -> None:
    address = url(sink)
    await sink.__aexit__()
    async with opened(smtp=address) as rig:
        (job,) = await rig.tell(alert(rig))

        waiting = await rig.failed_once(job)

        assert waiting.state == "queued"
        assert "cannot be reached" in waiting.errors[0].message


@pytest.mark.usefixtures("at_once")
async def test_after_eight_attempts_the_job_is_failed_and_kept(
    opened: Open, sink: SmtpSink
) -> None:
    sink.script("MAIL", *8 * ["451 not now"])
    async with opened(smtp=url(sink)) as rig:
        job = await rig.deliver(alert(rig))

        assert (job.state, job.attempt) == ("failed", 8)
        await rig.queue.retry(job.id)
        assert len(await sink.until(1)) == 1


async def test_what_the_server_will_never_take_is_not_tried_again(
    opened: Open, sink: SmtpSink
) -> None:
    sink.script("RCPT", "550 5.1.1 nobody here of that name")
    async with opened(smtp=url(sink)) as rig:
        job = await rig.deliver(alert(rig))

        assert (job.state, job.attempt) == ("failed", 1)
        assert job.errors[0].type == "MailRefused"
        assert "550 5.1.1 nobody here of that name" in job.errors[0].message


async def test_a_server_that_hangs_keeps_two_places_and_the_third_comes_back_later(
    opened: Open, sink: SmtpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.notify.turns.PATIENCE", 0.05)
    sink.script("CONNECT", "hang", "hang")
    async with opened(smtp=url(sink)) as rig:
        await rig.tell(alert(rig), alert(rig))
        await sink.until_said("CONNECT", count=2)

        third = await rig.ended((await rig.tell(alert(rig)))[2])

        assert third.result["outcome"] == "postponed"
        later = (await rig.jobs())[3]
        assert (later.id, later.max_attempts) == (third.result["job_id"], 8)


async def test_a_server_that_did_not_answer_rests(
    opened: Open, sink: SmtpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.notify.smtp.ATTEMPT_SECONDS", 0.3)
    monkeypatch.setattr("penstock.notify.mail.LONG", 0.1)
    sink.script("CONNECT", "hang")
    async with opened(smtp=url(sink)) as rig:
        (first,) = await rig.tell(alert(rig))
        assert "did not answer" in (await rig.failed_once(first)).errors[0].message

        second = (await rig.tell(alert(rig)))[1]

        assert "did not answer a moment ago" in (await rig.failed_once(second)).errors[0].message
        assert sink.commands.count("CONNECT") == 1


async def test_what_a_process_left_behind_is_sent_by_the_next_and_not_twice(
    opened: Open, sink: SmtpSink
) -> None:
    async with opened(smtp=url(sink)) as rig:
        left = [Delivery(f"mailto:{TO}", "", alert(rig))]
        await rig.webhooks._store.leave(left)

        await rig.webhooks._outbox._recover()

        (letter,) = await sink.until(1)
        (job,) = await rig.jobs()
        assert (job.task, job.owner) == (TASK, None)
        assert letter.to == [TO]


async def test_who_is_no_longer_in_the_settings_is_sent_nothing(
    opened: Open, sink: SmtpSink
) -> None:
    async with opened(smtp=url(sink), workers=0) as rig:
        (job,) = await rig.tell(alert(rig))
    async with opened(smtp=url(sink), to=("new@example.com",)) as rig:
        ended = await rig.ended(job)

    assert ended.result == {"outcome": "dropped", "reason": "not in PENSTOCK_MAIL_TO"}
    assert not sink.letters


async def test_a_process_without_a_server_fails_the_job_and_says_what_to_set(
    opened: Open, sink: SmtpSink
) -> None:
    async with opened(smtp=url(sink), workers=0) as rig:
        (job,) = await rig.tell(alert(rig))
    async with opened() as rig:
        ended = await rig.ended(job)

    assert (ended.state, ended.attempt) == ("failed", 1)
    assert "set SMTP_URL, PENSTOCK_MAIL_FROM and PENSTOCK_MAIL_TO" in ended.errors[0].message


def test_no_event_can_write_a_header_or_more_than_its_share() -> None:
    evil = "health\r\nBcc: all@example.com\r\n\r\nbuy"
    data = {
        "status": evil,
        "x\r\nBcc: y": evil,
        "long": "é" * 100_000,
        **{str(number): "z" * 1_000 for number in range(1_000)},
    }

    sent = message(an_event(evil, **data), sender=FROM, to=TO).as_bytes()

    head, _, body = sent.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    assert names == [
        *(b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted"),
        *(b"Content-Type", b"Content-Transfer-Encoding", b"MIME-Version"),
    ]
    assert b"\nBcc" not in body
    assert len(sent) < 32_000
    assert sent.isascii()
    assert max(map(len, sent.split(b"\r\n"))) < 998
    with pytest.raises(ValueError, match="linefeed"):
        message(an_event(), sender=FROM, to=f"{TO}\r\nBcc: all@example.com")


def test_the_same_event_is_the_same_message_and_another_is_not() -> None:
    event, other = an_event(), an_event()

    assert bytes(message(event, sender=FROM, to=TO)) == bytes(message(event, sender=FROM, to=TO))
    ids = {message_id(one, sender=FROM, to=to) for one in (event, other) for to in (TO, FROM)}
    assert len(ids) == 4
    assert all(id.endswith("@example.com>") for id in ids)


async def test_events_that_there_are_not_are_refused_at_the_start(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, mail_events=("alert.risen",))

    with pytest.raises(ConfigurationError, match="PENSTOCK_MAIL_EVENTS: no event is called"):
        async with open_runtime(settings):
            pass


def test_without_the_package_it_is_told_what_to_install() -> None:
    code = (
        "import sys; sys.modules['aiosmtplib'] = None\n"
        "from penstock.notify import open_server\n"
        "open_server('smtp://127.0.0.1')"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert 'run: pip install "penstock[mail]"' in done.stderr


def settings_of(sink: SmtpSink, home: Path, **more: Any) -> Settings:
    return Settings(home=home, smtp_url=url(sink), mail_from=FROM, mail_to=(TO,), **more)


DEGRADED = Health("degraded", {"redis": CheckResult("degraded", "away", "start it")})


async def test_an_installation_that_is_not_well_says_so_by_mail(
    sink: SmtpSink, tmp_path: Path
) -> None:
    async with open_runtime(settings_of(sink, tmp_path)) as runtime:
        WebhooksForServices(runtime.webhooks, runtime.clock).alert(DEGRADED)

        (letter,) = await sink.until(1)
        assert letter.message["Subject"] == "[Penstock] alert.raised: health is degraded"


@pytest.fixture
async def worker(sink: SmtpSink, redis: RedisServer, tmp_path: Path) -> AsyncIterator[None]:
    """A worker of Celery that takes nothing but this queue."""
    env = {
        **os.environ,
        "CELERY_BROKER_URL": redis.database(1),
        "PENSTOCK_HOME": str(tmp_path),
        "SMTP_URL": url(sink),
        "PENSTOCK_MAIL_FROM": FROM,
        "PENSTOCK_MAIL_TO": TO,
    }
    words = ["-A", "penstock.celery_app", "worker", "-Q", "notifications", "-c", "1"]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "celery", *words), env=env, stdout=log, stderr=log
        )
    yield
    process.terminate()
    async with asyncio.timeout(PATIENCE):
        await process.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("worker")
async def test_on_celery_the_worker_of_the_queue_sends_it(
    sink: SmtpSink, redis: RedisServer, tmp_path: Path
) -> None:
    settings = settings_of(sink, tmp_path, tasks="celery", celery_broker_url=redis.database(1))
    sink.script("MAIL", "550 who is that?")
    async with open_runtime(settings, workers=0) as runtime:
        WebhooksForServices(runtime.webhooks, runtime.clock).alert(DEGRADED)
        await sink.until_said("MAIL")
        (job,) = await runtime.jobs.store.page(JobFilter(task=TASK), limit=10)
        async with asyncio.timeout(PATIENCE):
            refused = await runtime.jobs.store.ended(job.id)
        assert (refused.state, refused.attempt, refused.queue) == ("failed", 1, "notifications")

        await runtime.jobs.retry(job.id)

        (letter,) = await sink.until(1)
        assert letter.message["Subject"] == "[Penstock] alert.raised: health is degraded"
        async with asyncio.timeout(PATIENCE):
            ended = await runtime.jobs.store.ended(job.id)
        assert ended.result["message_id"] == letter.message["Message-ID"]
