"""What Celery's own events say of our jobs: Flower shows nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks.rigs.servers import RedisServer
from penstock.errors import JobCancelled
from penstock.tasks import TaskQueue
from penstock.tasks.celery.address import parse
from penstock.tasks.celery.app import make_app
from tests.tasks.celery.celery_jobs import block, echo, wait
from tests.tasks.celery.conftest import PATIENCE, Celery, Nowhere, until

pytestmark = pytest.mark.slow


class Flower:
    """Keeps Celery's State by Celery's Receiver, as Flower does."""

    def __init__(self, url: str) -> None:
        self._app = make_app(parse(url), place=Nowhere())
        self.state = self._app.events.State()
        self.heard: list[dict[str, Any]] = []
        self._receiver: Any = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._capture, daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    def _capture(self) -> None:
        with self._app.connection_for_read() as connection:
            self._receiver = self._app.events.Receiver(connection, handlers={"*": self._take})
            self._receiver.capture(limit=None, timeout=None, wakeup=True)

    def _take(self, event: dict[str, Any]) -> None:
        self._ready.set()  # of the worker, whose heart beats
        self.heard.append(event)
        self.state.event(event)

    def close(self) -> None:
        self._receiver.should_stop = True
        self._thread.join(PATIENCE)

    def is_in(self, state: str, job_id: str) -> Any:
        """The task, once it is in this state."""
        task = self.state.tasks.get(job_id)
        return task if task is not None and task.state == state else None


@pytest.fixture
def celery(redis: RedisServer, celery_on: Callable[..., Celery]) -> Celery:
    celery = celery_on(redis)
    celery.start("worker", "-n", "one@test", "-c", "2", "-l", "INFO", "-E")
    return celery


@pytest.fixture
def flower(celery: Celery) -> Iterator[Flower]:
    flower = Flower(celery.url)
    yield flower
    flower.close()


@pytest.fixture
async def queue(celery: Celery, asking: Any) -> TaskQueue:
    return await asking(celery.url)


async def test_a_task_shows_its_name_and_job_and_nothing_that_was_given(queue, flower):
    job = await queue.enqueue(echo, ("a secret of somebody",))
    await job.result(PATIENCE)

    task = await until(lambda: flower.is_in("SUCCESS", job.id))

    assert (task.name, task.args) == ("echo", "()")
    assert task.kwargs == f"{{'job': '{job.id}', 'attempt': 1}}"
    assert "secret" not in repr(flower.heard)


async def test_a_running_job_that_is_cancelled_is_revoked(queue, flower):
    job = await queue.enqueue(wait, (60,))
    await until(lambda: flower.is_in("STARTED", job.id))

    await job.cancel()

    with pytest.raises(JobCancelled):
        await job.result(PATIENCE)
    task = await until(lambda: flower.is_in("REVOKED", job.id))
    assert (task.terminated, task.expired) == (False, False)


async def test_a_job_that_is_cancelled_before_it_starts_is_revoked(queue, flower):
    busy = [await queue.enqueue(block, (1,)) for _ in range(2)]
    job = await queue.enqueue(echo, ("never",))

    await job.cancel()

    for each in busy:
        await each.result(PATIENCE)
    await until(lambda: flower.is_in("REVOKED", job.id))
