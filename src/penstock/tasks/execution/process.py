"""Child processes for functions declared with `process=True`: they can be ended at any time.

    take a child (idle, or a new one) ──> Call ──> Begun, Report ... ──> Returned | Raised | Ended
                                             └──> it dies ──> Lost

A child leads a process group of its own: what its functions start ends with it, and Ctrl-C in a
terminal reaches only us. It is told to end by a message and SIGTERM, and made to by SIGKILL;
afterwards it is not used again. It sees for itself when we are gone (`child.py`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Final, cast

import msgspec

from penstock.tasks.engine import Completed, Failed, Outcome, Run, Stopped
from penstock.tasks.execution.attempt import Attempt, Desk
from penstock.tasks.execution.messages import (
    Begun,
    Call,
    End,
    Ended,
    Hello,
    Inbox,
    Raised,
    Report,
    Returned,
    packed,
    read_for_parent,
)
from penstock.tasks.job import Progress

MODULE: Final = "penstock.tasks.execution.child"
START_SECONDS: Final = 60.0  # for an interpreter to start and take its call
STARTS: Final = 2  # children that one attempt may lose before its function was called
LINGER: Final = 0.2  # seconds between the two signs of death: closed stream and exit

Answer = Returned | Raised | Ended


class ChildLost(Exception):
    """The child process ended instead of answering."""


class Child(asyncio.Protocol):
    """One child process; serves one call at a time."""

    def __init__(
        self, process: subprocess.Popen[bytes], *, on_exit: Callable[[Child], None]
    ) -> None:
        self.has_begun = False
        self.exited: asyncio.Future[None]
        self._process = process
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self.exited = self._loop.create_future()
        self._transport: asyncio.Transport
        self._is_connected = True
        self._inbox = Inbox()
        self._attempt: ChildAttempt | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._fd: int | None = None
        self._watch_exit()

    @classmethod
    async def start(cls, *, on_exit: Callable[[Child], None]) -> Child:
        """Start one. Raises OSError when the machine refuses."""
        ours, theirs = socket.socketpair()
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - some ms, and rare: they are kept
                [sys.executable, "-m", MODULE, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        child = cls(process, on_exit=on_exit)
        try:
            await child._loop.create_unix_connection(lambda: child, sock=ours)
        except BaseException:
            child.kill()
            ours.close()
            child._is_connected = False
            raise
        return child

    @property
    def is_alive(self) -> bool:
        """Whether it can be called."""
        return self._is_connected and self._process.returncode is None

    async def run(self, call: Call, attempt: ChildAttempt) -> Answer:
        """Its answer to a call. Raises ChildLost."""
        self.has_begun = False
        self._attempt = attempt
        self._answer = self._loop.create_future()
        if not self.is_alive:
            raise ChildLost(self._end())
        self._transport.write(packed(call))
        late = self._loop.call_later(START_SECONDS, self._kill_late)
        try:
            return await self._answer
        finally:
            late.cancel()
            self._attempt = self._answer = None

    def terminate(self) -> None:
        """Tell its function, and what that started, to end."""
        if self._is_connected:
            self._transport.write(packed(End()))
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, and what its function started."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Let an idle one end by itself."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no common class
        self._transport.write(packed(Hello([os.path.abspath(path) for path in sys.path])))

    def data_received(self, data: bytes) -> None:
        progress: Progress | None = None
        try:
            for message in map(read_for_parent, self._inbox.add(data)):
                if isinstance(message, Report):
                    progress = message.progress
                elif isinstance(message, Begun):
                    self._begun()
                elif self._answer is not None and not self._answer.done():
                    self._answer.set_result(message)
        except (ValueError, msgspec.MsgspecError):  # its memory or its socket is damaged
            self.kill()
        if progress is not None and self._attempt is not None:
            self._attempt.report(progress)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_connected = False
        if self._process.returncode is None:
            # What goes on without the stream is of no use to anybody.
            self._loop.call_later(LINGER, self.kill)
            if self._fd is None:
                self._loop.call_later(LINGER, self._reap)
        self._settle()

    def _begun(self) -> None:
        self.has_begun = True
        if self._attempt is not None:
            self._attempt.begun()

    def _kill_late(self) -> None:
        if not self.has_begun:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:  # not reaped: the number is still its own
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _watch_exit(self) -> None:
        """Notice its death even if something that it started keeps the stream open (Linux)."""
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._fd = os.pidfd_open(self._process.pid)
                self._loop.add_reader(self._fd, self._reap)

    def _reap(self) -> None:
        self.kill()  # what it left behind, while the number of the group is still its own
        if self._process.poll() is None:
            if self._fd is None:
                self._loop.call_later(0.01, self._reap)
            return
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
        if self._is_connected:  # what it sent at last may still be in the stream
            self._loop.call_later(LINGER, self._transport.abort)
        self._settle()

    def _settle(self) -> None:
        """It is gone when it has exited and all that it sent was read."""
        if self._is_connected or self._process.returncode is None or self.exited.done():
            return
        self.exited.set_result(None)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ChildLost(self._end()))
        self._on_exit(self)

    def _end(self) -> str:
        code = self._process.returncode
        if code is not None and code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return "its process closed the connection" if code is None else f"its process exited {code}"


class Children:
    """The children of one execution: at most `limit`, started when they are needed, kept."""

    def __init__(self, limit: int, *, grace: float) -> None:
        self._limit = max(1, limit)
        self._grace = grace
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._starting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> Child:
        """A child for one call; waits while all are taken. Raises OSError."""
        is_next = not self._waiting
        while True:
            if is_next and self._idle:
                return self._idle.pop()
            if is_next and len(self._all) + self._starting < self._limit:
                return await self._start()
            await self._wait()
            is_next = True

    def give_back(self, child: Child, *, usable: bool) -> None:
        """After its call, or without one."""
        if usable and child.is_alive:
            self._idle.append(child)
            self._wake()
        else:
            self._retire(child)

    async def aclose(self) -> None:
        """End all of them."""
        children = list(self._all)
        for child in children:
            self._retire(child)
        if children:
            await asyncio.wait([child.exited for child in children], timeout=self._grace)
            for child in children:
                child.kill()
            await asyncio.gather(*(child.exited for child in children))

    async def _start(self) -> Child:
        self._starting += 1
        try:
            child = await Child.start(on_exit=self._forget)
        except BaseException:
            self._wake()
            raise
        finally:
            self._starting -= 1
        self._all.add(child)
        return child

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:
                self._wake()  # it was our turn: let the next one have it
            raise

    def _wake(self) -> None:
        if self._waiting:
            self._waiting.popleft().set_result(None)

    def _retire(self, child: Child) -> None:
        if child.exited.done():
            return
        child.close()
        if child in self._idle:
            self._idle.remove(child)
        asyncio.get_running_loop().call_later(self._grace, child.kill)

    def _forget(self, child: Child) -> None:
        self._all.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        self._wake()


class ChildAttempt(Attempt):
    """An attempt in a child process. Its time runs from when the child took the call."""

    __slots__ = ("_child", "_children", "_task")

    def __init__(self, desk: Desk, run: Run, children: Children) -> None:
        super().__init__(desk, run)
        self._children = children
        self._child: Child | None = None

    def begin(self) -> None:
        self._task = asyncio.Task(self._main(), loop=self.desk.loop, context=Context())

    def begun(self) -> None:
        """The child took the call."""
        if self.run.task.timeout is not None and self.asked is None:
            self.limit(self.run.task.timeout)

    def interrupt(self) -> None:
        if self._child is not None:
            self._child.terminate()
        else:  # it has none yet
            self._task.cancel()
            self.end(self.unfinished())

    def give_up(self) -> None:
        if self._child is not None:
            self._child.kill()
        super().give_up()

    async def _main(self) -> None:
        try:
            outcome = await self._outcome()
        except Exception as error:
            outcome = Failed("Lost", f"no process could be started for it: {error}")
        if self.is_over:
            self.gone()
        else:
            self.end(outcome)

    async def _outcome(self) -> Outcome:
        call = self._call()
        loss = ""
        for _ in range(STARTS):
            child = self._child = await self._children.take()
            self.has_begun = True  # it may have, until the child is known to be gone without
            try:
                return self._outcome_of(await child.run(call, self))
            except ChildLost as lost:
                loss, self.has_begun = str(lost), child.has_begun
                if child.has_begun or self.asked is not None:
                    break
            finally:
                self._child = None
                self._children.give_back(child, usable=self.asked is None)
        if self.asked is not None:
            return self.unfinished()
        return Failed("Lost", loss, retryable=not self.run.task.at_most_once)

    def _call(self) -> Call:
        run = self.run
        return Call(
            run.job_id,
            run.task.address,
            msgspec.Raw(run.arguments),
            run.attempt,
            run.owner,
            run.request_id,
            run.trace_id,
        )

    def _outcome_of(self, answer: Answer) -> Outcome:
        if isinstance(answer, Returned):
            return Completed(bytes(answer.result))
        if self.asked == "timeout":
            return self.timed_out(answer.traceback)
        if self.asked is not None:
            return Stopped()
        assert isinstance(answer, Raised)  # it ends only when it was asked to
        return Failed(*msgspec.structs.astuple(answer))
