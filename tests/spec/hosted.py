"""Celery workers inside the test process, so that a test's own closures can be their tasks.

Each is Celery's `WorkController` with our parts, on an event loop of its own in a thread, and runs
jobs on the test's loop. `tests/tasks/celery` starts the same as processes.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from typing import Any

from celery.exceptions import WorkerShutdown
from celery.worker import WorkController
from kombu.asynchronous import set_event_loop

from penstock.clock import SystemClock
from penstock.tasks import Task, TaskQueue
from penstock.tasks.celery.address import parse
from penstock.tasks.celery.app import JobApp, make_app, transport
from penstock.tasks.celery.beat import Firing
from penstock.tasks.celery.worker.bench import Bench
from penstock.tasks.celery.worker.parts import begin_rounds
from penstock.tasks.celery.worker.place import engine_of
from penstock.tasks.engine import Added, NewJob
from penstock.tasks.job import QUEUES

PATIENCE = 60.0
_names = count()


class Places:
    """The benches of all workers of this process; a pool's threads bear their worker's name."""

    def __init__(self) -> None:
        self.benches: dict[str, Bench] = {}

    def bench(self) -> Bench:
        return self.benches[threading.current_thread().name.rpartition("_")[0]]

    def close(self) -> None:
        """Nothing: the benches belong to the tests."""


@cache
def app_of(url: str) -> tuple[JobApp, Places]:
    """One application for each broker: Celery optimises for one in a process."""
    places = Places()
    address = parse(url)
    quick = {**transport(address), "polling_interval": 0.1}  # the last one delays a worker's end
    app = make_app(
        address,
        place=places,
        broker_transport_options=quick,
        result_backend_thread_safe=True,  # or each thread of a pool leaves a connection behind
    )
    app.set_current()
    app.set_default()
    app.finalize()
    return app, places


async def host(queue: TaskQueue, url: str, workers: int | Mapping[str, int]) -> None:
    """Run the jobs of a queue by workers that end with it."""
    counts = dict.fromkeys(QUEUES, workers) if isinstance(workers, int) else workers
    if not any(counts.values()):
        return
    hosted = Hosted(queue, url, counts)
    engine = engine_of(queue)
    add, stop, start = engine.add, engine.stop, engine.start

    async def add_and_take(jobs: Sequence[NewJob]) -> list[Added]:
        if any(job.queue != "default" for job in jobs):
            await hosted.take_others()
        return await add(jobs)

    async def start_and_fire(tasks: Mapping[str, Task[..., Any]]) -> None:
        await start(tasks)
        if any(task.schedule for task in tasks.values()):
            hosted.fire()

    async def end_and_stop(*, grace: float) -> None:
        await hosted.stop(grace)
        await stop(grace=grace)

    engine.add, engine.start, engine.stop = add_and_take, start_and_fire, end_and_stop  # type: ignore[method-assign,assignment]
    await hosted.start()
    await engine.start(queue.tasks)


class Hosted:
    """The workers of one queue object: one for `default`, one for the other queues, if used."""

    def __init__(self, queue: TaskQueue, url: str, workers: Mapping[str, int]) -> None:
        self._queue = queue
        self._app, self._places = app_of(url)
        self._workers = workers
        self._bench: Bench
        self._running: list[Running] = []
        self._firing: threading.Thread | None = None
        self._ended = threading.Event()
        self._url = url
        self.node = f"hosted-{next(_names)}"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._bench = Bench(engine_of(self._queue), loop=loop, node=self.node)
        await self._bench.start()
        await self.take(("default",))

    async def take(self, queues: tuple[str, ...]) -> None:
        """Begin to take jobs of these queues."""
        wanted = [name for name in queues if self._workers.get(name)]
        if not wanted:
            return
        node = f"{self.node}-{len(self._running)}@here"
        self._places.benches[node] = self._bench
        running = Running(self._app, node, wanted, self._workers[wanted[0]])
        self._running.append(running)
        await asyncio.to_thread(running.start)

    async def take_others(self) -> None:
        if len(self._running) == 1:
            await self.take(QUEUES[1:])

    def fire(self) -> None:
        """Fire schedules, as beat does."""
        if self._firing is None:
            self._firing = threading.Thread(target=self._beat, daemon=True)
            self._firing.start()

    def _beat(self) -> None:
        firing = Firing(parse(self._url), clock=SystemClock())
        while not self._ended.wait(firing.look()):
            continue
        firing.close()

    async def stop(self, grace: float) -> None:
        self._ended.set()
        for running in self._running:
            running.end()
        await self._bench.stop(grace)
        for running in self._running:
            await asyncio.to_thread(running.join)
        # Workers set it while they end and put it back, each what the other had set.
        socket.setdefaulttimeout(None)
        if self._firing is not None:
            await asyncio.to_thread(self._firing.join, PATIENCE)


class HostedWorker(WorkController):
    """Celery's, with our rounds, but without what only a program does."""

    def on_start(self) -> None:
        super().on_start()
        self.rounds = begin_rounds(self, tick=0.05)

    def on_stopped(self) -> None:
        super().on_stopped()
        self.rounds.leave()


class Running:
    """One worker in a thread."""

    def __init__(self, app: JobApp, node: str, queues: list[str], concurrency: int) -> None:
        self._app = app
        self._options: dict[str, Any] = {
            "hostname": node,
            "pool": "threads",
            "concurrency": concurrency,
            "without_mingle": True,
            "without_gossip": True,
            "without_heartbeat": True,
        }
        self._queues = queues
        self._ready = threading.Event()
        self._is_ending = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=node, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        self._is_ending = True

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            set_event_loop(None)  # or it would be the one of the worker before
            worker = HostedWorker(
                self._app, queues=self._queues, ready_callback=self._is_ready, **self._options
            )
            worker.pool.executor = ThreadPoolExecutor(worker.concurrency, worker.hostname)
            worker.timer.call_repeatedly(0.02, self._look)
            worker.start()
        except BaseException as error:
            self._error = error
            self._ready.set()

    def _is_ready(self, _: object) -> None:
        self._ready.set()

    def _look(self) -> None:
        if self._is_ending:
            raise WorkerShutdown(0)
