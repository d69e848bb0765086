"""What the `state` column holds, and what everybody else calls it."""

from __future__ import annotations

from typing import Final

from penstock.tasks.job import State

READY: Final = 0
RUNNING: Final = 1
COMPLETED: Final = 2
FAILED: Final = 3
CANCELLED: Final = 4
EXPIRED: Final = 5
DELAYED: Final = 6  # its time has not come; for everybody else that is "queued"

FINAL: Final = (COMPLETED, FAILED, CANCELLED, EXPIRED)

NAMES: Final[tuple[State, ...]] = (
    "queued",
    "running",
    "completed",
    "failed",
    "cancelled",
    "expired",
    "queued",
)
CODES: Final[dict[State, tuple[int, ...]]] = {
    "queued": (READY, DELAYED),
    "running": (RUNNING,),
    "completed": (COMPLETED,),
    "failed": (FAILED,),
    "cancelled": (CANCELLED,),
    "expired": (EXPIRED,),
}
