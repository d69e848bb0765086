"""/v1/keys: making, listing, changing and revoking API keys; asking whose key one holds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from penstock.errors import Conflict, NotFound, StorageUnavailable
from penstock.server.keys import PREFIX_PATTERN, TOKEN_PREFIX, KeyRing
from penstock.server.limits import kept_routes, limits_of, written
from penstock.server.store import KeyRecord
from penstock.usage.budgets import Budget, Budgets, Period
from penstock.web.errors import responses
from penstock.web.instants import instant, maybe
from penstock.web.pages import Page, decode_cursor, encode_cursor
from penstock.web.principal import Limits, Principal, Role
from penstock.web.roles import Admin, Viewer

LONGEST_LIFE: Final = 10 * 365 * 86_400  # seconds
HIGHEST_LIMIT: Final = 1_000_000  # requests a minute
HIGHEST_BUDGET: Final = 10**15

Id = Annotated[str, Path(min_length=1, max_length=64, examples=["key_15cfcb57edc7a4eb"])]
Cursor = Annotated[
    str | None, Query(max_length=1024, description="`next` of the page before this one.")
]
Limit = Annotated[int, Query(ge=1, le=200, description="Most keys on the page.")]
Label = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Instant = datetime | None
RateLimit = Annotated[
    int | None,
    Field(
        ge=0,
        le=HIGHEST_LIMIT,
        description="Requests a minute; 0: no limit, null: the server's default.",
    ),
]
RouteLimits = Annotated[
    dict[str, str] | None,
    Field(
        description="Requests by route, as `600/m` (s, m, h, d) or `0` for none; before the "
        "server's limits of the same routes.",
        examples=[{"POST /v1/batches": "10/h"}],
    ),
]
BudgetMicros = Annotated[
    int | None,
    Field(
        ge=0,
        le=HIGHEST_BUDGET,
        description="Millionths of a currency's unit that the key may spend in a period.",
    ),
]
BudgetTokens = Annotated[
    int | None,
    Field(ge=0, le=HIGHEST_BUDGET, description="Tokens that it may use in a period, in and out."),
]
BudgetPeriod = Annotated[Period, Field(description="The day or the month, UTC.")]


class KeyRequest(BaseModel, extra="forbid"):
    """The key to make."""

    name: Label = Field(description="What the key is for, to recognise it by.")
    role: Role = Field(description="viewer reads, operator also changes, admin may do everything.")
    owner: Label | None = Field(
        None,
        description="Whose records the key sees: keys with the same owner share them. "
        "Default: the key's own id.",
    )
    rate_limit: RateLimit = None
    route_limits: RouteLimits = None
    budget_micros: BudgetMicros = None
    budget_tokens: BudgetTokens = None
    budget_period: BudgetPeriod = "month"
    expires_in_seconds: int | None = Field(
        None, ge=1, le=LONGEST_LIFE, description="The key's life from now on; null: without end."
    )
    prefix: str = Field(
        TOKEN_PREFIX,
        pattern=PREFIX_PATTERN,
        description="How the key begins, for clients that check it (`fist_`).",
    )


class BudgetView(BaseModel):
    """What a key may spend in a period."""

    micros: int | None = Field(description="Of each currency; null: no bound.")
    tokens: int | None
    period: Period


class SpentView(BudgetView):
    """The same, and what of it is spent, by all servers to the last second or so."""

    spent_micros: dict[str, int] = Field(description="By currency, in millionths of its unit.")
    used_tokens: int
    resets_at: datetime


class KeyChange(BaseModel, extra="forbid"):
    """What is to be different; what is left out stays as it is."""

    name: Label = Field("", description="What the key is for.")
    rate_limit: RateLimit = None
    route_limits: RouteLimits = None
    budget_micros: BudgetMicros = None
    budget_tokens: BudgetTokens = None
    budget_period: BudgetPeriod = "month"


class KeyView(BaseModel):
    """A key without its token, which nobody can show again."""

    id: str
    name: str
    owner: str
    role: Role
    prefix: str = Field(description="The token's first characters.")
    rate_limit: int | None
    route_limits: dict[str, str]
    budget: BudgetView | None
    created_at: datetime
    expires_at: Instant
    revoked_at: Instant
    last_used_at: Instant = Field(description="To the minute.")


class NewKeyView(KeyView):
    """A key just made. The token is shown here and never again."""

    token: str


class CurrentKey(BaseModel):
    """Who the caller is."""

    key_id: str = Field(description="`env`: PENSTOCK_ADMIN_KEY; `anonymous`: no key is asked.")
    owner: str
    role: Role
    rate_limit: int | None = Field(description="The key's own; null: the server's default.")
    route_limits: dict[str, str] = Field(description="The key's own, by route.")
    budget: SpentView | None


def router(keys: KeyRing, budgets: Budgets | None = None) -> APIRouter:
    """The routes below /v1/keys."""
    routes = APIRouter(prefix="/v1/keys", tags=["keys"], responses=responses(StorageUnavailable))

    @routes.post("", status_code=201)
    async def create_key(request: KeyRequest, response: Response, who: Admin) -> NewKeyView:
        """Make a key. Its token is in this answer only: store it now."""
        new = await keys.create(
            request.name,
            actor=who.key_id,
            role=request.role,
            owner=request.owner,
            rate_limit=request.rate_limit,
            route_limits=request.route_limits,
            budget=Budget(request.budget_micros, request.budget_tokens, request.budget_period),
            expires_in=request.expires_in_seconds,
            prefix=request.prefix,
        )
        response.headers["location"] = f"/v1/keys/{new.record.id}"
        response.headers["cache-control"] = "no-store"
        return NewKeyView(token=new.token, **_view(new.record).model_dump())

    @routes.get("")
    async def list_keys(_: Admin, cursor: Cursor = None, limit: Limit = 50) -> Page[KeyView]:
        """List the keys, newest first, revoked ones too."""
        after = None if cursor is None else decode_cursor(cursor, type=tuple[int, str])
        found = await keys.page(after=after, limit=limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return Page(
            items=[_view(record) for record in page],
            next=encode_cursor((page[-1].created_at, page[-1].id)) if more else None,
        )

    @routes.get("/current")
    async def get_current_key(who: Viewer) -> CurrentKey:
        """Whose key this request carries, and what it may do."""
        return CurrentKey(
            key_id=who.key_id,
            owner=who.owner,
            role=who.role,
            rate_limit=who.limits.requests_per_minute,
            route_limits=_routes(who.limits),
            budget=await _spent(who, budgets),
        )

    @routes.get("/{key_id}", responses=responses(NotFound))
    async def get_key(key_id: Id, _: Admin) -> KeyView:
        """One key."""
        return _view(await keys.get(key_id))

    @routes.patch("/{key_id}", responses=responses(NotFound, Conflict))
    async def change_key(key_id: Id, request: KeyChange, who: Admin) -> KeyView:
        """Change a key's name, its limits or its budget; every server knows within a second."""
        return _view(await keys.change(key_id, _values(request), actor=who.key_id))

    @routes.delete("/{key_id}", responses=responses(NotFound, Conflict))
    async def revoke_key(key_id: Id, who: Admin) -> KeyView:
        """Revoke a key: every server refuses it from now on. The last admin key stays."""
        return _view(await keys.revoke(key_id, actor=who.key_id))

    return routes


