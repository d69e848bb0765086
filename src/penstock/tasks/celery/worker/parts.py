"""Celery's parts with what ours differ in: named in the configuration, so its own CLI uses them."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import msgspec
from billiard.exceptions import WorkerLostError
from celery import states
from celery.app.registry import TaskRegistry
from celery.app.task import Task
from celery.app.trace import build_tracer
from celery.apps.worker import Worker as CeleryWorker
from celery.exceptions import CPendingDeprecationWarning, Ignore, Reject, Retry, TaskRevokedError
from celery.worker.consumer.consumer import Consumer as CeleryConsumer
from celery.worker.request import Request as CeleryRequest

from penstock.errors import InvalidInput, JobCancelled, JobFailed, StorageError, UnknownTask
from penstock.observe.logging import get_logger
from penstock.tasks.celery.remote import RemoteSync
from penstock.tasks.celery.worker.rounds import TICK, Rounds
from penstock.tasks.engine import Completed, Failed

if TYPE_CHECKING:
    from penstock.tasks.celery.app import JobApp
    from penstock.tasks.celery.worker.bench import Bench, Ended

_log = get_logger("penstock.worker")

TRANSPORT = "penstock.tasks.celery.worker.transport:Transport"
NOT_OPENED = 2.0  # seconds that a process rests which cannot open what its jobs need
BEFORE_KILL = 15.0  # seconds after its own time-out in which a job's process may still end itself


class Revoked(Ignore):
    """A job was cancelled or has expired: Celery's own end of it, with the event that says so."""


class JobTask(Task):  # type: ignore[type-arg]
    """What Celery runs for a ticket. It has no arguments: those are in the job's record."""

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    typing = False
    throws = (JobFailed, JobCancelled, InvalidInput, UnknownTask)  # no news: a line, no traceback
    resultrepr_maxsize = 0  # results do not belong into logs
    Request = "penstock.tasks.celery.worker.parts:JobRequest"

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the job; for a message of Celery's own making, accept one and give its id."""
        request = self.request
        bench = self._bench()
        ticket = request.get("ticket")
        try:
            if ticket is None:
                message = str(request.id)
                return bench.adopt(self.name, list(args), kwargs, message=message)
            ended = bench.work(self.name, str(request.id), ticket)
        except StorageError as error:  # nothing has begun
            raise Reject(error.detail, requeue=True) from error
        except KeyError:
            raise UnknownTask(f"no task is called {self.name!r} in this worker") from None
        return self._answer(str(request.id), ended)

    def _bench(self) -> Bench:
        """Where jobs run; a process that cannot open one gives its ticket back, and tries again."""
        try:
            return cast("JobApp", self.app).place.bench()
        except Exception as error:  # whatever it needs may be away: a database, a file, a module
            _log.exception("worker.process_not_opened", again_in=NOT_OPENED)
            threading.Event().wait(NOT_OPENED)  # or it would take one ticket after the other
            raise Reject(str(error), requeue=True) from error

    def _answer(self, job_id: str, ended: Ended) -> Any:
        state, outcome = ended
        if state == "completed" and type(outcome) is Completed:
            return msgspec.json.decode(outcome.result)
        if type(outcome) is Failed:
            why = f"{outcome.type}: {outcome.message}"
            if state == "queued":
                raise Retry(why, exc=JobFailed(why))
            if state == "failed":
                raise JobFailed(why)
        if state in ("cancelled", "expired"):
            error = TaskRevokedError(state)
            self.backend.store_result(job_id, error, states.REVOKED, request=self.request)
            raise Revoked(state)
        raise Ignore


class JobRequest(CeleryRequest):
    """A ticket in the main process, which sees processes of the pool die."""

    _already_cancelled: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rounds = cast("JobApp", self.app).rounds
        if rounds is not None and self.ticket is not None:
            rounds.take(self)

    @property
    def ticket(self) -> str | None:
        return cast("str | None", self.request_dict.get("ticket"))

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, Revoked):  # else Flower would show it as running for ever
            is_expired = error.args == ("expired",)
            self.send_event("task-revoked", terminated=False, signum=None, expired=is_expired)
        is_lost = isinstance(error, WorkerLostError | SystemExit)
        if is_lost and not self._already_cancelled:
            self._lose("Lost", "its process died while it ran")
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        if not soft:
            self._lose("Timeout", "it took longer than its time and was killed with its process")
        super().on_timeout(soft, timeout)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        rounds = cast("JobApp", self.app).rounds
        if rounds is not None and self.ticket is not None:
            rounds.cancel(str(self.id))
            if terminated:
                self._lose("Lost", "its process was told to end")
        super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]

    def _lose(self, kind: str, how: str) -> None:
        rounds, ticket = cast("JobApp", self.app).rounds, self.ticket
        if rounds is not None and ticket is not None:
            rounds.lost(str(self.id), ticket, kind, how)


