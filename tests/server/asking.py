"""What tests ask of a server, and how they read the answers."""

from __future__ import annotations

from typing import Any

import httpx

MODERATIONS = "/v1/moderations"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mM4IScHAAK2AQUK"
    "W6YGAAAAAElFTkSuQmCC"
)
"""An image of one pixel."""


async def moderate(client: httpx.AsyncClient, text: Any, **fields: Any) -> dict[str, Any]:
    """The one result for one input."""
    reply = await client.post(MODERATIONS, json={"input": text, **fields})
    assert reply.status_code == 200, reply.text
    (result,) = reply.json()["results"]
    found: dict[str, Any] = result
    return found


async def fist(client: httpx.AsyncClient, text: str, **fields: Any) -> dict[str, Any]:
    """FIST's result for one text."""
    reply = await client.post("/api/moderate", json={"content": text, **fields})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()["result"]
    return found


def source_of(result: dict[str, Any]) -> str:
    """Where a result of `/v1/moderations` came from."""
    found: str = result["penstock"]["receipt"]["source"]
    return found


async def model_calls(client: httpx.AsyncClient) -> int:
    """How often the server asked a model, as it tells itself."""
    found: int = (await client.get("/api/metrics")).json()["moderation"]["model_calls"]
    return found


def assert_problem(reply: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document (RFC 9457) of an error."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = reply.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["type"].startswith("/docs/errors#")
    assert document["request_id"] == reply.headers["x-request-id"]
    return document