def _values(request: KeyChange) -> dict[str, Any]:
    """The columns that a request sets."""
    values: dict[str, Any] = request.model_dump(exclude_unset=True)
    if "route_limits" in values:
        values["route_limits"] = kept_routes(values["route_limits"])
    return values


def _view(record: KeyRecord) -> KeyView:
    limits = limits_of(record)
    return KeyView(
        id=record.id,
        name=record.name,
        owner=record.owner,
        role=record.role,
        prefix=record.prefix,
        rate_limit=record.rate_limit,
        route_limits=_routes(limits),
        budget=_budget(limits.budget) if limits.budget is not None else None,
        created_at=instant(record.created_at),
        expires_at=maybe(record.expires_at),
        revoked_at=maybe(record.revoked_at),
        last_used_at=maybe(record.last_used_at),
    )


def _budget(budget: Budget) -> BudgetView:
    return BudgetView(micros=budget.micros, tokens=budget.tokens, period=budget.period)


def _routes(limits: Limits) -> dict[str, str]:
    return {limit.route: written(limit) for limit in limits.routes}


async def _spent(who: Principal, budgets: Budgets | None) -> SpentView | None:
    budget = who.limits.budget
    if budget is None or budgets is None:
        return None
    spent = await budgets.spent(who.key_id, budget.period)
    return SpentView(
        **_budget(budget).model_dump(),
        spent_micros=spent.micros,
        used_tokens=spent.tokens,
        resets_at=instant(int(spent.ends * 1000)),
    )
