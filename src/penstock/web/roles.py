"""Which role a route asks for, as a FastAPI dependency."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from penstock.errors import Unauthorized
from penstock.web.principal import Principal, Role

_BEARER = HTTPBearer(scheme_name="bearer", auto_error=False)


def require(role: Role) -> Callable[[Request], Awaitable[Principal]]:
    """Return a dependency that gives the Principal when it has `role` or a stronger one.

        @router.delete("/v1/cache")
        async def clear(asker: Annotated[Principal, Depends(require("admin"))]) -> Cleared: ...

    Raises Unauthorized without a principal and Forbidden with a weaker one. It is async so that
    FastAPI calls it in place, not in a thread.
    """
    # Names the role in the OpenAPI document (3.1: security requirements of any scheme may list
    # roles).
    shown = Security(_BEARER, scopes=[role])

    async def principal(request: Request, _: object = shown) -> Principal:
        notes = request.scope.get("penstock") or {}
        asker: Principal | None = notes.get("principal")
        if asker is None:
            raise Unauthorized()
        asker.need(role)
        return asker

    return principal


async def _anyone(request: Request) -> Principal | None:
    asker: Principal | None = (request.scope.get("penstock") or {}).get("principal")
    return asker


Viewer = Annotated[Principal, Depends(require("viewer"))]
Operator = Annotated[Principal, Depends(require("operator"))]
Admin = Annotated[Principal, Depends(require("admin"))]
MaybeViewer = Annotated[Principal | None, Depends(_anyone)]
"""Public routes that tell more to holders of a key."""
