"""`python -m benchmarks.peers PEER all|each|start COUNT`: one producer, one line of JSON.

The worker runs beside it. all, each: seconds from the first enqueue to the last result; start:
milliseconds from enqueue to start of lone tasks.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module

PATIENCE = 120.0
WARM = 20
POLL = 0.005


def main() -> None:
    """Drive one peer."""
    peer, mode, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    module = import_module(f"benchmarks.peers.{peer}")
    if mode == "start":
        print(json.dumps(_starts(module, count)))
    else:
        enqueue = module.enqueue_all if mode == "all" else module.enqueue_each
        _finish(module, lambda: module.enqueue_each(WARM), WARM)
        print(json.dumps(_finish(module, lambda: enqueue(count), count)))


def _finish(module, enqueue, count: int) -> float:
    before = module.finished()
    start = time.perf_counter()
    enqueue()
    while module.finished() - before < count:
        if time.perf_counter() - start > PATIENCE:
            raise SystemExit("the worker did not finish in time")
        time.sleep(POLL)  # noqa: TID251 - leaves the processor to the worker
    return time.perf_counter() - start


def _starts(module, count: int) -> list[float]:
    waits = []
    for number in range(WARM + count):
        enqueued = time.monotonic_ns()
        began = module.started()
        if number >= WARM:
            waits.append((began - enqueued) / 1e6)
        time.sleep(0.003)  # noqa: TID251 - the queue is to be idle
    return waits


if __name__ == "__main__":
    main()
