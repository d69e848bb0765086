"""/v1/cases and /v1/appeals: the queue of reviewers, and asking for a second look.

Viewers see cases without words that people wrote, operators work on them, both those of their
owner; admins see all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from starlette.responses import StreamingResponse

from penstock.errors import Conflict, Forbidden, NotFound, StorageUnavailable
from penstock.services.review.schemas import Case, Filter, Kind, Reviewer, State
from penstock.services.review.service import ReviewService
from penstock.services.review.views import (
    AppealRequest,
    AppealView,
    CaseFileView,
    CaseView,
    CommentRequest,
    DecisionRequest,
    EscalationRequest,
    WorkloadView,
    appeal_view,
    case_view,
    example_lines,
    file_view,
    workload_view,
)
from penstock.web.errors import responses
from penstock.web.pages import Page, decode_cursor, encode_cursor
from penstock.web.principal import Principal
from penstock.web.roles import Admin, Operator, Viewer

MINE: Final = "me"

Id = Annotated[str, Path(min_length=1, max_length=64, examples=["case_15cfcb57edc7a4eb"])]
Cursor = Annotated[
    str | None, Query(max_length=1024, description="`next` of the page before this one.")
]
Limit = Annotated[int, Query(ge=1, le=200, description="Most cases on the page.")]
Wanted = Annotated[State | None, Query(description="Default: all but decided ones.")]
Assignee = Annotated[str | None, Query(max_length=64, description="A key's id; `me`: who asks.")]
Category = Annotated[
    str | None,
    Query(
        max_length=64,
        description="What asks for people: a category of scores, or what kept the machine from "
        "judging, `language` or `image`.",
        examples=["harassment"],
    ),
]

_LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
}
_NOTHING: Final[dict[int | str, dict[str, Any]]] = {204: {"description": "There is nothing to do"}}


def router(review: ReviewService) -> APIRouter:
    """The routes below /v1/cases, and /v1/appeals."""
    routes = APIRouter(prefix="/v1", tags=["review"], responses=responses(StorageUnavailable))
    _add_reading(routes, review)
    _add_acting(routes, review)
    return routes


def _add_reading(routes: APIRouter, review: ReviewService) -> None:
    @routes.get("/cases")
    async def list_cases(
        who: Viewer,
        state: Wanted = None,
        kind: Kind | None = None,
        assignee: Assignee = None,
        category: Category = None,
        overdue: bool | None = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> Page[CaseView]:
        """List cases, the most urgent first; decided ones, the latest first."""
        which = Filter(
            state=state,
            kind=kind,
            assignee=who.key_id if assignee == MINE else assignee,
            category=category,
            overdue=overdue,
        )
        after = (
            None if cursor is None else decode_cursor(cursor, type=tuple[int, int, float, int, str])
        )
        found = await review.page(which, who=_reviewer(who), after=after, limit=limit)
        return Page(
            items=[case_view(case, now=found.now) for case in found.cases],
            next=None if found.next is None else encode_cursor(found.next),
        )

    @routes.get("/cases/next", responses=_NOTHING)
    async def show_next_case(who: Viewer, response: Response) -> CaseFileView | None:
        """The case that would come next, without claiming it."""
        case = await review.next(who=_reviewer(who))
        if case is None:
            response.status_code = 204
            return None
        return await _file(review, case.id, who)

    @routes.get("/cases/workload")
    async def show_workload(who: Viewer) -> WorkloadView:
        """How many cases wait, how fast they come and go, and the backlog that this leads to."""
        return workload_view(await review.workload(who=_reviewer(who)))

    @routes.get("/cases/examples", response_class=StreamingResponse, responses=_LINES)
    async def export_examples(_: Admin) -> StreamingResponse:
        """Every verdict that people overturned, as lines of JSON for `make eval`."""
        return StreamingResponse(_examples(review), media_type="application/x-ndjson")

    @routes.get("/cases/{case_id}", responses=responses(NotFound))
    async def get_case(case_id: Id, who: Viewer) -> CaseFileView:
        """One case with all that it decides on, its verdicts and its history."""
        return await _file(review, case_id, who)


def _add_acting(routes: APIRouter, review: ReviewService) -> None:
    refused = responses(NotFound, Conflict, Forbidden)

    def shown(case: Case) -> CaseView:
        return case_view(case, now=review.now())

    @routes.post("/cases/next", responses=_NOTHING)
    async def claim_next_case(who: Operator, response: Response) -> CaseFileView | None:
        """Claim the most urgent free case; your own comes first. Nobody else gets the same."""
        case = await review.claim_next(who=_reviewer(who))
        if case is None:
            response.status_code = 204
            return None
        return await _file(review, case.id, who)

    @routes.post("/cases/{case_id}/claim", responses=refused)
    async def claim_case(case_id: Id, who: Operator) -> CaseFileView:
        """Work on a case; it is refused to others until it is released, or left for 30 minutes."""
        await review.claim(case_id, who=_reviewer(who))
        return await _file(review, case_id, who)

    @routes.post("/cases/{case_id}/release", responses=refused)
    async def release_case(case_id: Id, who: Operator) -> CaseView:
        """Give a case back to the queue; admins also what others have claimed."""
        return shown(await review.release(case_id, who=_reviewer(who)))

    @routes.post("/cases/{case_id}/comment", responses=refused)
    async def comment_on_case(case_id: Id, request: CommentRequest, who: Operator) -> CaseView:
        """Add a remark to a case's history."""
        return shown(await review.comment(case_id, request.text, who=_reviewer(who)))

    @routes.post("/cases/{case_id}/escalate", responses=refused)
    async def escalate_case(case_id: Id, request: EscalationRequest, who: Operator) -> CaseView:
        """Leave a case to an admin."""
        return shown(await review.escalate(case_id, request.reason, who=_reviewer(who)))

    @routes.post("/cases/{case_id}/decide", responses=refused)
    async def decide_case(case_id: Id, request: DecisionRequest, who: Operator) -> CaseView:
        """Settle a case and all of its items; the same content is decided so from now on."""
        case = await review.decide(
            case_id,
            request.decision,
            note=request.note,
            group=request.group,
            who=_reviewer(who),
        )
        return shown(case)

    @routes.post("/appeals", status_code=201, responses=responses(NotFound, Conflict))
    async def appeal(request: AppealRequest, response: Response, who: Operator) -> AppealView:
        """Ask people to look at a verdict. The same appeal again leads to the same case."""
        case = await review.appeal(
            request.verdict_id, reason=request.reason, text=request.text, who=_reviewer(who)
        )
        response.headers["location"] = f"/v1/cases/{case.id}"
        return appeal_view(case, request.verdict_id)


async def _examples(review: ReviewService) -> AsyncIterator[bytes]:
    async for part in review.examples():
        yield example_lines(part)


def _reviewer(who: Principal) -> Reviewer:
    return Reviewer(who.key_id, None if who.may("admin") else who.owner)


async def _file(review: ReviewService, case_id: str, who: Principal) -> CaseFileView:
    file = await review.open_file(case_id, who=_reviewer(who))
    return file_view(file, now=review.now(), open_content=who.may("operator"))
