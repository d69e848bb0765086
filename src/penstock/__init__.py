"""Penstock stands between an application and its AI.

    from penstock import cached, task

    @cached(ttl="1h")
    async def classify(text: str) -> str: ...

    @task(retries=5)
    async def send(to: str) -> None: ...

    job = await send.enqueue("someone@example.org")

The names below are the library. The server, the command line and the services are in the packages
of their names. Importing this loads no web framework, no database and no optional package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.cache import Cache, CacheKeyBuilder, Hit, open_store
    from penstock.default import cache_model, cached, cached_batch, install, task, use, using
    from penstock.errors import PenstockError
    from penstock.hub import LocalHub
    from penstock.models.cache import ModelCache
    from penstock.tasks import Job, Retry, TaskQueue, ctx, group

__version__ = "0.1.0"

__all__ = [
    "Cache",
    "CacheKeyBuilder",
    "Hit",
    "Job",
    "LocalHub",
    "ModelCache",
    "PenstockError",
    "Retry",
    "TaskQueue",
    "cache_model",
    "cached",
    "cached_batch",
    "ctx",
    "group",
    "install",
    "open_store",
    "task",
    "use",
    "using",
]

_HOMES = {
    "Cache": "penstock.cache",
    "CacheKeyBuilder": "penstock.cache",
    "Hit": "penstock.cache",
    "Job": "penstock.tasks",
    "LocalHub": "penstock.hub",
    "ModelCache": "penstock.models.cache",
    "PenstockError": "penstock.errors",
    "Retry": "penstock.tasks",
    "TaskQueue": "penstock.tasks",
    "cache_model": "penstock.default",
    "cached": "penstock.default",
    "cached_batch": "penstock.default",
    "ctx": "penstock.tasks",
    "group": "penstock.tasks",
    "install": "penstock.default",
    "open_store": "penstock.cache",
    "task": "penstock.default",
    "use": "penstock.default",
    "using": "penstock.default",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home when it is first asked for (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
