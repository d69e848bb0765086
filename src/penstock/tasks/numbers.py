"""The time of an engine, and the numbers of its jobs, both of which only grow."""

from __future__ import annotations

import threading
from typing import Final

from penstock.clock import Clock

EPOCH: Final = 1_577_836_800_000  # 2020: 63 bits last until 2089
_STEP: Final = 1 << 10
SLOTS: Final = _STEP - 1  # processes at a time


class EngineTime:
    """Wall time at the start, carried on by the monotonic clock: a clock set back harms nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._monotonic = clock.monotonic
        self._offset = clock.now() - clock.monotonic()

    def ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return int((self._offset + self._monotonic()) * 1000.0)

    def follow(self) -> None:
        """Catch up with the wall clock: the monotonic one stands still while a machine sleeps."""
        ahead = self._clock.now() - self._clock.monotonic() - self._offset
        if ahead > 1.0:
            self._offset += ahead


class Numbers:
    """Numbers in the order of their making, different in every process of an engine.

    Upper bits: milliseconds. Lower ten: the process. In between there is room for 4,096 of each
    millisecond; more run ahead of the time. Used by several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slot = 0
        self._last = 0

    def begin(self, *, slot: int, last: int) -> None:
        """Go on after `last`, as process `slot`."""
        self._slot = slot
        self._last = last

    def next(self, ms: int) -> int:
        """The number of a job that is made now."""
        with self._lock:
            number = (ms - EPOCH) << 22
            floor = self._last + _STEP
            if number < floor:
                number = floor
            self._last = number = number & ~SLOTS | self._slot
            return number
