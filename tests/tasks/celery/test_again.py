"""What is asked twice, because the first answer was lost, is done once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from benchmarks.rigs.servers import RedisServer
from penstock.tasks import TaskQueue, open_queue
from penstock.tasks.celery.address import parse
from penstock.tasks.celery.remote import RemoteSync
from tests.tasks.celery.celery_jobs import echo
from tests.tasks.celery.conftest import address


@pytest.fixture
async def jobs(redis: RedisServer) -> AsyncIterator[TaskQueue]:
    async with open_queue(address(redis)) as queue:
        yield queue


@pytest.fixture
def remote(redis: RedisServer) -> Iterator[RemoteSync]:
    remote = RemoteSync(parse(address(redis)))
    yield remote
    remote.close()


def claim(remote: RemoteSync, job_id: str, word: str) -> list[bytes]:
    ticket = remote.command("HGET", f"{remote.prefix}job:{job_id}", "ticket")
    words = (job_id, ticket, "node", 15_000, 0, "", "", 1, word)
    told: list[bytes] = remote.ask("attempts", "claim", *words)
    return told


async def test_a_claim_made_again_holds_as_it_did(jobs: TaskQueue, remote: RemoteSync):
    job = await jobs.enqueue(echo, ("a",))

    first = claim(remote, job.id, "mine")
    again = claim(remote, job.id, "mine")
    other = claim(remote, job.id, "another's")

    assert first[:3] == again[:3] == [b"run", 1, b"default"]
    assert other == [b"gone", b"running"]
    assert (await job.status()).attempt == 1


async def test_a_priority_that_does_not_change_makes_no_message(
    jobs: TaskQueue, remote: RemoteSync
):
    job = await jobs.enqueue(echo, ("a",))

    for _ in range(50):
        await job.reprioritise(5)

    lists = [f"default:{level}" for level in range(1, 10)]
    assert sum(remote.command("LLEN", name) for name in ("default", *lists)) == 1


async def test_a_key_whose_job_s_record_was_lost_is_free(jobs: TaskQueue, remote: RemoteSync):
    lost = await jobs.enqueue(echo, ("a",), options={"key": "k"})
    remote.command("DEL", f"{remote.prefix}job:{lost.id}")

    job = await jobs.enqueue(echo, ("a",), options={"key": "k"})

    assert not job.existed
    assert (await job.status()).state == "queued"
