"""Task queues of others, each with the same two tasks, driven by `python -m benchmarks.peers`.

`WORKERS` are the commands of their workers. Celery prefetches as its guide for short tasks advises
and leaves out what workers tell one another; Huey's threads wait in a blocking pop.
"""

import sys

_HUEY = [sys.executable, "-m", "huey.bin.huey_consumer"]
WORKERS = {
    "celery_redis": [
        *(sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_redis:app", "worker"),
        *("-P", "prefork", "-c", "2", "-l", "ERROR"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ],
    "huey_redis": [*_HUEY, "benchmarks.peers.huey_redis.huey", "-w", "4", "-k", "thread", "-q"],
    "huey_sqlite": [*_HUEY, "benchmarks.peers.huey_sqlite.huey", "-w", "4", "-k", "thread", "-q"],
}
