"""Opens the hub of an installation; the only module that imports the one over Redis."""

from __future__ import annotations

from pathlib import Path

from penstock.clock import Clock, SystemClock
from penstock.extras import extra
from penstock.hub.hub import Hub
from penstock.hub.local import FILE_NAME, LocalHub
from penstock.observe.metrics import Metrics


async def open_hub(
    url: str | None,
    folder: Path | None,
    *,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    prefix: str = "penstock:",
) -> Hub:
    """The hub of the servers that share the Redis at `url`, or of the processes on `folder`.

    Waits for Redis at most a second: one that cannot be reached makes a degraded start, which
    `status` tells, and is connected to when it is there. Raises MissingExtra, and
    ConfigurationError for a URL that is none.
    """
    if not url:
        return LocalHub(folder)
    with extra("redis"):
        from penstock.hub.redis import RedisHub

    hub = RedisHub(url, clock=clock or SystemClock(), metrics=metrics, prefix=prefix)
    former = folder / FILE_NAME if folder is not None else None
    # What this folder's caches hold was invalidated by a clock that Redis knows nothing of.
    distrust = former is not None and former.exists()
    await hub.start(distrust=distrust)
    if distrust and former is not None and hub.is_current:
        former.unlink(missing_ok=True)
    return hub
