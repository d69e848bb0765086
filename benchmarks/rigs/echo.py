"""The peers of `http_cached`: a FastAPI echo with typed models, and bare ASGI."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel


class Request(BaseModel):
    """What a moderation client sends."""

    input: str
    model: str | None = None


class Span(BaseModel):
    """A place in the text."""

    start: int
    end: int
    category: str
    score: float
    stage: str
    rule: str


class Policy(BaseModel):
    """Who decided."""

    id: str
    version: str


class Receipt(BaseModel):
    """Where the answer came from."""

    source: str
    age_seconds: float
    stale: bool
    queue_wait_seconds: float
    stages: dict[str, float]
    models: dict[str, str]
    tokens: dict[str, int]
    cost: dict[str, int | str]


class Detail(BaseModel):
    """Penstock's block."""

    id: str
    decision: str
    reason: str
    risk: float
    spans: list[Span]
    language: str
    policy: Policy
    receipt: Receipt
    recorded: bool
    degraded: dict[str, str] | None
    rationale: str


class Result(BaseModel):
    """One result."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]
    penstock: Detail


class Reply(BaseModel):
    """What a moderation client gets."""

    id: str
    model: str
    results: list[Result]


def echo() -> FastAPI:
    """FastAPI as its documentation shows it: models in, models out."""
    reply = Reply.model_validate_json(Path(os.environ["BENCH_REPLY"]).read_bytes())
    app = FastAPI()

    @app.post("/v1/moderations")
    async def moderate(request: Request) -> Reply:
        return reply

    @app.get("/livez")
    async def live() -> dict[str, str]:
        return {}

    return app


def bare() -> Any:
    """What uvicorn itself costs for these bytes."""
    body = Path(os.environ["BENCH_REPLY"]).read_bytes()
    json.loads(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
