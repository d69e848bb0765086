"""/v1/policies: drafted, rehearsed on what was recorded, activated, rolled back, given to keys."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, Field

from penstock.clock import Clock
from penstock.errors import Conflict, Forbidden, InvalidInput, NotFound, StorageUnavailable
from penstock.server.keys import KeyRing
from penstock.server.policies import (
    ChangeView,
    DifferenceView,
    DryRunView,
    PolicySummary,
    PolicyView,
    RevisionSummary,
    RevisionView,
    SuggestionView,
    change_of,
    difference_of,
    dry_run_of,
    policy_of,
    revision_of,
    revision_summary,
    suggestion_of,
    summary_of,
)
from penstock.services.moderation.capacity import suggest
from penstock.services.moderation.policies import Policies
from penstock.services.moderation.policy import Judge, Policy, read_policy
from penstock.services.moderation.rehearsal import MOST_EXAMPLES, Plan, Rehearsal
from penstock.services.moderation.rehearsal_store import Selection
from penstock.web.errors import responses
from penstock.web.pages import Page, decode_cursor, encode_cursor
from penstock.web.principal import Principal
from penstock.web.roles import Admin, Operator, Viewer

UNSTORED: Final = ("env", "anonymous")  # keys that are in no table
LARGEST: Final = 1 << 53  # revisions are numbers that JSON can say

Id = Annotated[str, Path(min_length=1, max_length=200, examples=["forum"])]
KeyId = Annotated[str, Path(min_length=1, max_length=64, examples=["key_15cfcb57edc7a4eb"])]
Number = Annotated[int, Path(ge=0, le=LARGEST, description="A revision.")]
Cursor = Annotated[
    str | None, Query(max_length=1024, description="`next` of the page before this one.")
]
Limit = Annotated[int, Query(ge=1, le=200, description="Most revisions on the page.")]
IfMatch = Annotated[
    str | None,
    Header(max_length=100, description="The ETag of the policy: another change came first: 409."),
]
Expected = Annotated[
    int | None,
    Field(
        ge=0,
        le=LARGEST,
        description="The revision that you take for active (0: none, or the settings'); "
        "if another is, nothing is changed: 409. Like If-Match.",
    ),
]
Show = Callable[..., Awaitable[PolicyView]]
Document = Annotated[dict[str, Any], Field(examples=[{"id": "forum", "thresholds": {"hate": {}}}])]


class DraftRequest(BaseModel, extra="forbid"):
    """A policy, to be the next revision under its id."""

    policy: Document
    note: str = Field("", max_length=500, pattern=r"^[^\x00]*$", description="What it is for.")


class ActivateRequest(BaseModel, extra="forbid"):
    """Which revision is to hold."""

    revision: int = Field(ge=0, le=LARGEST)
    expected: Expected = None


class RollBackRequest(BaseModel, extra="forbid"):
    """Take the last activation back."""

    expected: Expected = None


class SelectionRequest(BaseModel, extra="forbid"):
    """Which recorded verdicts are looked at: all, unless something is said."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = Field(None, description="Not included.")
    owner: str | None = Field(
        None, max_length=200, description="Whose verdicts; operators see their owner's only."
    )
    key_id: str | None = Field(None, max_length=64, description="Only what this key asked.")


class DryRunRequest(SelectionRequest, extra="forbid"):
    """What is tried; by default the latest revision."""

    revision: int | None = Field(None, ge=0, le=LARGEST)
    policy: Document | None = Field(None, description="A policy that was not drafted yet.")
    against: Literal["recorded", "active"] = Field(
        "recorded",
        description="Compared with the decisions that were recorded, or with what the active "
        "revision makes of the same scores.",
    )
    limit: int = Field(20, ge=0, le=MOST_EXAMPLES, description="Most examples.")


class ChangesRequest(DryRunRequest, extra="forbid"):
    """The same dry run as before, and where to go on."""

    cursor: str | None = Field(None, max_length=1024)
    limit: int = Field(50, ge=1, le=MOST_EXAMPLES, description="Most verdicts on the page.")


class SuggestRequest(SelectionRequest, extra="forbid"):
    """How much a team can review."""

    reviews_per_day: float = Field(ge=0, le=10_000_000, allow_inf_nan=False)


def router(
    policies: Policies, *, rehearsal: Rehearsal, keys: KeyRing, clock: Clock, asks_provider: bool
) -> APIRouter:
    """The routes below /v1/policies; `asks_provider`: whether one is set here."""
    routes = APIRouter(
        prefix="/v1/policies", tags=["policies"], responses=responses(StorageUnavailable)
    )
    shown = partial(policy_of, policies, asks_provider=asks_provider)
    _add_reading(routes, policies, shown, asks_provider=asks_provider)
    _add_changing(routes, policies, shown)
    _add_giving(routes, policies, keys)
    _add_trying(routes, policies, rehearsal, clock)
    return routes


