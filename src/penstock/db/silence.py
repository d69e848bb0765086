"""Notices that PostgreSQL does not answer at all, and lets nobody wait for it meanwhile.

    answers ── a statement ran into its time-out ─► doubted: a look is taken, callers wait for it
    doubted ── no answer within a second ─────────► silent: callers are refused at once
    any answer, to a look or to a statement ──────► answers

A look is one more connection, and the only one that waits while the server is silent; the next one
begins a second after it was given up. A server that refuses answers, too: it does so fast.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncpg import Connection

from penstock.db.postgres_faults import silent, unanswered
from penstock.observe.logging import get_logger

DOUBT: Final = 1.0  # seconds that callers wait for the first look
PAUSE: Final = 1.0  # between two looks

_log = get_logger("penstock.db")


class Silence:
    """What one loop knows of it. `begins` is called when the server falls silent."""

    def __init__(
        self,
        connect: Callable[[], Coroutine[Any, Any, Connection[Any]]],
        where: str,
        *,
        begins: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._where = where
        self._begins = begins
        self._doubted = False
        self._silent = False
        self._decided = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Future[None] | None = None
        self._closed = False

    async def passed(self) -> None:
        """Return unless the server is silent; then raise StorageUnavailable."""
        if self._doubted and not self._silent:
            await self._decided.wait()
        if self._silent:
            await asyncio.sleep(0)  # who tries again at once must not keep the loop from hearing it
            raise silent(self._where)

    def doubt(self) -> None:
        """Find out whether it answers: something was not answered in time."""
        if self._doubted or self._closed:
            return
        self._doubted = True
        self._decided.clear()
        self._timer = asyncio.get_running_loop().call_later(DOUBT, self.fall)
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look())

    def fall(self) -> None:
        """Hold it for silent until it answers."""
        self.doubt()
        if self._silent or self._closed:
            return
        self._silent = True
        self._decide()
        _log.warning("db.silent", where=self._where)
        self._begins()

    def heard(self) -> None:
        """Note an answer, whatever it was."""
        if not self._doubted:
            return
        if self._silent:
            _log.info("db.answers_again", where=self._where)
        self._doubted = self._silent = False
        self._decide()

    async def aclose(self) -> None:
        """Look no more."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        self.heard()

    def _decide(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._decided.set()

    async def _look(self) -> None:
        try:
            while self._doubted and not await self._answers():
                if self._doubted:  # no statement was answered in the meantime
                    self.fall()
                await asyncio.sleep(PAUSE)
            self.heard()
        finally:
            self._looking = None

    async def _answers(self) -> bool:
        try:
            connection = await self._connect()
        except Exception as error:
            return not unanswered(error)
        connection.terminate()
        return True
