"""The HTTP application: the one place where middleware, hot paths and routers meet.

    RequestId > Timing > CORS > Problems > BodyLimit > Auth > HotPaths > FastAPI

`create_app()` returns an ASGI application that opens a runtime when its lifespan starts.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware

import penstock
from penstock.default import using_runtime
from penstock.errors import PenstockError, RequestError, TooLarge
from penstock.http.asgi import ASGIApp, Receive, Scope, Send
from penstock.http.limits import BodyLimit
from penstock.http.problems import Problems
from penstock.http.request_id import RequestId
from penstock.http.timing import Timing
from penstock.lists.files import MOST_BYTES as MOST_LIST_BYTES
from penstock.observe import logging
from penstock.observe.health import open_reader, system_usage
from penstock.runtime import Runtime, open_runtime
from penstock.server import docs
from penstock.server.auth import ANONYMOUS, Auth
from penstock.server.batch_request import ADVICE, MOST_BYTES
from penstock.server.compat import (
    filterx,
    filterx_stats,
    fist,
    fist_batch,
    halilit,
    halilit_tasks,
    perspective,
    pixel,
    pixel_tasks,
)
from penstock.server.keys import KeyRing
from penstock.server.limits import read_limits
from penstock.server.openapi import describe_app
from penstock.server.routes import (
    audit,
    batches,
    cache,
    files,
    jobs,
    keys,
    lists,
    models,
    policies,
    queues,
    schedules,
    system,
    usage,
    verdicts,
    webhooks,
)
from penstock.services.moderation import api as moderation
from penstock.services.moderation.answers import MODEL
from penstock.services.moderation.rehearsal import Rehearsal
from penstock.services.review import api as review
from penstock.settings import Settings, load_settings
from penstock.web import errors
from penstock.web.hot import HotPaths, HotRoute
from penstock.web.streams import Streams

OPENAI_PATHS = ("/v1/moderations", "/v1/models", "/v1/batches", "/v1/files")

_CORS_HEADERS = [
    *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-API-Key"),
    *("X-Goog-Api-Key", "X-Request-ID"),
]
_CORS_EXPOSED = [
    *(
        "ETag",
        "Location",
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
        "Server-Timing",
        "X-Penstock-Verdict",
    ),
    *("X-Processing-Time", "X-Request-ID"),
]


class Server:
    """An ASGI application that is built when its lifespan starts and taken down when it ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._app is None:
            raise RuntimeError("the server was not started: its lifespan has not run")
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Runtime]:
        """Open the runtime and serve until the block ends."""
        async with AsyncExitStack() as stack:
            runtime = await stack.enter_async_context(
                open_runtime(self._settings, around=using_runtime)
            )
            ring = key_ring(runtime)
            stack.push_async_callback(ring.aclose)
            self._app = build_app(runtime, ring)
            runtime.budgets.verified = ring
            try:
                yield runtime
            finally:
                self._app = None
                runtime.budgets.verified = None

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        stack = AsyncExitStack()
        try:
            await stack.enter_async_context(self.running())
        except PenstockError as error:
            await send({"type": "lifespan.startup.failed", "message": error.detail})
            return
        async with stack:
            # What is here now stays: the collector need not look through it again and again.
            gc.collect()
            gc.freeze()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(settings: Settings | None = None) -> Server:
    """The application for any ASGI server; reads the settings unless they are given."""
    settings = settings or load_settings().settings
    logging.configure(settings.log_level, format=settings.log_format, log_dir=settings.logs)
    return Server(settings)


