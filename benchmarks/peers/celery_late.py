"""Celery as it is when nothing may be lost: acknowledged late, prefetch 1, requeued when a process
dies. What it then still lacks is in `docs/adr/0023`.
"""

from __future__ import annotations

import os

from celery import Celery

PORT = int(os.environ.get("BENCH_REDIS_PORT", "0"))
url = f"redis://127.0.0.1:{PORT}"
app = Celery("bench", broker=f"{url}/1", backend=f"{url}/2")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)


@app.task
def noop(number: int) -> int:
    return number
