"""How often a key may ask, and when it has spent what it may.

    principal -> limit of the route -> limit of the key -> budget (of what starts work) -> app

Token buckets per key and route, in the hub: shared by all servers where the hub is. Every answer to
a limited key says how much is left (`RateLimit`, draft-ietf-httpapi-ratelimit-headers-11), one item
per limit; a refused one also when to come back.

Of a key that has spent its budget, what starts work for later is refused here (`START_WORK`). What
is answered at once is refused behind the cache, where a provider would be asked
(`services/moderation/evidence`): a remembered answer costs nothing. Batches ask again before each
of their items (`Budgets.check_key`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from penstock.clock import Clock
from penstock.errors import ConfigurationError, InvalidInput, PenstockError, RateLimited
from penstock.http.asgi import ASGIApp, Headers, Message, Receive, Scope, Send
from penstock.http.problems import render, report
from penstock.hub.hub import Grant, Hub
from penstock.observe.metrics import Metrics
from penstock.usage.budgets import Budget, Budgets, Period
from penstock.web.principal import Limits, Principal, RouteLimit

if TYPE_CHECKING:
    from penstock.server.store import KeyRecord

WINDOW: Final = 60.0  # seconds; a key's own limit is per minute
MOST_REQUESTS: Final = 1_000_000  # of one limit
MOST_ROUTES: Final = 50  # limits of one key
START_WORK: Final = ("/v1/batches", "/api/moderate/batch")
"""Where POST starts work that may ask a provider later."""

_ROUTE = re.compile(r"(?:(?P<method>[A-Z]+) +)?(?P<path>/[!#-\[\]-~]*)")
_RATE = re.compile(r"(?P<limit>\d{1,7})(?:/(?P<unit>[smhd]))?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NAMES = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86_400.0: "day"}
_UNIT_OF = {seconds: unit for unit, seconds in _SECONDS.items()}


class Quota(NamedTuple):
    """One limit that a request counts against."""

    name: str  # as the headers have it
    bucket: str  # in the hub
    limit: int
    window: float


class Limiter:
    """Lets requests of known callers through, or refuses them.

    `default_rate` is in requests a minute for keys without a limit of their own, 0: none; `routes`
    hold for each key that has no other limit for that route.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        clock: Clock,
        default_rate: int = 0,
        routes: Sequence[RouteLimit] = (),
        budgets: Budgets | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._hub = hub
        self._clock = clock
        self._default_rate = default_rate
        self._routes = tuple(routes)
        self._budgets = budgets
        self._metrics = metrics

    async def take(self, bucket: str, limit: int, window: float) -> Grant:
        """Ask the hub; at most one short round trip."""
        at = self._clock.monotonic()
        grant = self._hub.take(bucket, limit=limit, window=window, at=at)
        return grant if isinstance(grant, Grant) else await grant

    def quotas(self, who: Principal, method: str, path: str) -> list[Quota]:
        """What a request counts against, the narrowest first."""
        found: list[Quota] = []
        if self._routes or who.limits.routes:
            narrow = route_of(_merged(who.limits.routes, self._routes), method, path)
            if narrow is not None and narrow.limit:
                bucket = f"rate:{who.key_id}:{narrow.route}"
                found.append(Quota(narrow.route, bucket, narrow.limit, narrow.window))
        limit = who.limits.requests_per_minute
        if limit is None:
            limit = self._default_rate
        if limit:
            found.append(Quota("default", f"rate:{who.key_id}", limit, WINDOW))
        return found

    async def serve(
        self, app: ASGIApp, who: Principal, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Run `app`, or answer 429; both with what is left."""
        quotas = self.quotas(who, scope["method"], scope["path"])
        if not quotas and who.limits.budget is None:
            await app(scope, receive, send)
            return
        taken: list[tuple[Quota, Grant]] = []
        begun = False

        def send_limited(message: Message) -> Any:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = [*message.get("headers", ()), *_headers(quotas, taken)]
                message = {**message, "headers": headers}
            return send(message)

        try:
            await self._admit(who, quotas, taken, scope)
            await app(scope, receive, send_limited)
        except PenstockError as error:
            # Answered here, because the answer must carry the limit's headers too.
            if begun or error.status == 500:
                raise
            report(error, self._metrics)
            problem = render(error, scope)
            start = {"type": "http.response.start", "status": problem.status}
            await send_limited({**start, "headers": problem.headers})
            await send_limited({"type": "http.response.body", "body": problem.body})

    async def _admit(
        self, who: Principal, quotas: list[Quota], taken: list[tuple[Quota, Grant]], scope: Scope
    ) -> None:
        """Raise RateLimited or BudgetExhausted; `taken` is filled with what was asked."""
        for quota in quotas:
            grant = await self.take(quota.bucket, quota.limit, quota.window)
            taken.append((quota, grant))
            if not grant.allowed:
                self._count("rate" if quota.name == "default" else "route")
                where = "" if quota.name == "default" else f" to {quota.name}"
                raise RateLimited(
                    f"the limit of {quota.limit} requests a {_NAMES[quota.window]}{where} "
                    "is used up",
                    retry_after=grant.retry_after,
                )
        budget = who.limits.budget
        if budget is None or self._budgets is None:
            return
        if starts_work(scope["method"], scope["path"]):
            await self._budgets.check(who.key_id, budget)

    def _count(self, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.count("penstock_limited_total", reason=reason)


def starts_work(method: str, path: str) -> bool:
    """Whether a request starts work that may ask a provider later."""
    if method != "POST":
        return False
    if path.startswith("/v1/jobs/"):
        return path.endswith("/retry")
    return path.startswith(START_WORK) and not path.endswith("/cancel")


def route_of(limits: Iterable[RouteLimit], method: str, path: str) -> RouteLimit | None:
    """The first limit that names this route; HEAD counts as the GET that it is."""
    method = "GET" if method == "HEAD" else method
    for limit in limits:
        wanted, pattern = _pattern(limit.route)
        if wanted in ("", method) and pattern.fullmatch(path):
            return limit
    return None


def read_limit(route: str, rate: str) -> RouteLimit:
    """A limit as people write it: a route and `600/m` (s, m, h, d), or `0` for none.

    A path is meant as it is; `*` in it stands for anything, `{name}` for one step. Raises
    ValueError, which says what is wrong.
    """
    found = _ROUTE.fullmatch(route.strip())
    if found is None:
        raise ValueError(f"{route!r} is no route; write a path, or a method and a path: GET /v1/x")
    amount = _RATE.fullmatch(rate.strip())
    if amount is None or (amount["unit"] is None and amount["limit"].strip("0")):
        raise ValueError(f"{rate!r} is no rate; write requests by s, m, h or d: 600/m, or 0: none")
    limit = int(amount["limit"])
    if limit > MOST_REQUESTS:
        raise ValueError(f"{rate!r} is too much; at most {MOST_REQUESTS} requests")
    method, path = found["method"] or "", found["path"]
    window = _SECONDS[amount["unit"] or "m"]
    return RouteLimit(f"{method} {path}".strip(), limit, window)


def read_limits(words: Iterable[str]) -> tuple[RouteLimit, ...]:
    """The limits of a setting: `POST /v1/moderations=600/m`. Raises ConfigurationError."""
    try:
        return tuple(_read_word(word) for word in words)
    except ValueError as error:
        raise ConfigurationError(f"PENSTOCK_RATE_LIMITS: {error}") from None


def read_stored(document: str | None) -> tuple[RouteLimit, ...]:
    """The limits of a key, from their JSON on record."""
    if not document:
        return ()
    rates = msgspec.json.decode(document, type=dict[str, str])
    return tuple(read_limit(route, rate) for route, rate in rates.items())


def kept_routes(rates: Mapping[str, str] | None) -> str | None:
    """The JSON to keep of a key's limits by route. Raises InvalidInput."""
    if not rates:
        return None
    try:
        if len(rates) > MOST_ROUTES:
            raise ValueError(f"a key has limits for at most {MOST_ROUTES} routes, not {len(rates)}")
        read = [read_limit(route, rate) for route, rate in rates.items()]
    except ValueError as error:
        wrong = [{"pointer": "/route_limits", "detail": str(error)}]
        raise InvalidInput(str(error), errors=wrong) from None
    return msgspec.json.encode({limit.route: written(limit) for limit in read}).decode()


def limits_of(record: KeyRecord) -> Limits:
    """What a key on record may use."""
    budget = None
    if record.budget_micros is not None or record.budget_tokens is not None:
        period: Period = "day" if record.budget_period == "day" else "month"
        budget = Budget(record.budget_micros, record.budget_tokens, period)
    return Limits(record.rate_limit, read_stored(record.route_limits), budget)


def written(limit: RouteLimit) -> str:
    """The rate as people write it."""
    return f"{limit.limit}/{_UNIT_OF[limit.window]}" if limit.limit else "0"


def _read_word(word: str) -> RouteLimit:
    route, equals, rate = word.rpartition("=")
    if not equals:
        raise ValueError(f"{word!r} is no limit; write route=rate: POST /v1/batches=10/m")
    return read_limit(route, rate)


@lru_cache(maxsize=1024)
def _merged(own: tuple[RouteLimit, ...], common: tuple[RouteLimit, ...]) -> tuple[RouteLimit, ...]:
    """A key's limits before those of the server, exact paths before patterns."""
    named = {limit.route for limit in own}
    both = [*own, *(limit for limit in common if limit.route not in named)]
    return tuple(sorted(both, key=lambda limit: "*" in limit.route or "{" in limit.route))


@lru_cache(maxsize=1024)
def _pattern(route: str) -> tuple[str, re.Pattern[str]]:
    method, _, path = route.rpartition(" ")
    parts = re.split(r"(\*|\{[^}/]*\})", path)
    plain = {"*": ".*"}
    spelt = (
        plain.get(part) or ("[^/]+" if part.startswith("{") else re.escape(part)) for part in parts
    )
    return method, re.compile("".join(spelt), re.DOTALL)


def _headers(quotas: Sequence[Quota], taken: Sequence[tuple[Quota, Grant]]) -> Headers:
    if not quotas:
        return []
    policies = (f'"{quota.name}";q={quota.limit};w={quota.window:.0f}' for quota in quotas)
    left = (
        f'"{quota.name}";r={grant.remaining};t={ceil(grant.reset_after)}' for quota, grant in taken
    )
    return [
        (b"ratelimit-policy", ", ".join(policies).encode()),
        (b"ratelimit", ", ".join(left).encode()),
    ]
