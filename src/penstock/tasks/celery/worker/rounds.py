"""What the main process of every worker looks after, from Celery's own event loop.

What comes due several times a second; each two seconds whose lease has run out; each five which
tickets were lost. Every step is one atomic script, so it does no harm when several workers take it;
a lock keeps them from doing so in vain.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any, Final, Protocol
from weakref import WeakSet

import msgspec

from penstock.clock import Clock
from penstock.errors import StorageError
from penstock.observe.logging import get_logger
from penstock.tasks.celery.health import Described
from penstock.tasks.celery.remote import RemoteSync

TICK: Final = 0.2  # seconds
BURY_EVERY: Final = 2.0
REPAIR_EVERY: Final = 5.0
AT_ONCE: Final = 200
MISSED_AT_ONCE: Final = 1_000  # of each list
SILENT: Final = 6_000  # milliseconds without a word after which what a worker has taken is lost
FORGET_WORKER: Final = 60_000  # milliseconds without a word
AGEING_AFTER: Final = 30_000  # milliseconds; as on the embedded engine
AGEING_SHARE: Final = 16

_log = get_logger("penstock.tasks")


class Taken(Protocol):
    """A ticket that this worker has taken off its list."""

    @property
    def id(self) -> str:
        """Of the job."""

    @property
    def ticket(self) -> str | None:
        """Its number; None for a message of Celery's own making."""


class Rounds:
    """The rounds of one worker, called `node`."""

    def __init__(
        self,
        remote: RemoteSync,
        *,
        node: str,
        clock: Clock,
        queues: Sequence[str] = (),
        concurrency: int = 0,
        lease: float,
    ) -> None:
        self._remote = remote
        self._node = node
        self._clock = clock
        self._lease = lease
        told = Described(
            pid=os.getpid(),
            host=socket.gethostname(),
            started_at=int(clock.now() * 1000),
            queues=list(queues),
            concurrency=concurrency,
        )
        self._told = msgspec.json.encode(told)
        self._taken: WeakSet[Taken] = WeakSet()
        self._next = {"bury": 0.0, "repair": 0.0}
        self._trusted_at: float | None = None  # from when on a lease that ran out means a death
        self._is_cut_off = False

    def take(self, request: Taken) -> None:
        """Know of a ticket, as long as its request is there: it is not lost, it waits its turn."""
        self._taken.add(request)

    def tick(self) -> None:
        """One round; never raises."""
        try:
            self._look()
        except StorageError as error:
            if not self._is_cut_off:
                _log.warning("tasks.upkeep_failed", detail=error.detail)
            self._is_cut_off = True
            # Nobody could renew meanwhile: a lease that has run out says nothing for a while.
            self._trusted_at = self._clock.monotonic() + self._lease
        except Exception:  # a worker without rounds rescues nobody
            _log.exception("tasks.upkeep_failed")
        else:
            self._is_cut_off = False

    def leave(self) -> None:
        """Give back what this worker held, and its entry."""
        try:
            returned = self._remote.ask("rounds", "give_back", self._node)
        except StorageError as error:  # the leases run out
            _log.warning("tasks.not_left", detail=error.detail)
        else:
            if returned:
                _log.info("tasks.jobs_returned", worker=self._node, jobs=returned)
        self._remote.close()

    def lost(self, job_id: str, ticket: str, kind: str, how: str) -> None:
        """A process of the pool died with a job: another may have it at once."""
        try:
            state = self._remote.ask("attempts", "lost", job_id, ticket, kind, how)
        except StorageError as error:  # its lease runs out
            _log.warning("tasks.lost_not_noted", job=job_id, detail=error.detail)
        else:
            if state is not None:
                _log.warning("tasks.job_lost", job=job_id, why=how, state=state.decode())

    def cancel(self, job_id: str) -> None:
        """A job was revoked by Celery's own means."""
        try:
            self._remote.ask("changes", "cancel", job_id)
        except StorageError as error:
            _log.warning("tasks.cancel_not_noted", job=job_id, detail=error.detail)

    def _look(self) -> None:
        while True:
            moved, expired, _ = self._remote.ask("rounds", "due", AT_ONCE)
            if moved < AT_ONCE and expired < AT_ONCE:
                break
        now = self._clock.monotonic()
        if self._is_time("bury", BURY_EVERY, now):
            taken = " ".join(f"{one.id}.{one.ticket}" for one in list(self._taken))
            self._remote.ask("rounds", "here", self._node, self._told, taken, FORGET_WORKER)
            if self._trusts(now):
                self._bury()
        if self._is_time("repair", REPAIR_EVERY, now):
            self._repair()

    def _is_time(self, what: str, every: float, now: float) -> bool:
        if now < self._next[what]:
            return False
        self._next[what] = now + every
        return True

    def _trusts(self, now: float) -> bool:
        if self._trusted_at is None:
            # A Redis that has just come up: its leases ran out while nobody could renew them.
            info: Any = self._remote.command("INFO", "server")
            self._trusted_at = now + max(0.0, self._lease - float(info["uptime_in_seconds"]))
        return now >= self._trusted_at

    def _bury(self) -> None:
        ids = self._remote.ask("rounds", "bury", AT_ONCE)
        if ids:
            _log.warning("tasks.jobs_rescued", jobs=[one.decode() for one in ids])

    def _repair(self) -> None:
        lock = f"{self._remote.prefix}repair"
        milliseconds = int(REPAIR_EVERY * 900)
        if not self._remote.command("SET", lock, self._node, "NX", "PX", milliseconds):
            return
        self._remote.ask("rounds", "elders", AGEING_AFTER, AGEING_SHARE)
        count = self._remote.ask("rounds", "reissue", MISSED_AT_ONCE, SILENT)
        if count:
            _log.warning("tasks.tickets_reissued", jobs=count)
