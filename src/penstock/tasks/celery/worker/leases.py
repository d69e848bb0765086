"""Renews what this process has claimed, from a thread of its own: a function that holds the event
loop, or a loop that is busy, must not cost it its jobs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from penstock.errors import StorageError
from penstock.observe.logging import get_logger
from penstock.tasks.celery.remote import RemoteSync

if TYPE_CHECKING:
    from penstock.tasks.celery.worker.bench import Held

SHARE: Final = 3  # renewals in that time
UNPARK_EVERY: Final = 1.0  # seconds
AT_ONCE: Final = 100

_log = get_logger("penstock.tasks")


class Leases:
    """The thread that renews, and lets those jobs be started that wait for a task known here."""

    def __init__(
        self,
        remote: RemoteSync,
        held: Mapping[int, Held],
        *,
        lease: float,
        tell: Callable[[Held, str], None],
        tasks: Collection[str],
    ) -> None:
        self._remote = remote
        self._held = held
        self._lease = lease
        self._tell = tell
        self._tasks = tasks
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="penstock-leases", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(2.0)
        self._remote.close()

    def _run(self) -> None:
        pause = min(UNPARK_EVERY, self._lease / SHARE)
        rounds = max(1, round(self._lease / SHARE / pause))
        number = 0
        while not self._closed.wait(pause):
            number += 1
            try:
                if number % rounds == 0:
                    self.renew()
                self._unpark()
            except StorageError as error:
                number = -1  # renew in the next round, and in each until it can be
                _log.warning("tasks.leases_not_renewed", detail=error.detail)
            except Exception:  # without renewals others would take our jobs over
                _log.exception("tasks.leases_not_renewed")

    def renew(self) -> None:
        """Renew all; hear what is to end. Raises StorageError."""
        held = [one for one in list(self._held.values()) if one.is_claimed]
        if not held:
            return
        words = [word for one in held for word in (one.job_id, one.ticket)]
        told = self._remote.ask("attempts", "renew", int(self._lease * 1000), *words)
        for one, what in zip(held, told, strict=True):
            if what != b"held" and not one.is_asked and one.number in self._held:
                self._tell(one, what.decode())

    def _unpark(self) -> None:
        tasks = list(self._tasks)
        if tasks:
            self._remote.ask("rounds", "unpark", AT_ONCE, *tasks)
