"""What the HTTP middleware adds to a request, in process, beside what others' middleware adds.

The ASGI callables are driven directly, without server or socket, so that only framework and
middleware are measured. All variants live in one process and take turns in short batches, since
two processes on a busy machine differ more than two middlewares; a round keeps the best batch of
each. Ratios are of CPU time and taken within a round.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.report import Report, ratio

CLAIM = "The whole middleware stack adds at most a quarter of what the instrumentator adds"
VARIANTS = ("fastapi", "penstock", "instrumentator", "base_http")
CALLS = 250
BATCHES = 12
BODY = b'{"text":"a short message to look at","user_id":42,"tags":["a","b"]}'
HEADERS = [
    (b"host", b"127.0.0.1"),
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(BODY)),
    (b"user-agent", b"bench"),
    (b"accept", b"*/*"),
]
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/echo",
    "raw_path": b"/echo",
    "query_string": b"",
    "root_path": "",
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 80),
}
TARGETS = {"penstock_per_instrumentator": 0.25, "penstock_per_base_http": 0.08}

App = Callable[..., Awaitable[None]]


def run(rounds: int = 7, *, routes: int = 1) -> Report:
    """Measure; microseconds of CPU per request and the ratios of what is added."""
    apps = {variant: _application(variant, routes) for variant in VARIANTS}
    total = asyncio.run(_rounds(apps, rounds))
    added = {
        variant: [at - base for at, base in zip(total[variant], total["fastapi"], strict=True)]
        for variant in VARIANTS[1:]
    }
    rows = [
        {
            "variant": variant,
            "routes": routes,
            "microseconds": round(statistics.median(total[variant]), 1),
            "added_microseconds": round(statistics.median(added.get(variant, [0.0])), 1),
        }
        for variant in VARIANTS
    ]
    ratios = {
        name: ratio(added["penstock"], added[name.removeprefix("penstock_per_")], most=target)
        for name, target in TARGETS.items()
    }
    return {"claim": CLAIM, "rows": rows, "ratios": ratios}


def _application(variant: str, routes: int) -> App:
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Item(BaseModel):
        text: str
        user_id: int
        tags: list[str]

    app = FastAPI()

    async def other(item: int) -> int:
        return item

    for number in range(routes - 1):
        app.get(f"/v1/resources{number}/{{item}}")(other)

    async def echo(item: Item) -> Item:
        return item

    echo.__annotations__ = {"item": Item, "return": Item}
    app.post("/echo")(echo)
    return _wrapped(variant, app)


def _wrapped(variant: str, app: Any) -> App:
    match variant:
        case "penstock":
            from penstock.http.limits import BodyLimit
            from penstock.http.problems import Problems
            from penstock.http.request_id import RequestId
            from penstock.http.timing import Timing
            from penstock.observe.metrics import Metrics

            return RequestId(Timing(Problems(BodyLimit(app, max_bytes=1 << 20)), metrics=Metrics()))
        case "instrumentator":
            from prometheus_fastapi_instrumentator import Instrumentator

            Instrumentator().instrument(app).expose(app)
        case "base_http":

            async def through(request: Any, call_next: Any) -> Any:
                return await call_next(request)

            app.middleware("http")(through)
    return app  # type: ignore[no-any-return]


async def _rounds(apps: dict[str, App], rounds: int) -> dict[str, list[float]]:
    """The least CPU time per call, in microseconds, of each variant in each round."""
    for app in apps.values():
        await _calls(app, 500)
    spent: dict[str, list[float]] = {variant: [] for variant in apps}
    for _ in range(rounds):
        batches: dict[str, list[float]] = {variant: [] for variant in apps}
        for _ in range(BATCHES):
            for variant, app in apps.items():
                batches[variant].append(await _calls(app, CALLS))
        for variant, times in batches.items():
            spent[variant].append(min(times))
    return spent


async def _calls(app: App, calls: int) -> float:
    started = time.process_time()
    for _ in range(calls):
        scope = {**SCOPE, "headers": list(HEADERS), "state": {}}
        await app(scope, _receive, _send)
    return (time.process_time() - started) / calls * 1e6


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": BODY, "more_body": False}


async def _send(message: dict[str, Any]) -> None:
    if message.get("status", 200) != 200:
        raise RuntimeError(f"the application answered {message['status']}")


if __name__ == "__main__":
    count = int(sys.argv[1]) if sys.argv[1:] else 7
    for known in (1, 61):
        print(json.dumps(run(count, routes=known), indent=2))
