"""How much work one text may cost, whatever it says and whatever is looked for.

Loops over words count their turns; what runs elsewhere (RE2) is charged the time that it took. A
step is about 200 ns, so that a budget says what a text costs at most, give or take one call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

STEP_NS: Final = 200


class Overrun(Exception):
    """The budget is spent: what was found until then is not all there is."""


class Budget:
    """Steps that are left for one text. Belongs to the thread that searches it."""

    __slots__ = ("left",)

    def __init__(self, steps: float = math.inf) -> None:
        self.left = steps

    def spend(self, steps: float) -> None:
        """Take steps. Raises Overrun when there are not so many."""
        self.left -= steps
        if self.left < 0:
            raise Overrun

    def charge(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something and take the time that it needed of this thread."""
        began = time.thread_time_ns()
        result = call(*args, **kwargs)
        self.spend((time.thread_time_ns() - began) / STEP_NS)
        return result


UNLIMITED: Final = Budget()
"""For what is small whatever the text says."""
