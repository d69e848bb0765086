"""/v1/usage/statistics: how much was asked and what came of it, for everyone of the installation.

Sums are for every key that may read; who asked is for admins, of others only the caller itself.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from penstock.usage import readout
from penstock.usage.readout import Readout, Totals, Users, UserTotals
from penstock.usage.statistics import Statistics, Upstream
from penstock.web.instants import instant
from penstock.web.principal import Principal

Service = Annotated[
    str,
    Query(
        pattern=r"^[a-z][a-z_]{0,31}$",
        description="Whose requests: moderation, filterx, perspective.",
    ),
]
Top = Annotated[int, Query(ge=0, le=1000, description="How many users, those who ask most first.")]


class RequestTotals(BaseModel):
    """Requests, and what came of them."""

    requests: int
    blocked: int
    review: int = Field(description="Left to a human.")
    cached: int = Field(description="Answered by the cache.")


class DayTotals(RequestTotals):
    """The same of one day."""

    day: date


class UserView(BaseModel):
    """What one user asked."""

    user: str = Field(
        description="The request's user, or its key; `other`: all beyond 10,000 a day."
    )
    requests: int
    blocked: int


class UpstreamView(BaseModel):
    """Calls of providers for texts or images, by every service together."""

    type: Upstream
    calls: int
    errors: int
    total_seconds: float
    mean_seconds: float
    p95_seconds: float = Field(description="At most a twelfth too high.")


class StatisticsView(BaseModel):
    """What was counted on the days asked for."""

    service: str
    first_day: date
    last_day: date
    total: RequestTotals
    days: list[DayTotals] = Field(description="Days with requests, the oldest first.")
    flags: dict[str, int] = Field(description="Requests by flag, the most frequent first.")
    user_count: int | None = Field(description="Distinct users; for admins.")
    users: list[UserView]
    upstreams: list[UpstreamView]


async def view(
    statistics: Statistics, service: str, first: int, last: int, *, who: Principal, top: int
) -> StatisticsView:
    """Read and show; `first` and `last` are first instants of days, in ms."""
    found = await readout.read(statistics, service, first, last)
    if who.may("admin"):
        users = await readout.read_users(statistics, service, first, last, limit=top)
    else:
        users = await _own(statistics, service, first, last, who=who)
    return StatisticsView(
        service=service,
        first_day=instant(first).date(),
        last_day=instant(last).date(),
        total=RequestTotals(**_totals(found.total)),
        days=[
            DayTotals(day=instant(day).date(), **_totals(totals))
            for day, totals in sorted(found.days.items())
        ],
        flags=found.flag_totals,
        user_count=users.number if who.may("admin") else None,
        users=[UserView(**one._asdict()) for one in users.top],
        upstreams=[_upstream(found, what) for what in readout.UPSTREAMS],
    )


async def _own(
    statistics: Statistics, service: str, first: int, last: int, *, who: Principal
) -> Users:
    """What the caller's key asked, without a user named in its requests."""
    days = await readout.read_user_days(statistics, service, first, last, names=[who.key_id])
    own = days.get(who.key_id, {}).values()
    sums = [sum(day.requests for day in own), sum(day.blocked for day in own)]
    return Users(1, [UserTotals(who.key_id, *sums)] if own else [])


def _upstream(found: Readout, what: Upstream) -> UpstreamView:
    calls = found.upstream(what)
    return UpstreamView(
        type=what,
        calls=calls.calls,
        errors=calls.errors,
        total_seconds=calls.micros / 1e6,
        mean_seconds=calls.mean_seconds,
        p95_seconds=readout.spread(found.calls[what]).p95,
    )


def _totals(totals: Totals) -> dict[str, int]:
    return {name: getattr(totals, name) for name in Totals.__struct_fields__}
