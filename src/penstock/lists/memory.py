"""What lists said about content that was asked about before; bounded."""

from __future__ import annotations

from typing import Final

from penstock.lists.listed import Listed

REMEMBERED: Final = 16_384  # results of each of two generations


class Memory:
    """Results by content key and by the key that asks; the older half goes when it is full."""

    def __init__(self) -> None:
        self._young: dict[tuple[str, str | None], Listed] = {}
        self._old: dict[tuple[str, str | None], Listed] = {}

    def get(self, slot: tuple[str, str | None]) -> Listed | None:
        found = self._young.get(slot)
        if found is None and (found := self._old.get(slot)) is not None:
            self.put(slot, found)
        return found

    def put(self, slot: tuple[str, str | None], listed: Listed) -> None:
        if len(self._young) >= REMEMBERED:
            self._old, self._young = self._young, {}
        self._young[slot] = listed
