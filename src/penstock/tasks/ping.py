"""A job that does nothing but say where it ran: whether a queue is served, by whom, how soon."""

from __future__ import annotations

import os
import socket
from typing import Final

import msgspec

from penstock.tasks.task import AsyncTask, declare

PING: Final = "ping"


class Pong(msgspec.Struct, frozen=True):
    """Who ran it."""

    host: str
    pid: int


def ping_task() -> AsyncTask[[], Pong]:
    """The task; any queue takes its jobs."""

    @declare(name=PING, priority="urgent", retries=0, timeout=10, expires="1m", keep="1h")
    async def ping() -> Pong:
        """Do nothing, and say where."""
        return Pong(socket.gethostname(), os.getpid())

    return ping