def build_app(runtime: Runtime, ring: KeyRing) -> ASGIApp:
    """Everything between the socket and the services, outermost last."""
    settings = runtime.settings
    hot = _hot_routes(runtime)
    app: ASGIApp = HotPaths(build_api(runtime, ring, hot), hot)
    app = Auth(
        app,
        keys=ring,
        hub=runtime.hub,
        clock=runtime.clock,
        mode=settings.auth,
        default_rate=settings.rate_limit,
        routes=read_limits(settings.rate_limits),
        budgets=runtime.budgets,
        metrics=runtime.metrics,
    )
    pictured = settings.max_image_bytes * 4 // 3 + settings.max_body_bytes  # as base64, beside text
    larger = {
        "/v1/moderations": pictured,
        "/v1/filter": pictured,
        "/v1/filter/image": pictured,
        "/v1/files": settings.max_file_bytes,
        "/v1/lists/*/import": MOST_LIST_BYTES,
        batches.PATH: min(MOST_BYTES, settings.max_file_bytes),
    }
    app = BodyLimit(
        app, max_bytes=settings.max_body_bytes, larger=larger, advice={batches.PATH: ADVICE}
    )
    app = Problems(app, metrics=runtime.metrics, openai_paths=OPENAI_PATHS)
    if settings.cors_origins:  # outside Problems: a page may read why it was refused
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=_CORS_HEADERS,
            expose_headers=_CORS_EXPOSED,
        )
    if settings.enable_metrics:
        app = Timing(app, metrics=runtime.metrics, clock=runtime.clock)
    return RequestId(app, clock=runtime.clock)


def build_api(runtime: Runtime, ring: KeyRing, hot: Sequence[HotRoute[Any, Any]]) -> FastAPI:
    """The routes that are not hot, and the OpenAPI document of all."""
    api = FastAPI(title="Penstock", version=penstock.__version__, docs_url=None, redoc_url=None)
    errors.install(api)
    told = errors.responses(RequestError, TooLarge)
    for router in _routers(runtime, ring):
        api.include_router(router, responses=told)
    describe_app(api, hot)
    return api


def key_ring(runtime: Runtime) -> KeyRing:
    """The keys of an installation."""
    token = runtime.settings.admin_token
    return KeyRing(runtime.database, runtime.hub, runtime.clock, admin_key=token)


def _hot_routes(runtime: Runtime) -> list[HotRoute[Any, Any]]:
    settings, service = runtime.settings, runtime.moderation
    hot = moderation.routes(service, model=MODEL, max_inputs=settings.max_inputs)
    if "fist" in settings.compat:
        words = settings.provider_excerpt_words
        hot += fist.hot_routes(service, clock=runtime.clock, max_words=words)
    if "filterx" in settings.compat:
        hot += filterx.hot_routes(runtime)
    if "perspective" in settings.compat:
        hot += perspective.hot_routes(runtime.perspective)
    return hot


def _routers(runtime: Runtime, ring: KeyRing) -> list[APIRouter]:
    compat = runtime.settings.compat
    checks = runtime.checks
    streams = Streams(
        clock=runtime.clock, is_allowed=lambda who: who is ANONYMOUS or ring.accepts(who)
    )
    used = partial(system_usage, open_reader(), folder=runtime.settings.home)
    found = [
        docs.router(title="Penstock"),
        system.router(checks, used),
        models.router(runtime),
        keys.router(ring, runtime.budgets),
        cache.router(runtime.cache, runtime.clock, runtime.moderation),
        jobs.router(runtime.jobs, streams),
        queues.router(runtime.jobs),
        schedules.router(runtime.jobs),
        batches.router(runtime.batches, streams),
        files.router(runtime.batches),
        audit.router(runtime.audit),
        policies.router(
            runtime.policies,
            rehearsal=Rehearsal(runtime.database, clock=runtime.clock),
            keys=ring,
            clock=runtime.clock,
            asks_provider=runtime.moderation.asks_provider,
        ),
        verdicts.router(runtime.moderation),
        lists.router(runtime.lists, ring),
        usage.router(runtime.usage, runtime.clock),
        webhooks.router(runtime.webhooks),
        review.router(runtime.review),
    ]
    if "fist" in compat:
        found.append(fist.router(runtime, checks, used))
        found.append(fist_batch.router(runtime))
    if "filterx" in compat:
        found.append(filterx_stats.router(runtime.usage.statistics, runtime.clock))
    if "halilit" in compat:
        found.append(halilit.router(runtime.cache, runtime.clock))
        found.append(halilit_tasks.router(runtime.jobs))
    if "pixel" in compat:
        found.append(pixel.router(runtime.cache, runtime.clock))
        found.append(pixel_tasks.router(runtime.jobs, runtime.clock))
    if "perspective" in compat:
        found.append(perspective.router())
    return found
