"""The OpenAPI document: FastAPI's routes and the hot ones in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from penstock.web.errors import PROBLEM
from penstock.web.hot import HotRoute, describe

ABOUT = (
    "Moderation, batches, jobs, cache and keys over HTTP. `/v1/moderations`, `/v1/batches` and "
    "`/v1/files` speak OpenAI's protocol; the paths under `/api` are those of the systems that "
    "Penstock takes over. Every error is a problem document (RFC 9457)."
)


def describe_app(api: FastAPI, hot: Sequence[HotRoute[Any, Any]]) -> None:
    """Make `api.openapi()` tell of the hot routes too; computed once."""
    ready: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not ready:
            ready.update(_document(api, hot))
        return ready

    # FastAPI's documented way to extend the document is to replace this method.
    api.openapi = openapi  # type: ignore[method-assign]


def _document(api: FastAPI, hot: Sequence[HotRoute[Any, Any]]) -> dict[str, Any]:
    document = get_openapi(
        title=api.title, version=api.version, description=ABOUT, routes=api.routes
    )
    paths, schemas = describe(hot)
    document["paths"] = {**paths, **document["paths"]}
    components = document.setdefault("components", {})
    components["schemas"] = {**components.get("schemas", {}), **schemas, "Problem": PROBLEM}
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for methods in document["paths"].values():
        for operation in methods.values():
            _name_problems(operation)
    return document


def _name_problems(operation: dict[str, Any]) -> None:
    """Point to the one schema of problems instead of repeating it."""
    for response in operation["responses"].values():
        problem = response.get("content", {}).get("application/problem+json")
        if problem is not None:
            problem["schema"] = {"$ref": "#/components/schemas/Problem"}
