"""What a worker has taken off the broker's lists and not acknowledged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection
from redis import Redis

from benchmarks.rigs.servers import RedisServer
from penstock.tasks.celery.app import JobApp
from penstock.tasks.celery.worker.parts import TRANSPORT
from penstock.tasks.job import NORMAL
from tests.tasks.celery.celery_jobs import echo

LIST = "default:5"


@pytest.fixture
def broker(redis: RedisServer) -> Iterator[Any]:
    with Redis.from_url(redis.database(1), decode_responses=True) as broker:
        yield broker


@pytest.fixture
def connection(app: JobApp) -> Iterator[Connection]:
    with app.connection_for_read(transport=TRANSPORT) as connection:
        yield connection


def take(connection: Connection) -> Any:
    """The next message, as a worker takes it: it is to be acknowledged."""
    channel: Any = connection.default_channel
    queue = connection.SimpleQueue("default").queue
    message = channel.basic_get(queue.name)
    assert message is not None
    return message


def send(app: JobApp, connection: Connection) -> None:
    app.send_task("echo", args=("theirs",), connection=connection, priority=NORMAL)


async def test_no_account_is_kept_of_a_ticket(connection, queue, broker):
    await queue.enqueue(echo, ("a",))

    message = take(connection)
    noted = broker.exists("unacked", "unacked_index")
    message.ack()

    assert (noted, broker.llen(LIST)) == (0, 0)


async def test_a_message_of_celerys_own_making_is_noted_until_it_is_acknowledged(
    app, connection, broker
):
    send(app, connection)

    message = take(connection)
    noted = broker.hlen("unacked"), broker.zcard("unacked_index")
    message.ack()

    assert noted == (1, 1)
    assert not broker.exists("unacked", "unacked_index")


async def test_both_are_put_back_when_they_are_refused(app, connection, queue, broker):
    job = await queue.enqueue(echo, ("a",))
    send(app, connection)

    for message in [take(connection) for _ in range(2)]:
        message.requeue()

    (theirs, ours) = (json.loads(each)["headers"] for each in broker.lrange(LIST, 0, -1))
    assert (ours["id"], ours["ticket"]) == (job.id, "1")
    assert theirs["task"] == "echo"
    assert not broker.exists("unacked", "unacked_index")


async def test_tickets_are_put_back_in_their_order(app, queue, broker):
    jobs = await queue.enqueue_many(echo, ["a", "b", "c", "d"])
    with app.connection_for_read(transport=TRANSPORT) as connection:
        first, _, _ = (take(connection) for _ in range(3))
        first.requeue()
        taken_again = take(connection)

    left = [json.loads(each)["headers"]["id"] for each in reversed(broker.lrange(LIST, 0, -1))]
    assert taken_again.headers["id"] == jobs[0].id
    assert left[-1] == jobs[3].id
    assert left[:-1] == [jobs[1].id, jobs[2].id, jobs[0].id]  # as they were taken


async def test_both_are_put_back_when_the_worker_closes_its_channel(app, queue, broker):
    job = await queue.enqueue(echo, ("a",))
    with app.connection_for_read(transport=TRANSPORT) as connection:
        send(app, connection)
        taken = [take(connection) for _ in range(2)]
        assert broker.llen(LIST) == 0

    found = {json.loads(each)["headers"]["id"] for each in broker.lrange(LIST, 0, -1)}
    assert found == {message.headers["id"] for message in taken} > {job.id}
    assert not broker.exists("unacked", "unacked_index")


async def test_a_ticket_that_is_rejected_for_good_is_gone(connection, queue, broker):
    await queue.enqueue(echo, ("a",))

    take(connection).reject()

    assert not broker.exists(LIST, "unacked", "unacked_index")