class JobRegistry(TaskRegistry):
    """Tasks by name. What a ticket names is one, whether it was declared in this process or not:
    that is for the process to say that runs it.
    """

    make: Callable[[str], JobTask]

    def __missing__(self, name: str) -> JobTask:
        task = self.make(name)
        app = task.app
        task.__trace__ = build_tracer(name, task, app.loader, None, app=app)
        return task


class Takings(dict[str, Any]):
    """How messages of each task are taken."""

    consumer: CeleryConsumer

    def __missing__(self, name: str) -> Any:
        app = self.consumer.app
        strategy = self[name] = app.tasks[name].start_strategy(app, self.consumer)
        return strategy


class Consumer(CeleryConsumer):
    """Takes tickets of tasks that the main process does not know, and outlives its broker."""

    Strategies = Takings
    strategies: Takings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.strategies.consumer = self

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        # Not by `broker_transport`: Flower reads in the URL's scheme what kind of broker it is.
        return self.ensure_connected(
            self.app.connection_for_read(heartbeat=heartbeat, transport=TRANSPORT)
        )

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let go of a broken connection.

        kombu 5.7 puts back what runs and acknowledges it on the closed channel; both fail, and with
        them the whole worker. There is nothing to put back, since a claim outlives the connection,
        and tickets that nobody claims are issued anew (`rounds.py`).
        """
        connection: Any = self.connection
        channels = list(getattr(connection._transport, "channels", ()))
        for channel in (*channels, connection._default_channel):
            if channel is not None:
                channel.do_restore = False
                channel.basic_ack = channel.basic_reject = _tell_nobody
        try:
            with warnings.catch_warnings():  # of a default that is set here
                warnings.simplefilter("ignore", CPendingDeprecationWarning)
                super().on_connection_error_after_connected(exc)
        except Exception:
            _log.exception("worker.connection_not_cleaned_up")
            self.connection = None


def _tell_nobody(*_: Any, **__: Any) -> None:
    """Acknowledge to a channel that is closed."""


def begin_rounds(worker: Any, *, tick: float = TICK) -> Rounds:
    """The rounds of a worker, called by its event loop from now on."""
    app: JobApp = worker.app
    rounds = Rounds(
        RemoteSync(app.address, timeout=1.0),
        node=app.node or worker.hostname,
        clock=app.machine,
        queues=list(app.amqp.queues.consume_from),
        concurrency=worker.max_concurrency or worker.concurrency,
        lease=app.address.lease,
    )
    worker.timer.call_repeatedly(tick, rounds.tick)
    return rounds


class Worker(CeleryWorker):
    """A worker that makes our rounds, and gives back what it held when it ends.

    SIGTERM lets what runs end within `worker_soft_shutdown_timeout`. Celery itself would wait for
    it without an end, or, told by REMAP_SIGTERM, for the whole time even if nothing runs any more.
    """

    app: JobApp
    hostname: str
    pool_cls: Any
    consumer: Any
    pool: Any

    def on_start(self) -> None:
        super().on_start()
        self.app.node = f"{self.hostname}/{os.getpid()}"
        self.app.rounds = begin_rounds(self)
        if not self.pool_cls.uses_semaphore:  # jobs run in this process
            self.app.place.bench()

    def stop(self, in_sighandler: bool = False, exitcode: int | None = None) -> None:
        patience = threading.Timer(self.app.conf.worker_soft_shutdown_timeout, self._end_jobs)
        patience.daemon = True
        patience.start()
        try:
            super().stop(in_sighandler, exitcode)
        finally:
            patience.cancel()

    def _end_jobs(self) -> None:
        """End the processes of what still runs: they are waited for."""
        _log.warning("worker.jobs_not_ended", advice="they are given back to the queue")
        self.consumer.cancel_active_requests()
        for process in self.pool.info.get("processes", ()):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)

    def on_stopped(self) -> None:
        super().on_stopped()
        self.app.place.close()
        if self.app.rounds is not None:
            self.app.rounds.leave()
