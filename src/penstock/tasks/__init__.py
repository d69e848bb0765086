"""Durable jobs of declared tasks, on one of several engines.

    @task(retries=5)                       queue = TaskQueue(engine, store) ─── Engine (embedded/)
    async def send(to: str) -> None: ...      │   accepts, steers          └── JobStore (reads)
    job = await send.enqueue("a@b.c")      Job(id).result(), .cancel(), .progress

Everything is handed in: nothing here reads settings, and nothing is registered at import.
"""

from penstock.tasks.context import ctx
from penstock.tasks.engine import Engine, JobStore
from penstock.tasks.factory import open_engine, open_queue
from penstock.tasks.group import Group, group
from penstock.tasks.include import find_tasks
from penstock.tasks.job import JobError, JobFilter, JobRecord, Progress
from penstock.tasks.queue import Job, TaskQueue
from penstock.tasks.retry import Retry, RetryPolicy
from penstock.tasks.task import AsyncTask, Call, SyncTask, Task, declare

__all__ = [
    "AsyncTask",
    "Call",
    "Engine",
    "Group",
    "Job",
    "JobError",
    "JobFilter",
    "JobRecord",
    "JobStore",
    "Progress",
    "Retry",
    "RetryPolicy",
    "SyncTask",
    "Task",
    "TaskQueue",
    "ctx",
    "declare",
    "find_tasks",
    "group",
    "open_engine",
    "open_queue",
]
