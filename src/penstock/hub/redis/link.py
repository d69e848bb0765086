"""Keeps a ledger and Redis in touch: connects, reads the log, tells what waits, begins again.

    join ─► read the log, one blocking read at a time ─┐
        └─► tell what waits, or show that it could ────┴─► a fault: wait a little, join again

One connection reads, another writes. A server that does not answer is noticed within a second,
because both say something at least that often. A second in which this process did not look (its
loop was held up, as while models load) is none: see `answered`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from penstock.clock import Clock
from penstock.hub.redis import scripts
from penstock.hub.redis.ledger import Ledger
from penstock.hub.redis.wire import (
    join_terms,
    keys,
    read_entry,
    read_name,
    read_place,
    send_terms,
)
from penstock.net.redis import (
    FAULTS,
    REFUSALS,
    connect,
    explain,
    is_replica,
    is_too_old,
    shown,
    too_old,
    version_of,
)
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics

BLOCK: Final = 0.4  # seconds that a read waits for news
ANSWER: Final = 0.9  # seconds for the server to answer at all
CONNECTED: Final = 2 * ANSWER  # seconds until it has answered on a new connection
LOOKS: Final = 4  # at least so often it is looked whether it has answered
IDLE: Final = 0.5  # seconds between two things told; shows that Redis takes writes
RETRY: Final = (0.05, 1.0)  # the shortest and longest wait before connecting again
PARCEL: Final = 100  # items told at once
PAGE: Final = 500  # generations read at once
ENTRIES: Final = 200  # of the log, read at once: below 2 ms to take in

T = TypeVar("T")

_log = get_logger("penstock.hub")


class Link:
    """One process's connection to the shared log; `run` is a task's whole life."""

    def __init__(
        self, url: str, ledger: Ledger, *, origin: str, prefix: str, clock: Clock, metrics: Metrics
    ) -> None:
        self.reads = False  # what others tell is heard
        self.writes = False  # what is told here arrives
        self.detail = f"{shown(url)} was not asked yet"
        self.version = ""
        self.latency = 0.0
        self.joined = asyncio.Event()  # at least once, or found out why not
        self.raise_floor = False  # on the next join: nothing from before is trusted
        self._url = url
        self._ledger = ledger
        self._origin = origin
        self._clock = clock
        self._keys = keys(prefix, origin)
        self._news = asyncio.Event()
        self._delivered = asyncio.Event()
        self._metrics = metrics
        self._connected = metrics.bound_gauge("penstock_hub_connected")
        self._lost = metrics.counter("penstock_hub_lost_total")
        self._trips = metrics.histogram("penstock_hub_round_trip_seconds")
        self._changed: list[Callable[[bool], None]] = []

    @property
    def is_up(self) -> bool:
        """Whether both directions work."""
        return self.reads and self.writes

    def stir(self) -> None:
        """Something waits to be told. On the loop."""
        self._news.set()

    async def told(self) -> None:
        """Return when nothing waits to be told; at once when nothing can be."""
        while self._ledger.waiting and self.is_up:
            self._delivered.clear()
            self._news.set()
            await self._delivered.wait()

    def on_change(self, tell: Callable[[bool], None]) -> None:
        """Have `tell` called when the connection comes or goes."""
        self._changed.append(tell)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        wait = RETRY[0]
        while not is_cancelled():
            # Without time-outs of the client's own: see `answered`.
            reader = connect(self._url, timeout=None, connections=1, name="penstock-hub-log")
            writer = connect(self._url, timeout=None, connections=1, name="penstock-hub")
            try:
                await self._join(reader, writer)
                wait = RETRY[0]
                await self._converse(reader, writer)
            except _JoinAgainError:
                pass
            except FAULTS as error:
                self._down(error)
            except Exception as error:  # entries of another version, say: the link goes on
                _log.exception("hub.failed")
                self._down(error)
            finally:
                await reader.aclose()
                await writer.aclose()
            if not self.is_up:
                self.joined.set()
                await asyncio.sleep(random.uniform(wait / 2, wait))
                wait = min(RETRY[1], wait * 2)

    async def _converse(self, reader: Any, writer: Any) -> None:
        """Read and tell until one of them cannot."""
        if is_cancelled():
            return
        both = [
            asyncio.ensure_future(self._read(reader)),
            asyncio.ensure_future(self._tell(writer)),
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    # --- connecting ----------------------------------------------------------------------------

    async def _join(self, reader: Any, writer: Any) -> None:
        told = await answered(writer.info("server"), within=CONNECTED)
        self.version = str(told["redis_version"])
        if is_too_old(version_of(self.version)):
            raise _TooOldError(too_old(version_of(self.version), self._url))
        await answered(reader.ping(), within=CONNECTED)  # both are connected when it is up
        run = str(told["run_id"])
        ledger = self._ledger
        distrust = self.raise_floor or ledger.is_overrun
        terms = join_terms(ledger, run=run, wall=self._clock.now(), distrust=distrust)
        joining = writer.eval(scripts.JOIN, len(self._keys), *self._keys, *terms)
        reply = await answered(joining, within=ANSWER)
        place = read_place(reply)
        continued = ledger.is_continued_by(place, run)
        generations = [] if continued else await self._generations(writer)
        ledger.join(place, run, generations)
        self.raise_floor = False
        self._up()

    async def _generations(self, writer: Any) -> list[tuple[str, int]]:
        """All that Redis keeps, a page at a time."""
        found: list[tuple[str, int]] = []
        after = "-inf"
        while True:
            asked = writer.execute_command(
                *("ZRANGE", self._keys[1], after, "+inf", "BYSCORE"),
                *("LIMIT", 0, PAGE, "WITHSCORES"),
            )
            page = await answered(asked, within=ANSWER)
            found += [(read_name(name), int(score)) for name, score in page]
            if len(page) < PAGE:
                return found
            after = f"({found[-1][1]}"

    # --- hearing -------------------------------------------------------------------------------

    async def _read(self, reader: Any) -> None:
        ledger, log = self._ledger, self._keys[2]
        while not is_cancelled():
            asked = reader.execute_command(
                *("XREAD", "COUNT", ENTRIES, "BLOCK", int(BLOCK * 1000)),
                *("STREAMS", log, f"{ledger.position}-0"),
            )
            reply = await answered(asked, within=BLOCK + ANSWER / 2)
            if not reply:
                continue
            entries = next(iter(reply.values()))[0]
            if not ledger.apply([read_entry(id, fields) for id, fields in entries]):
                raise _JoinAgainError
            if len(entries) == ENTRIES:
                await asyncio.sleep(0)

    # --- telling -------------------------------------------------------------------------------

    async def _tell(self, writer: Any) -> None:
        send = writer.register_script(scripts.SEND)
        while not is_cancelled():
            self._news.clear()
            parcel = self._ledger.parcel(PARCEL)
            began, known = self._clock.monotonic(), self._ledger.reached
            try:
                telling = send(keys=self._keys, args=send_terms(self._ledger, self._origin, parcel))
                end = await answered(telling, within=ANSWER)
            except FAULTS as error:
                if not isinstance(error, REFUSALS) or is_replica(error):
                    raise  # the address may lead to another server by now
                self._refused(error)
            else:
                self.latency = self._clock.monotonic() - began
                self._trips.record(self.latency)
                if end < known:
                    raise _JoinAgainError  # the data was thrown away, or went back, under us
                if parcel:
                    self._ledger.delivered(parcel[-1].number, end)
                self._accepted()
            self._delivered.set()
            self._count_lost()
            if not self.writes or not self._ledger.waiting:
                await self._wait_for_news()

    async def _wait_for_news(self) -> None:
        if not self.writes:
            await asyncio.sleep(IDLE)
            return
        try:
            async with asyncio.timeout(IDLE):
                await self._news.wait()
        except TimeoutError:
            return

    # --- how it is -----------------------------------------------------------------------------

    def _up(self) -> None:
        if not self.is_up:
            _log.info("hub.connected", url=shown(self._url), version=self.version)
        self.reads = True
        self._accepted()
        self.joined.set()

    def _accepted(self) -> None:
        if self.writes:
            return
        self.writes = True
        self.detail = ""
        self._connected.set(1)
        self._announce()

    def _refused(self, error: BaseException) -> None:
        """It answers and takes no writes: whoever could tell us something cannot either."""
        if self.writes:
            self._fell(error)
        self.writes = False
        self.detail = explain(error, self._url)

    def abandon(self, detail: str) -> None:
        """In a child process: what connects it belongs to the parent."""
        self.reads = self.writes = False
        self.detail = f"{shown(self._url)} was {detail}"
        _log.warning("hub.disconnected", detail=self.detail)

    def _down(self, error: BaseException) -> None:
        is_news = self.is_up or not self.joined.is_set()
        self.reads = self.writes = False
        self.detail = _words(error, self._url)
        if is_news:
            self._fell(error)
        self._delivered.set()
        self._count_lost()

    def _fell(self, error: BaseException) -> None:
        _log.warning("hub.disconnected", detail=_words(error, self._url))
        self._connected.set(0)
        self.writes = False
        self._announce()

    def _announce(self) -> None:
        for tell in self._changed:
            tell(self.is_up)

    def _count_lost(self) -> None:
        self._lost.value = self._ledger.lost


class _JoinAgainError(Exception):
    """What is known no longer fits what Redis has."""


class _TooOldError(OSError):
    """A server that lacks what is used here; its text is for people."""


async def answered(asked: Awaitable[T], *, within: float) -> T:
    """What the server answers. Raises TimeoutError when it does not, for `within` seconds.

    A loop that was blocked finds the answer and the end of the wait at the same time, and a
    time-out of one piece would win: a server that is well would be told to be away.
    """
    answer = asyncio.ensure_future(asked)
    try:
        for _ in range(LOOKS):
            if (await asyncio.wait([answer], timeout=within / LOOKS))[0]:
                return answer.result()
        raise TimeoutError
    finally:
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)


def is_cancelled() -> bool:
    """Whether this task was told to end.

    A loop has to ask: before Python 3.12, `asyncio.wait_for` forgets a cancellation that comes
    while what it waits for ends, and redis-py sends every command through it.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _words(error: BaseException, url: str) -> str:
    return str(error) if isinstance(error, _TooOldError) else explain(error, url)
