"""A ticket is what Celery itself would have sent, where it has the same things to say."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from redis import Redis

from benchmarks.rigs.servers import RedisServer
from tests.tasks.celery.celery_jobs import echo


def taken(redis: RedisServer, key: str) -> Any:
    with Redis.from_url(redis.database(1)) as broker:
        found: Any = broker.rpop(key)
    return json.loads(found)


async def test_a_ticket_reads_like_a_message_of_celery(redis, app, queue):
    job = await queue.enqueue(echo, ("a",), options={"priority": 2})
    ours = taken(redis, "default:2")
    with app.connection_for_write() as connection:
        options = {"connection": connection, "task_id": job.id, "priority": 2}
        app.send_task("echo", ignore_result=True, **options)
    theirs = taken(redis, "default:2")

    ours_head, theirs_head = ours.pop("headers"), theirs.pop("headers")
    assert ours_head.pop("ticket") == "1"
    assert ours_head.pop("kwargsrepr") == f"{{'job': '{job.id}', 'attempt': 1}}"
    assert theirs_head.pop("kwargsrepr") == "{}"
    for head in (ours_head, theirs_head):
        head.pop("origin")
        head.pop("ignore_result")
    assert ours_head == theirs_head
    bodies = [json.loads(base64.b64decode(each.pop("body"))) for each in (ours, theirs)]
    assert bodies[0] == bodies[1]
    for each in (ours, theirs):
        each["properties"].pop("delivery_tag")
        each["properties"].pop("reply_to")
        each["properties"].pop("delivery_info")
    assert ours == theirs


@pytest.mark.parametrize("priority", range(10))
async def test_a_ticket_is_in_the_list_that_kombu_takes_from(redis, app, queue, priority):
    await queue.enqueue(echo, ("a",), options={"priority": priority, "queue": "analytics"})

    with app.connection_for_read() as connection:
        channel = connection.default_channel
        key = channel._q_for_pri("analytics", priority)
        found = channel._get("analytics")

    assert key == ("analytics" if priority == 0 else f"analytics:{priority}")
    assert found["properties"]["priority"] == priority


async def test_a_message_has_none_of_the_arguments(redis, queue):
    await queue.enqueue(echo, ("a secret",))

    assert "secret" not in json.dumps(taken(redis, "default:5"))
