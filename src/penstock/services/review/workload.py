"""The numbers of `Workload`: how much work there is, how fast it comes and goes."""

from __future__ import annotations

from penstock.services.review.schemas import CategoryLoad, Rates, Workload
from penstock.services.review.workload_store import DAY, WINDOW_DAYS, Decided, WorkloadStore

_WEEK = 7
_NONE = Decided(None, 0, 0, None, None)


async def measure(store: WorkloadStore, *, owner: str | None, now: int) -> Workload:
    """Count the cases of one owner, or of all.

    An installation younger than 30 (7) days has the rates of its own life, of a day at least.
    """
    live = {each.category: each for each in await store.live(owner=owner, now=now)}
    opened = {each.category: each for each in await store.opened(owner=owner, now=now)}
    decided = {each.category: each for each in await store.decided(owner=owner, now=now)}
    overall = await store.overall(owner=owner, now=now)
    first = await store.first(owner=owner, now=now)
    age = 1.0 if first is None else max(1.0, (now - first) / DAY)
    week, month = min(_WEEK, age), min(WINDOW_DAYS, age)
    coming = sum(each.week for each in opened.values()) / week
    going = overall.week / week
    waiting = sum(each.open + each.claimed + each.escalated for each in live.values())
    oldest = min((each.oldest for each in live.values()), default=now)
    categories = sorted({*live, *opened, *decided}, key=lambda name: name or "")
    return Workload(
        open=sum(each.open for each in live.values()),
        claimed=sum(each.claimed for each in live.values()),
        escalated=sum(each.escalated for each in live.values()),
        overdue=sum(each.overdue for each in live.values()),
        oldest_age_seconds=max(0, now - oldest) / 1000,
        opened_per_day=Rates(
            round(coming, 2), round(sum(each.month for each in opened.values()) / month, 2)
        ),
        decided_per_day=Rates(round(going, 2), round(overall.month / month, 2)),
        median_seconds=_seconds(overall.median),
        p95_seconds=_seconds(overall.p95),
        backlog_in_7_days=_backlog(waiting, coming - going, 7),
        backlog_in_30_days=_backlog(waiting, coming - going, 30),
        categories=tuple(
            CategoryLoad(
                category=name,
                live=sum(live[name][1:4]) if name in live else 0,
                overdue=live[name].overdue if name in live else 0,
                opened=opened[name].month if name in opened else 0,
                decided=decided.get(name, _NONE).month,
                median_seconds=_seconds(decided.get(name, _NONE).median),
                p95_seconds=_seconds(decided.get(name, _NONE).p95),
            )
            for name in categories
        ),
    )


def _backlog(waiting: int, growth: float, days: int) -> float:
    return round(max(0.0, waiting + growth * days), 1)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