def _add_reading(
    routes: APIRouter, policies: Policies, shown: Show, *, asks_provider: bool
) -> None:
    @routes.get("")
    async def list_policies(_: Viewer) -> Page[PolicySummary]:
        """List all policies, the installation's first; there are few."""
        found = [
            PolicySummary(**summary_of(policies, each, asks_provider=asks_provider))
            for each in await policies.all()
        ]
        return Page(items=found, next=None)

    @routes.get("/{policy_id}", responses=responses(NotFound))
    async def get_policy(policy_id: Id, response: Response, who: Viewer) -> PolicyView:
        """One policy: what holds, its revisions, its keys. Its ETag is for If-Match.

        Who is no admin sees of its keys only the one that asks.
        """
        only_key = None if who.may("admin") else who.key_id
        standing = await policies.standing(policy_id)
        return _tagged(await shown(standing, only_key=only_key), response)

    @routes.get("/{policy_id}/revisions", responses=responses(NotFound))
    async def list_revisions(
        policy_id: Id, _: Viewer, cursor: Cursor = None, limit: Limit = 50
    ) -> Page[RevisionSummary]:
        """List the revisions of a policy, latest first."""
        await policies.standing(policy_id)
        before = None if cursor is None else decode_cursor(cursor, type=int)
        found = await policies.revisions(policy_id, before=before, limit=limit + 1)
        page = found[:limit]
        return Page(
            items=[revision_summary(each) for each in page],
            next=encode_cursor(page[-1].number) if len(found) > limit else None,
        )

    @routes.get("/{policy_id}/revisions/{number}", responses=responses(NotFound))
    async def get_revision(policy_id: Id, number: Number, _: Viewer) -> RevisionView:
        """One revision with its document."""
        return revision_of(await policies.revision(policy_id, number))

    @routes.get("/{policy_id}/diff", responses=responses(NotFound))
    async def compare_revisions(
        policy_id: Id,
        _: Viewer,
        before: Annotated[
            int | None, Query(alias="from", ge=0, le=LARGEST, description="Default: the active.")
        ] = None,
        after: Annotated[
            int | None, Query(alias="to", ge=0, le=LARGEST, description="Default: the latest.")
        ] = None,
    ) -> DifferenceView:
        """Where two revisions differ."""
        standing = await policies.standing(policy_id)
        old = before if before is not None else standing.active
        new = standing.latest if after is None else after
        first = standing.latest if old is None else old
        return difference_of(
            await policies.revision(policy_id, first), await policies.revision(policy_id, new)
        )


def _add_changing(routes: APIRouter, policies: Policies, shown: Show) -> None:
    @routes.post("", status_code=201, responses=responses(Conflict))
    async def draft_policy(request: DraftRequest, response: Response, who: Admin) -> RevisionView:
        """Write the next revision of a policy. It holds for nobody until it is activated.

        What says the same as the latest revision is that revision: nothing is written.
        """
        policy = read_policy(_named(request.policy), pointer="/policy")
        made = await policies.draft(policy, actor=who.key_id, note=request.note)
        response.headers["location"] = f"/v1/policies/{made.policy_id}/revisions/{made.number}"
        return revision_of(made)

    @routes.post("/{policy_id}/activate", responses=responses(NotFound, Conflict))
    async def activate_policy(
        policy_id: Id,
        request: ActivateRequest,
        response: Response,
        who: Admin,
        if_match: IfMatch = None,
    ) -> PolicyView:
        """Let a revision hold from now on, on every server, also for what is cached.

        `notes` says when nobody here reads under it.
        """
        standing = await policies.activate(
            policy_id,
            request.revision,
            actor=who.key_id,
            expected=_expected(request.expected, if_match),
        )
        return _tagged(await shown(standing), response)

    @routes.post("/{policy_id}/rollback", responses=responses(NotFound, Conflict))
    async def roll_back_policy(
        policy_id: Id,
        response: Response,
        who: Admin,
        request: RollBackRequest | None = None,
        if_match: IfMatch = None,
    ) -> PolicyView:
        """Let the revision hold that held before; once more, the one before that."""
        expected = _expected(request.expected if request else None, if_match)
        standing = await policies.roll_back(policy_id, actor=who.key_id, expected=expected)
        return _tagged(await shown(standing), response)


def _add_giving(routes: APIRouter, policies: Policies, keys: KeyRing) -> None:
    @routes.put(
        "/{policy_id}/keys/{key_id}", status_code=204, responses=responses(NotFound, Conflict)
    )
    async def assign_policy(policy_id: Id, key_id: KeyId, who: Admin) -> None:
        """Let this policy decide what the key asks, instead of the installation's."""
        if key_id not in UNSTORED:
            await keys.get(key_id)
        await policies.assign(policy_id, key_id, actor=who.key_id)

    @routes.delete("/{policy_id}/keys/{key_id}", status_code=204, responses=responses(NotFound))
    async def unassign_policy(policy_id: Id, key_id: KeyId, who: Admin) -> None:
        """Let the installation's policy decide what the key asks."""
        await policies.unassign(policy_id, key_id, actor=who.key_id)


