"""Counters that all servers add to: a hash per name, one round trip for any number of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.errors import StorageUnavailable
from penstock.hub.hub import KEPT
from penstock.hub.redis import scripts
from penstock.net.redis import FAULTS, ask, explain

MARK_KEPT: Final = 40 * 86_400  # seconds that is known what was added last: nobody is silent longer


class Counters:
    """Counters of one Redis."""

    def __init__(self, client: Any, *, url: str, prefix: str) -> None:
        self._client = client
        self._url = url
        self._prefix = prefix
        self._add = client.register_script(scripts.ADD)

    async def add(
        self, counters: Mapping[str, Mapping[str, int]], *, once: str = "", kept: float = KEPT
    ) -> int:
        """See Hub."""
        source, _, number = once.rpartition(":")
        if once and not (source and number.isdecimal()):
            source, number = once, "1"
        keys = [f"{self._prefix}added:{source}", *map(self._key, counters)]
        # As one argument: to pack hundreds of them costs the client 20 times as much.
        flat = [[part for item in fields.items() for part in item] for fields in counters.values()]
        args = [number, msgspec.json.encode(flat), int(kept), MARK_KEPT]
        try:
            return int(await ask(self._client, lambda: self._add(keys=keys, args=args)))
        except FAULTS as error:
            raise StorageUnavailable(explain(error, self._url)) from error

    async def read(self, name: str) -> dict[str, int]:
        """See Hub."""
        try:
            found = await ask(self._client, lambda: self._client.hgetall(self._key(name)))
        except FAULTS as error:
            raise StorageUnavailable(explain(error, self._url)) from error
        return {field.decode(): int(value) for field, value in found.items()}

    def _key(self, name: str) -> str:
        return f"{self._prefix}count:{name}"
