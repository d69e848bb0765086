from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI

from penstock.http.asgi import fresh_notes
from penstock.web import errors
from penstock.web.principal import Principal
from penstock.web.roles import require


def guarded(principal: Principal | None, *, noted: bool = True) -> Any:
    app = FastAPI()
    errors.install(app)

    async def clear(asker: Annotated[Principal, Depends(require("operator"))]) -> str:
        return asker.key_id

    clear.__annotations__ = {
        "asker": Annotated[Principal, Depends(require("operator"))],
        "return": str,
    }
    app.post("/clear")(clear)

    async def authenticated(scope: Any, receive: Any, send: Any) -> None:
        if noted:
            scope["penstock"] = {**fresh_notes(), "principal": principal}
        await app(scope, receive, send)

    return authenticated


async def post(app: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post("/clear")


@pytest.mark.parametrize("role", ["operator", "admin"])
async def test_a_strong_enough_role_gets_through(role: Any) -> None:
    response = await post(guarded(Principal("key_1", "team", role)))

    assert response.json() == "key_1"


async def test_a_weaker_role_is_forbidden_and_told_why() -> None:
    response = await post(guarded(Principal("key_1", "team", "viewer")))

    assert response.status_code == 403
    assert response.json()["detail"] == "this needs the role operator; the key has the role viewer"


@pytest.mark.parametrize("noted", [True, False])
async def test_nobody_is_unauthorized(noted: bool) -> None:
    response = await post(guarded(None, noted=noted))

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
