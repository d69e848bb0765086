"""The Celery application that `celery -A penstock.celery_app` finds, made of an address."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Any, Final, cast

import billiard.pool
from celery import Celery, current_app, signals
from kombu import Queue

from penstock.clock import Clock, SystemClock
from penstock.net.redis_tls import for_celery
from penstock.tasks.celery.address import Address
from penstock.tasks.celery.worker.parts import BEFORE_KILL, JobRegistry, JobTask, Worker
from penstock.tasks.celery.worker.place import Place
from penstock.tasks.celery.worker.rounds import Rounds
from penstock.tasks.job import NORMAL, QUEUES
from penstock.tasks.task import Task

GRACE: Final = 10.0  # seconds that jobs have to end when their worker is asked to
CHILD_START: Final = 120.0  # seconds that a process of the pool has to open all it needs
CHILD_JOBS: Final = 10_000  # after so many it is replaced
CHILD_KILOBYTES: Final = 1 << 20  # above 1 GB it is replaced, after its job
RESULTS_READ: Final = 20  # tenths of a second that a process that ends waits for its parent
RESULT_SECONDS: Final = (
    86_400  # that Celery keeps what it is told of a result; our record has its own
)


class JobApp(Celery):
    """Celery with our tasks, worker and beat; `place` is where a process runs jobs."""

    registry_cls = JobRegistry  # type: ignore[assignment] # a class does as well as its name
    address: Address
    place: Place
    machine: Clock  # `clock` is Celery's name for something else
    node: str = ""
    rounds: Rounds | None = None

    def declare(self, name: str, timeout: float | None = None) -> JobTask:
        """Let tickets of this task be taken; `timeout` kills its process, long after its own."""
        kind = type("JobTask", (JobTask,), {"name": name, "abstract": False, "app": self})
        task: JobTask = self.register_task(kind())
        if timeout is not None:
            task.time_limit = ceil(timeout + BEFORE_KILL)
        return task

    @property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        """What `celery worker` runs."""
        return self.subclass_with_self(Worker, name="Worker")


def make_app(
    address: Address,
    *,
    place: Place,
    tasks: Iterable[Task[..., Any]] = (),
    clock: Clock | None = None,
    **settings: Any,
) -> JobApp:
    """An application whose workers run jobs at `place`; `settings` are Celery's, and win."""
    (broker, _), (backend, _) = for_celery(address.broker), for_celery(address.backend)
    app = JobApp("penstock", broker=broker, backend=backend, set_as_current=False)
    app.address, app.place, app.machine = address, place, clock or SystemClock()
    app.conf.update({**configuration(address), **settings})
    cast(JobRegistry, app.tasks).make = app.declare
    for task in tasks:
        app.declare(task.name, task.timeout)
    signals.worker_process_init.connect(_process_began, dispatch_uid="penstock")
    signals.worker_process_shutdown.connect(_process_ends, dispatch_uid="penstock")
    return app


def configuration(address: Address) -> dict[str, Any]:
    """Celery's settings; each is what a promise of ours needs."""
    found: dict[str, Any] = {
        # JSON and nothing else: a message with pickle in it is refused.
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_expires": RESULT_SECONDS,
        "task_queues": [Queue(name, routing_key=name) for name in QUEUES],
        "task_default_queue": QUEUES[0],
        "task_create_missing_queues": False,
        "task_default_priority": NORMAL,
        # A job is acknowledged when it has ended, and nobody holds one that does not run.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "broker_transport_options": transport(address),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A claim outlives a broken connection, and so does what runs under it; a worker that comes
        # back takes as much as before.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_prefetch_count_reduction": False,
        "worker_max_tasks_per_child": CHILD_JOBS,
        "worker_max_memory_per_child": CHILD_KILOBYTES,
        "worker_proc_alive_timeout": CHILD_START,
        "worker_soft_shutdown_timeout": GRACE,
        "worker_consumer": "penstock.tasks.celery.worker.parts:Consumer",
        "beat_scheduler": "penstock.tasks.celery.beat:BeatScheduler",
        "timezone": "UTC",
    }
    for setting, url in (
        ("broker_use_ssl", address.broker),
        ("redis_backend_use_ssl", address.backend),
    ):
        _, options = for_celery(url)
        if options is not None:
            found[setting] = options
    return found


def transport(address: Address) -> dict[str, Any]:
    """How kombu uses Redis."""
    return {
        "priority_steps": list(range(10)),  # 0 first, in lists `queue`, `queue:1` ... `queue:9`
        "sep": ":",
        # Levels come before queues: of equal ones the queues take turns, so that none starves.
        "queue_order_strategy": "round_robin",
        "visibility_timeout": address.visibility,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }


def _process_began(**_: Any) -> None:
    """Open the place of a process of the pool before its first job."""
    # A process that ends waits until its parent has read its last result, for 30 seconds, and a
    # parent that ends reads none. What we know of a job is written down before.
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = RESULTS_READ
    _current().place.bench()


def _process_ends(**_: Any) -> None:
    _current().place.close()


def _current() -> JobApp:
    return cast(JobApp, cast(Any, current_app)._get_current_object())
