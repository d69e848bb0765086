"""`app` for hosts that start a process per burst of requests: no lifespan, no disk, nobody to wait.

    PENSTOCK_HOME   a temporary folder: what must last is in PostgreSQL (DATABASE_URL) and Redis
    cache           memory, and Redis where REDIS_URL is set; no file
    jobs            sent to Celery's workers (CELERY_BROKER_URL), which run elsewhere; without them
                    a job runs in the request that enqueues it

The parts are opened by the first request, on its event loop. Some hosts make a loop per request:
from the second loop on, one thread with a loop of its own serves all of them.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from penstock.http.asgi import Message, Receive, Scope, Send
from penstock.observe import logging
from penstock.observe.logging import get_logger
from penstock.server.app import Server
from penstock.settings import Settings, load_settings

__all__ = ["Serverless", "app", "on_no_disk"]

_log = get_logger(__name__)


def on_no_disk(settings: Settings) -> Settings:
    """These settings, for a place where nothing can be kept."""
    tiers = [tier for tier in settings.cache if tier != "disk"]
    if settings.redis and "redis" not in tiers:
        tiers.append("redis")
    return settings.model_copy(
        update={
            "home": Path(tempfile.gettempdir()) / "penstock",
            "log_dir": None,
            "cache": tuple(tiers),
            "task_workers": 0,
            "tasks": "celery" if settings.tasks == "celery" else "inline",
            "workers": 1,
        }
    )


class Serverless:
    """An ASGI application that opens itself when it is first asked."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._given = settings
        self._opening = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that the parts live on
        self._own: asyncio.AbstractEventLoop | None = None  # that of the thread, if there is one
        self._server: Server | None = None
        self._opened: asyncio.Future[None] | None = None
        self._stack = AsyncExitStack()
        self._left: AsyncExitStack | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        loop = self._choose(asyncio.get_running_loop())
        if loop is asyncio.get_running_loop():
            await self._serve(scope, receive, send)
            return
        here = asyncio.get_running_loop()
        work = self._serve(scope, _from(here, receive), _to(here, send))
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    async def aclose(self) -> None:
        """Write what waits and close the parts; on the loop that they live on."""
        await self._stack.aclose()
        self._server = self._opened = self._loop = None

    async def _live(self, receive: Receive, send: Send) -> None:
        """A host that knows lifespans after all: its end is ours."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._loop is asyncio.get_running_loop():
            await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    def _choose(self, running: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        """The loop that serves: the first one, as long as requests come on no other."""
        with self._opening:
            if self._own is not None:
                return self._own
            if self._loop is None:
                self._loop = running
            if self._loop is running:
                return running
            # What lives on the former loop is out of reach; kept, since nothing can end it there.
            self._left, self._stack = self._stack, AsyncExitStack()
            self._server = self._opened = None
            self._own = self._loop = asyncio.new_event_loop()
            name = "penstock-serverless"
            threading.Thread(target=self._own.run_forever, name=name, daemon=True).start()
            return self._own

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._open())
        try:
            await asyncio.shield(self._opened)  # it belongs to no request
        except BaseException:
            if self._opened is not None and self._opened.done():
                self._opened = None  # the next request tries again
            raise
        server = self._server
        assert server is not None
        await server(scope, receive, send)

    async def _open(self) -> None:
        settings = on_no_disk(self._given or load_settings().settings)
        logging.configure(settings.log_level, format=settings.log_format)
        if settings.database.startswith("sqlite"):
            _log.warning(
                "serverless.nothing_is_kept",
                why="DATABASE_URL is not set: keys and verdicts end with this process",
            )
        server = Server(settings)
        await self._stack.enter_async_context(server.running())
        self._server = server


def _from(loop: asyncio.AbstractEventLoop, receive: Receive) -> Receive:
    """The same, called from another loop."""

    async def received() -> Message:
        asked: Any = receive()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, loop))

    return received


def _to(loop: asyncio.AbstractEventLoop, send: Send) -> Send:
    async def sent(message: Message) -> None:
        told: Any = send(message)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(told, loop))

    return sent


app = Serverless()
