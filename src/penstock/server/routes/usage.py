"""/v1/usage: what keys used, by day, key and service; and statistics of everyone's requests."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from penstock.clock import Clock
from penstock.errors import Forbidden, InvalidInput, StorageUnavailable
from penstock.server.routes.statistics import Service, StatisticsView, Top, view
from penstock.usage import Usage, UsageFilter, UsageRow
from penstock.usage.store import DAY, Group, is_position, position
from penstock.web.errors import responses
from penstock.web.instants import instant
from penstock.web.pages import Page, decode_cursor, encode_cursor
from penstock.web.principal import Principal
from penstock.web.roles import Viewer

DEFAULT_DAYS: Final = 30
MOST_DAYS: Final = 400
EARLIEST: Final = date(2000, 1, 1)
LATEST: Final = date(2999, 12, 31)

Cursor = Annotated[
    str | None, Query(max_length=1024, description="`next` of the page before this one.")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most sums on the page.")]
Key = Annotated[str | None, Query(max_length=64, description="Only what this key used.")]
Owner = Annotated[
    str | None,
    Query(max_length=100, description="Only keys of this owner; others than one's own: admins."),
]
First = Annotated[
    date | None,
    Query(alias="from", description="The first day, UTC. Default: 29 days before `to`."),
]
Last = Annotated[date | None, Query(alias="to", description="The last day, UTC. Default: today.")]
Groups = Annotated[
    list[Group],
    Query(
        alias="group",
        min_length=1,
        max_length=3,
        description="What each sum is of: repeat it for several, in the order of the list.",
    ),
]


class TokensView(BaseModel):
    """Tokens of upstream models."""

    in_: int = Field(alias="in", serialization_alias="in")
    out: int
    saved: int = Field(description="What cached answers would have cost.")


class UsageTotal(BaseModel):
    """A sum."""

    calls: int
    cached: int = Field(description="Calls that the cache answered.")
    tokens: TokensView
    spent_micros: dict[str, int] = Field(description="By currency, in millionths of its unit.")
    saved_micros: dict[str, int] = Field(description="By currency, in millionths of its unit.")


class UsageSum(UsageTotal):
    """A sum of one group; what it is not grouped by is null."""

    day: date | None
    owner: str | None
    key_id: str | None = Field(description="Empty for calls that no key made.")
    service: str | None


class UsagePage(Page[UsageSum]):
    """One page of sums, and the sum of all pages."""

    first_day: date
    last_day: date
    total: UsageTotal


def router(usage: Usage, clock: Clock) -> APIRouter:
    """The routes below /v1/usage."""
    routes = APIRouter(prefix="/v1/usage", tags=["usage"], responses=responses(StorageUnavailable))

    @routes.get("")
    async def get_usage(
        who: Viewer,
        key_id: Key = None,
        owner: Owner = None,
        first: First = None,
        last: Last = None,
        group: Groups = ["day", "key"],  # noqa: B006 - FastAPI reads the default, nobody changes it
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> UsagePage:
        """Add up calls, tokens and money; admins see all keys, others those of their owner."""
        today = datetime.fromtimestamp(clock.now(), UTC).date()
        first, last = _days(first, last, today=today)
        wanted = UsageFilter(
            first_day=_start(first),
            last_day=_start(last),
            owner=_owner(owner, who),
            key_id=key_id,
        )
        grouped = list(dict.fromkeys(group))
        after = None if cursor is None else _after(cursor, grouped)
        found = await usage.page(wanted, group=grouped, after=after, limit=limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return UsagePage(
            items=[_sum(row) for row in page],
            next=encode_cursor(position(page[-1], grouped)) if more else None,
            first_day=first,
            last_day=last,
            total=UsageTotal(**_counts(await usage.total(wanted))),
        )

    @routes.get("/statistics")
    async def get_statistics(
        who: Viewer,
        service: Service = "moderation",
        first: First = None,
        last: Last = None,
        top: Top = 20,
    ) -> StatisticsView:
        """Requests, blocked and cached ones, flags, users and calls of providers, by day."""
        today = datetime.fromtimestamp(clock.now(), UTC).date()
        first, last = _days(first, last, today=today)
        return await view(usage.statistics, service, _start(first), _start(last), who=who, top=top)

    return routes


def _days(first: date | None, last: date | None, *, today: date) -> tuple[date, date]:
    """The days asked for. Raises InvalidInput when they are no range, or a long one."""
    last = last or (today if first is None else max(first, today))
    if not EARLIEST <= last <= LATEST:
        raise _wrong("to", f"{last} is not between {EARLIEST} and {LATEST}")
    if first is None:
        first = last - timedelta(days=DEFAULT_DAYS - 1)
    if first > last:
        raise _wrong("from", f"{first} is later than {last}, the last day")
    if (last - first).days >= MOST_DAYS:
        raise _wrong("from", f"{first} to {last} are more than {MOST_DAYS} days")
    return first, last


def _owner(owner: str | None, who: Principal) -> str | None:
    if who.may("admin") or owner == who.owner:
        return owner
    if owner is None:
        return who.owner
    raise Forbidden(f"this key sees the usage of {who.owner}; all others are for admins")


def _after(cursor: str, group: list[Group]) -> tuple[Any, ...]:
    after: tuple[Any, ...] = decode_cursor(cursor, type=tuple[int | str, ...])
    if not is_position(after, group):
        raise _wrong("cursor", "it is of a list with other groups")
    return after


def _wrong(name: str, detail: str) -> InvalidInput:
    return InvalidInput(
        f"the query parameter {name} cannot be used",
        errors=[{"pointer": f"/{name}", "detail": detail}],
    )


def _sum(row: UsageRow) -> UsageSum:
    day = None if row.day is None else instant(row.day).date()
    return UsageSum(
        day=day, owner=row.owner, key_id=row.key_id, service=row.service, **_counts(row)
    )


def _counts(row: UsageRow) -> dict[str, Any]:
    tokens = {"in": row.tokens_in, "out": row.tokens_out, "saved": row.tokens_saved}
    return {
        "calls": row.calls,
        "cached": row.cached,
        "tokens": tokens,
        "spent_micros": row.spent_micros,
        "saved_micros": row.saved_micros,
    }


def _start(day: date) -> int:
    """The day's first instant, in milliseconds since 1970."""
    return (day - date(1970, 1, 1)).days * DAY
