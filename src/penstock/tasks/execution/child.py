"""The child process that runs functions declared with `process=True`, one at a time.

    python -m penstock.tasks.execution.child <fd>      started by `process.py`, never by hand

The main thread runs functions, so that SIGTERM can interrupt them; a second thread reads, a third
sends progress. When the parent is gone, however it ended, the reader sees the end of the stream and
this process group dies with it: nobody would take the result. Functions are imported by their
address; nothing is unpickled.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final, Literal

import msgspec

from penstock.errors import UnknownTask
from penstock.observe.logging import request_id, trace_id
from penstock.tasks.context import Running, bind
from penstock.tasks.engine import Failed
from penstock.tasks.execution.failure import failure, frames_of
from penstock.tasks.execution.messages import (
    Begun,
    Call,
    Ended,
    Hello,
    Inbox,
    Raised,
    Report,
    Returned,
    ToChild,
    ToParent,
    packed,
    read_for_child,
)
from penstock.tasks.job import Progress
from penstock.tasks.retry import RetryPolicy
from penstock.tasks.task import Task

REPORT_INTERVAL: Final = 0.05  # seconds between two messages of progress
INSIST_INTERVAL: Final = 0.02
EXIT_SECONDS: Final = 5.0  # for what users' modules do at exit, when nobody is left to kill us

_ANY: Final = RetryPolicy()


class Told(BaseException):
    """The parent wants the function to end; no `except Exception` of a user stops it."""


class Child:
    """The far end of `process.Child`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._sending = threading.Lock()
        self._phase: Literal["idle", "running", "answering"] = "idle"
        self._is_told = False
        self._main = threading.get_ident()
        self._reports = Reports(self._send)

    def serve(self) -> None:
        """Run what comes until the parent is gone, or closes its end."""
        signal.signal(signal.SIGTERM, self._terminate)
        _daemon(self._read, "penstock-parent")
        _daemon(self._reports.run, "penstock-progress")
        while (call := self._calls.get()) is not None:
            # Announced before anything of the user's is imported: that may kill the process too.
            self._send(Begun())
            answer = Context().run(self._answer, call)
            self._reports.flush()
            self._send(answer)
            self._phase = "idle"

    def _send(self, message: ToParent) -> None:
        with self._sending, suppress(OSError):  # the parent is gone: the reader sees to it
            self._connection.sendall(packed(message))

    def _answer(self, call: Call) -> ToParent:
        request_id.set(call.request_id)
        trace_id.set(call.trace_id)
        bind(Running(call.job_id, call.attempt, call.owner, self._reports.add, self._was_told))
        try:
            self._phase = "running"
            return self._run(call)
        except Told as error:
            return Ended(frames_of(error))
        finally:
            self._phase = "answering"

    def _run(self, call: Call) -> ToParent:
        policy = _ANY
        try:
            task = find(call.address)
            policy = task.policy
            args, kwargs = task.unpack(bytes(call.arguments))
            value = task.function(*args, **kwargs)
            self._phase = "answering"
            try:
                return Returned(msgspec.Raw(task.pack_result(value)))
            except Exception as error:  # the same function would give the same kind of value again
                return _raised(failure(error, policy)._replace(retryable=False))
        except Told as error:
            return Ended(frames_of(error))
        except BaseException as error:  # SystemExit too: it would look like a lost process
            return _raised(failure(error, policy))

    def _was_told(self) -> bool:
        return self._is_told

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        """Handle SIGTERM. Others than the parent may send it (systemd does, to all processes of a
        service, when it stops one): then the parent decides how long its job may still take.
        """
        if self._phase == "idle":
            sys.exit(0)
        if self._phase == "running" and self._is_told:
            self._phase = "answering"  # once: what cleans up is not interrupted again
            raise Told("the parent process wants it to end")

    def _read(self) -> None:
        inbox = Inbox()
        try:
            while data := self._connection.recv(1 << 16):
                for body in inbox.add(data):
                    self._take(read_for_child(body))
        finally:
            if self._phase != "running":
                self._calls.put(None)
                threading.Event().wait(EXIT_SECONDS)
            _die()

    def _take(self, message: ToChild) -> None:
        if isinstance(message, Call):
            self._calls.put(message)
        elif isinstance(message, Hello):
            sys.path[:] = message.path
        else:
            self._is_told = True
            _daemon(self._insist, "penstock-end")

    def _insist(self) -> None:
        """Interrupt the main thread. One signal is not enough: when it comes just before a lock
        is waited for, Python looks at it only after the wait, which may never end.
        """
        pause = threading.Event()
        while self._phase != "answering":
            signal.pthread_kill(self._main, signal.SIGTERM)
            pause.wait(INSIST_INTERVAL)


class Reports:
    """Sends the latest progress, at most every 50 ms, and never forgets the last.

    A thread of its own sends, so that SIGTERM cannot cut a message of the main thread in two.
    """

    def __init__(self, send: Callable[[ToParent], None]) -> None:
        self._send = send
        self._latest: Progress | None = None
        self._is_asked = False
        self._asks: SimpleQueue[None] = SimpleQueue()
        self._sending = threading.Lock()

    def add(self, progress: Progress) -> None:
        """Take what the function says."""
        self._latest = progress
        if not self._is_asked:
            self._is_asked = True
            self._asks.put(None)

    def run(self) -> None:
        """Send what is asked for, in a thread."""
        pause = threading.Event()
        while True:
            self._asks.get()
            self._is_asked = False  # first: what comes from now on asks again
            self.flush()
            pause.wait(REPORT_INTERVAL)

    def flush(self) -> None:
        """Send what was not sent yet."""
        with self._sending:
            latest, self._latest = self._latest, None
            if latest is not None:
                self._send(Report(latest))


def find(address: str) -> Task[..., Any]:
    """The task at "module:qualname". Raises ImportError, or UnknownTask."""
    module, _, path = address.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    if isinstance(found, Task):
        return found
    if callable(found):  # declared under another name than its own
        return Task(found)
    raise UnknownTask(f"{address} is no function any more")


def main() -> None:
    """Serve the process at the other end of the given file descriptor."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)  # what the functions start must not keep the stream open
    os.environ["PENSTOCK_TASK_WORKERS"] = "0"  # a function that enqueues must not run jobs here too
    Child(connection).serve()


def _raised(failed: Failed) -> Raised:
    return Raised(*failed)


def _daemon(target: Callable[[], None], name: str) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()


def _die() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with all that the function started
    os._exit(1)


if __name__ == "__main__":
    main()
