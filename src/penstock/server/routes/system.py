"""Whether the server lives, is ready and is well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from penstock.observe.health import HealthChecks, SystemUsage
from penstock.web.roles import MaybeViewer

Usage = Callable[[], SystemUsage]

DRAINING: Final = "penstock.draining"
"""In the lifespan state of a server that still serves and was asked to end: `cli/draining.py`."""


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class HealthReport(BaseModel):
    """The status word; checks and system figures only for holders of a key."""

    status: str
    checks: dict[str, Any] | None = None
    system: dict[str, Any] | None = None


def router(checks: HealthChecks, usage: Usage) -> APIRouter:
    """/livez, /readyz and /health."""
    routes = APIRouter(tags=["system"])

    @routes.get("/livez")
    async def live() -> Alive:
        """200 as long as the process answers; looks at nothing else."""
        return Alive()

    @routes.get("/readyz", responses={503: {"model": HealthReport}})
    async def ready(request: Request, response: Response) -> HealthReport:
        """200 when requests can be served, 503 when not, or not for long."""
        if request.scope.get("state", {}).get(DRAINING):
            response.status_code = 503
            return HealthReport(status="draining")
        report = await health_report(checks)
        if report.status == "unhealthy":
            response.status_code = 503
        return report

    @routes.get("/health")
    async def health(who: MaybeViewer) -> HealthReport:
        """The status word; with a key, every check with what to do about it."""
        return await health_report(checks, usage if who else None)

    return routes


async def health_report(checks: HealthChecks, usage: Usage | None = None) -> HealthReport:
    """Run every check. Without `usage` nothing but the word leaves the server."""
    if usage is None:
        return HealthReport(status=(await checks.recent()).status)
    health = await checks.run()
    found: dict[str, Any] = msgspec.to_builtins(health.checks)
    return HealthReport(status=health.status, checks=found, system=msgspec.to_builtins(usage()))
