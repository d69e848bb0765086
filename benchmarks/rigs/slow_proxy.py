"""A loopback TCP proxy that misbehaves as told: slow, silent, cut off, reset, refusing.

    with SlowProxy(redis.port, round_trip=0.004) as proxy:
        ...                 # a client of 127.0.0.1:proxy.port
        proxy.freeze()      # connections stay open and are accepted; nothing passes
        proxy.thaw()        # what waited goes through, in order
        proxy.cut()         # every open connection ends (FIN); new ones are welcome
        proxy.reset()       # every open connection ends with RST
        proxy.refuse()      # cut, and nobody listens any more; `accept()` listens again
        assert proxy.attempts == 3

A delay does not cost throughput: bytes that follow each other are delayed beside each other, as on
a long line. The proxy runs in a thread with a loop of its own, so synchronous and asynchronous
tests use it alike; its methods may be called from any thread and have taken effect when they
return.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from benchmarks.load import free_port

CHUNK = 1 << 16
AHEAD = 64  # chunks that a direction holds back at most, before it stops reading
PATIENCE = 30.0  # seconds for the thread to do as it is told

_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing throws away what waits and sends RST


class SlowProxy:
    """Passes bytes on to `host:target`; a context manager, `async with` too.

    `round_trip` is divided over both directions; `up` and `down` are the seconds for each, may be
    changed at any time, and hold for what arrives from then on.

    `connections` counts those accepted, `attempts` the pieces of data that clients sent (one per
    request of a client that waits for its answers, frozen or not), `open` the present connections.
    """

    def __init__(
        self,
        target: int,
        *,
        host: str = "127.0.0.1",
        round_trip: float = 0.0,
        up: float | None = None,
        down: float | None = None,
    ) -> None:
        self.up = round_trip / 2 if up is None else up
        self.down = round_trip / 2 if down is None else down
        self.connections = 0
        self.attempts = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self._target = (host, target)
        self._lines: set[_Line] = set()
        self._socket = _listen(free_port())  # `accept` listens on it again: nobody else may get it
        self.port: int = self._socket.getsockname()[1]
        self._serving: set[asyncio.Future[None]] = set()
        self._flowing: asyncio.Event
        self._empty: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._leave: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow-proxy", daemon=True)

    @property
    def url(self) -> str:
        """For a Redis client; append `/0` and the like."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Connections of clients that are open now."""
        return len(self._lines)

    @property
    def is_frozen(self) -> bool:
        """Whether nothing passes at present."""
        return not self._flowing.is_set()

    def freeze(self) -> None:
        """Let nothing pass, in either direction; connections stay open and are accepted."""
        self._do(self._flowing.clear)

    def thaw(self) -> None:
        """Let everything pass again, what waited first."""
        self._do(self._flowing.set)

    def cut(self) -> None:
        """End every open connection; who connects anew is served."""
        self._do(lambda: self._end_all(abruptly=False))

    def reset(self) -> None:
        """End every open connection with RST."""
        self._do(lambda: self._end_all(abruptly=True))

    def refuse(self) -> None:
        """End every open connection and stop listening: connecting is refused at once."""
        self._wait(self._refuse())

    def accept(self) -> None:
        """Listen again on the same port."""
        self._wait(self._accept())

    def __enter__(self) -> SlowProxy:
        self._thread.start()
        if not self._ready.wait(timeout=PATIENCE):
            raise RuntimeError("the proxy's thread did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(timeout=PATIENCE)

    async def __aenter__(self) -> SlowProxy:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.__exit__)

    # --- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave, self._flowing, self._empty = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._flowing.set()
        self._empty.set()
        self._listen()
        self._ready.set()
        await self._leave.wait()
        await self._refuse()

    def _listen(self) -> None:
        # Not asyncio's server: one that is closed with a client just accepted loses its connection.
        self._loop.add_reader(self._socket, self._welcome)

    def _welcome(self) -> None:
        try:
            client, _ = self._socket.accept()
        except OSError:
            return  # it left again
        self.connections += 1
        client.setblocking(False)
        line = _Line()
        self._lines.add(line)
        self._empty.clear()
        serving = asyncio.ensure_future(self._serve_one(line, client))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve_one(self, line: _Line, client: socket.socket) -> None:
        try:
            near, line.near = await asyncio.open_connection(sock=client)
            far, line.far = await asyncio.open_connection(*self._target)
            if not line.is_ended:
                line.tasks = [
                    asyncio.ensure_future(self._carry(near, line.far, is_up=True)),
                    asyncio.ensure_future(self._carry(far, line.near, is_up=False)),
                ]
                await asyncio.wait(line.tasks, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # nobody is there: the client sees its connection end
        finally:
            self._lines.discard(line)
            line.end(abruptly=line.is_cut)
            await asyncio.gather(*line.tasks, return_exceptions=True)
            if not self._lines:
                self._empty.set()

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        """Move bytes in one direction until one side ends."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(AHEAD)
        sender = asyncio.ensure_future(self._send(waiting, target))
        try:
            while data := await source.read(CHUNK):
                if is_up:
                    self.attempts += 1
                    self.bytes_up += len(data)
                else:
                    self.bytes_down += len(data)
                delay = self.up if is_up else self.down
                await waiting.put((self._loop.time() + delay, data))
            await waiting.put((0.0, b""))
            await sender
        except OSError:
            pass  # one side is gone
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(
        self, waiting: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await waiting.get()
            if not data:
                return
            if (pause := due - self._loop.time()) > 0:
                await asyncio.sleep(pause)
            await self._flowing.wait()
            try:
                target.write(data)
                await target.drain()
            except OSError:
                return

    def _end_all(self, *, abruptly: bool) -> None:
        for line in list(self._lines):
            line.end(abruptly=abruptly)

    async def _refuse(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        self._end_all(abruptly=False)
        await self._empty.wait()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self) -> None:
        if self._socket.fileno() < 0:
            self._socket = _listen(self.port)
            self._listen()

    def _do(self, act: Callable[[], None]) -> None:
        async def acting() -> None:
            act()

        self._wait(acting())

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


class _Line:
    """One client's connection and the one made for it."""

    def __init__(self) -> None:
        self.near: asyncio.StreamWriter | None = None
        self.far: asyncio.StreamWriter | None = None
        self.tasks: list[asyncio.Future[None]] = []
        self.is_ended = False
        self.is_cut = False  # by RST

    def end(self, *, abruptly: bool) -> None:
        self.is_ended, self.is_cut = True, abruptly
        for task in self.tasks:
            task.cancel()
        for writer in (self.near, self.far):
            if writer is not None:
                writer.close()
        if abruptly and self.near is not None:
            sock = self.near.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.near.transport.abort()


def _listen(port: int) -> socket.socket:
    # The protocol is named so that asyncio sets TCP_NODELAY on what is accepted.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(512)
    sock.setblocking(False)
    return sock
