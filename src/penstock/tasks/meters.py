"""What is counted about jobs, bound once for each task and queue."""

from __future__ import annotations

from typing import Final

from penstock.observe.metrics import Metrics

_STATES: Final = ("completed", "failed", "cancelled", "expired")


class Meters:
    """The series of one task in one queue."""

    __slots__ = ("_ended", "completed", "retries", "run", "wait")

    def __init__(self, metrics: Metrics, *, queue: str, task: str) -> None:
        self.wait = metrics.histogram("penstock_job_wait_seconds", queue=queue)
        self.run = metrics.histogram("penstock_job_run_seconds", queue=queue, task=task)
        self.retries = metrics.counter("penstock_job_retries_total", task=task)
        self._ended = {
            state: metrics.counter("penstock_jobs_total", queue=queue, task=task, state=state)
            for state in _STATES
        }
        self.completed = self._ended["completed"]

    def ended(self, state: str) -> None:
        """A job has come to its end."""
        self._ended[state].add()