def _add_trying(routes: APIRouter, policies: Policies, rehearsal: Rehearsal, clock: Clock) -> None:
    @routes.post("/{policy_id}/dry-run", responses=responses(NotFound, Conflict))
    async def dry_run_policy(policy_id: Id, request: DryRunRequest, who: Operator) -> DryRunView:
        """What a policy would have decided about recorded verdicts, without one model call."""
        plan = await _plan(policies, policy_id, request, who)
        began = clock.monotonic()
        outcome = await rehearsal.run(plan, examples=request.limit)
        return dry_run_of(plan, outcome, seconds=clock.monotonic() - began)

    @routes.post("/{policy_id}/dry-run/changes", responses=responses(NotFound, Conflict))
    async def list_dry_run_changes(
        policy_id: Id, request: ChangesRequest, who: Operator
    ) -> Page[ChangeView]:
        """All verdicts that would change, newest first, page by page.

        A page may be short or empty where changes are rare: the last is the one without `next`.
        """
        plan = await _plan(policies, policy_id, request, who)
        after = None
        if request.cursor is not None:
            after = decode_cursor(request.cursor, type=tuple[int, str])
        found, place = await rehearsal.changes(plan, after=after, limit=request.limit)
        return Page(
            items=[change_of(each) for each in found],
            next=None if place is None else encode_cursor(place),
        )

    @routes.post("/{policy_id}/suggest", responses=responses(NotFound, Conflict))
    async def suggest_policy(
        policy_id: Id, request: SuggestRequest, who: Operator
    ) -> SuggestionView:
        """Review thresholds that fit a team's capacity, learned from recorded scores."""
        began = clock.monotonic()
        capacity = request.reviews_per_day
        found = await suggest(
            rehearsal,
            await policies.judge(policy_id),
            reviews_per_day=capacity,
            selection=_selection(request, who),
        )
        return suggestion_of(found, capacity=capacity, seconds=clock.monotonic() - began)


def _tagged(view: PolicyView, response: Response) -> PolicyView:
    response.headers["etag"] = f'"{view.active or 0}"'
    return view


def _expected(told: int | None, if_match: str | None) -> int | None:
    """The revision that the caller takes for active."""
    if if_match is None or if_match.strip() == "*":
        return told
    found = re.fullmatch(r'\s*(?:W/)?"?(\d{1,15})"?\s*', if_match)
    if found is None or told not in (None, int(found[1])):
        raise InvalidInput(
            "If-Match is not the ETag of a policy, or contradicts `expected`",
            errors=[{"pointer": "/expected", "detail": "must be what If-Match says, if both are"}],
        )
    return int(found[1])


def _named(document: dict[str, Any]) -> dict[str, Any]:
    if "id" not in document:
        raise InvalidInput(
            "the policy has no id", errors=[{"pointer": "/policy/id", "detail": "is missing"}]
        )
    return document


async def _plan(policies: Policies, policy_id: str, request: DryRunRequest, who: Principal) -> Plan:
    if request.policy is not None and request.revision is not None:
        told = "name a revision or send a policy, not both"
        raise InvalidInput(told, errors=[{"pointer": "/revision", "detail": told}])
    if request.policy is not None:
        judge = Judge(_inline(policy_id, request.policy))
    elif request.revision is not None:
        judge = await policies.judge(policy_id, request.revision)
    else:
        standing = await policies.standing(policy_id)
        judge = await policies.judge(policy_id, standing.latest)
    against = await policies.judge(policy_id) if request.against == "active" else None
    return Plan(judge, against, _selection(request, who))


def _inline(policy_id: str, document: dict[str, Any]) -> Policy:
    if document.get("id", policy_id) != policy_id:
        told = "must be the id of the address"
        raise InvalidInput(told, errors=[{"pointer": "/policy/id", "detail": told}])
    return read_policy({**document, "id": policy_id}, pointer="/policy")


def _selection(request: SelectionRequest, who: Principal) -> Selection:
    """Operators try policies on what they may see, admins on everything."""
    owner = request.owner
    if not who.may("admin"):
        if owner not in (None, who.owner):
            raise Forbidden("this key sees the verdicts of its own owner only")
        owner = who.owner
    since, until = request.since, request.until
    return Selection(
        since=None if since is None else int(since.timestamp() * 1000),
        until=None if until is None else int(until.timestamp() * 1000),
        owner=owner,
        key_id=request.key_id,
    )
