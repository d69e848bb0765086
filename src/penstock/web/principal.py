"""Who asks: the holder of an API key, as authentication puts it into `scope["penstock"]`.

Knows no framework, so that authentication and tests import it without FastAPI.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from penstock.errors import Forbidden
from penstock.usage.budgets import Budget  # looked up when a principal is decoded

Role = Literal["viewer", "operator", "admin"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""Every role, the weakest first; each may do what those before it may."""

_RANK: Final[dict[str, int]] = {role: rank for rank, role in enumerate(ROLES)}


class RouteLimit(msgspec.Struct, frozen=True):
    """How often one route may be called; `route` is as people write it: `POST /v1/batches`."""

    route: str
    limit: int  # requests in a window; 0: no bound
    window: float  # seconds


class Limits(msgspec.Struct, frozen=True):
    """What a key may use."""

    requests_per_minute: int | None = None  # None = the server's default
    routes: tuple[RouteLimit, ...] = ()  # before the server's of the same name
    budget: Budget | None = None


class Principal(msgspec.Struct, frozen=True):
    """The holder of a key: its id, whose data it sees, what it may do."""

    key_id: str
    owner: str
    role: Role
    limits: Limits = Limits()

    def may(self, role: Role) -> bool:
        """Whether this principal's role includes `role`.

        >>> Principal("key_1", "team", "operator").may("viewer")
        True
        """
        return _RANK[self.role] >= _RANK[role]

    def need(self, role: Role) -> None:
        """Raise Forbidden unless this principal's role includes `role`."""
        if not self.may(role):
            raise Forbidden(f"this needs the role {role}; the key has the role {self.role}")
