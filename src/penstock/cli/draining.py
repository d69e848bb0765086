"""A uvicorn server that says it will end before it does.

After SIGTERM `/readyz` answers 503 and every response closes its connection, while new requests are
still taken and answered: whoever shares out the requests (nginx, Kubernetes) has time to learn that
this server is no choice any more. Only then does it stop listening, and lets what runs end.

    SIGTERM ─ not ready, still serving ─ `drain` seconds ─ not listening ─ all answered ─ the end

SIGINT, and a second SIGTERM, skip the wait.
"""

from __future__ import annotations

import asyncio
import signal
from types import FrameType

import uvicorn

from penstock.observe.logging import get_logger
from penstock.server.routes.system import DRAINING

_CLOSE = (b"connection", b"close")
_log = get_logger("penstock.server")


class DrainingServer(uvicorn.Server):
    """Serves for `drain` seconds more after it was asked to end."""

    def __init__(self, config: uvicorn.Config, *, drain: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._asked = False
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and self._drain and self.started and not self._asked:
            self._asked = True  # the next tick, on the loop, does the rest
            return
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._asked:
            now = asyncio.get_running_loop().time()
            if self._until is None:
                self._until = now + self._drain
                self._announce()
            if now >= self._until:
                self.should_exit = True
        return await super().on_tick(counter)

    def _announce(self) -> None:
        _log.info("server.draining", seconds=self._drain)
        self.lifespan.state[DRAINING] = True  # in the scope of each request from now on
        # uvicorn makes the headers of all responses of these, once a second.
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
