"""/v1/webhooks: where events are posted to, whose they are, and how the latest delivery went.

Operators manage the webhooks of their own owner; those that hear of everyone are administrators',
who see all.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from penstock.errors import (
    BlockedAddress,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    StorageUnavailable,
)
from penstock.notify import Changes, NewWebhook, Webhook, Webhooks
from penstock.web.errors import responses
from penstock.web.instants import instant, maybe
from penstock.web.pages import Page, decode_cursor, encode_cursor
from penstock.web.principal import Principal
from penstock.web.roles import Operator

Id = Annotated[str, Path(min_length=1, max_length=64, examples=["hook_15cfcb57edc7a4eb"])]
Cursor = Annotated[
    str | None, Query(max_length=1024, description="`next` of the page before this one.")
]
Limit = Annotated[int, Query(ge=1, le=200, description="Most webhooks on the page.")]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        description="Where events are posted: https at a public address. Others, and http, only "
        "where PENSTOCK_ALLOW_PRIVATE names the host and port.",
        examples=["https://example.com/penstock"],
    ),
]
Description = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Pattern = Annotated[str, Field(min_length=1, max_length=64)]
Events = Annotated[
    list[Pattern],
    Field(
        min_length=1,
        max_length=32,
        description="Types of events; `verdict.*` means all that begin so, `*` all.",
        examples=[["verdict.rejected", "case.*"]],
    ),
]
Everyone = Annotated[
    bool, Field(description="Events of all owners and of the installation; for administrators.")
]


class WebhookRequest(BaseModel, extra="forbid"):
    """The webhook to make."""

    url: Url
    events: Events
    description: Description = ""
    everyone: Everyone = False


class WebhookChange(BaseModel, extra="forbid"):
    """What is to be different; what is left out stays."""

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    everyone: Everyone | None = None
    enabled: bool | None = Field(None, description="A webhook that is not is never called.")


class WebhookView(BaseModel):
    """A webhook without its secret, which nobody can show again."""

    id: str
    owner: str
    url: str
    description: str
    events: list[str]
    everyone: bool
    enabled: bool
    disabled_reason: str | None = Field(description="Why the server disabled it.")
    old_secret_until: datetime | None = Field(
        description="Until then the secret before the present one signs, too."
    )
    last_status: int | None = Field(description="Of the latest attempt; null: no answer.")
    last_error: str | None = Field(description="Why the latest attempt failed.")
    last_at: datetime | None
    created_at: datetime


class NewWebhookView(WebhookView):
    """A webhook with a new secret, which is shown here and never again."""

    secret: str = Field(description="`whsec_...`, as the libraries of Standard Webhooks take it.")


class TestView(BaseModel):
    """The job that delivers the test event."""

    job_id: str


def router(webhooks: Webhooks) -> APIRouter:
    """The routes below /v1/webhooks."""
    routes = APIRouter(
        prefix="/v1/webhooks", tags=["webhooks"], responses=responses(StorageUnavailable)
    )
    known = responses(NotFound)
    wrong = responses(InvalidInput, BlockedAddress)

    @routes.post("", status_code=201, responses=responses(Conflict) | wrong)
    async def create_webhook(
        request: WebhookRequest, response: Response, who: Operator
    ) -> NewWebhookView:
        """Subscribe a URL to events. The secret is in this answer only: store it now."""
        _check_everyone(request.everyone, who)
        new = await webhooks.create(
            request.url,
            events=request.events,
            owner=who.owner,
            actor=who.key_id,
            description=request.description,
            everyone=request.everyone,
        )
        response.headers["location"] = f"/v1/webhooks/{new.webhook.id}"
        return _new_view(new, response)

    @routes.get("")
    async def list_webhooks(
        who: Operator, cursor: Cursor = None, limit: Limit = 50
    ) -> Page[WebhookView]:
        """List webhooks, newest first: one's own, or everybody's for administrators."""
        after = None if cursor is None else decode_cursor(cursor, type=tuple[int, str])
        owner = None if who.role == "admin" else who.owner
        found = await webhooks.page(owner=owner, after=after, limit=limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return Page(
            items=[_view(webhook) for webhook in page],
            next=encode_cursor((page[-1].created_at, page[-1].id)) if more else None,
        )

    @routes.get("/{webhook_id}", responses=known)
    async def get_webhook(webhook_id: Id, who: Operator) -> WebhookView:
        """One webhook."""
        return _view(await _visible(webhooks, webhook_id, who))

    @routes.patch("/{webhook_id}", responses=known | wrong)
    async def change_webhook(webhook_id: Id, request: WebhookChange, who: Operator) -> WebhookView:
        """Change a webhook, or disable and enable it."""
        await _visible(webhooks, webhook_id, who)
        _check_everyone(request.everyone, who)
        changes = msgspec.convert(_given(request), Changes)
        return _view(await webhooks.update(webhook_id, changes, actor=who.key_id))

    @routes.delete("/{webhook_id}", status_code=204, responses=known)
    async def delete_webhook(webhook_id: Id, who: Operator) -> None:
        """Remove a webhook; what waits to be posted to it is dropped."""
        await _visible(webhooks, webhook_id, who)
        await webhooks.delete(webhook_id, actor=who.key_id)

    @routes.post("/{webhook_id}/rotate", responses=known)
    async def rotate_webhook_secret(
        webhook_id: Id, response: Response, who: Operator
    ) -> NewWebhookView:
        """Make a new secret, shown here only. The one before signs, too, for 24 hours."""
        await _visible(webhooks, webhook_id, who)
        return _new_view(await webhooks.rotate(webhook_id, actor=who.key_id), response)

    @routes.post("/{webhook_id}/test", status_code=202, responses=responses(NotFound, Conflict))
    async def test_webhook(webhook_id: Id, response: Response, who: Operator) -> TestView:
        """Post an event of type `webhook.test`, as a job."""
        await _visible(webhooks, webhook_id, who)
        job = await webhooks.test(webhook_id)
        response.headers["location"] = f"/v1/jobs/{job.id}"
        return TestView(job_id=job.id)

    return routes


async def _visible(webhooks: Webhooks, id: str, who: Principal) -> Webhook:
    webhook = await webhooks.get(id)
    if who.role != "admin" and (webhook.owner != who.owner or webhook.everyone):
        raise NotFound(f"there is no webhook {id!r}")  # as if it were not there
    return webhook


def _check_everyone(asked: bool | None, who: Principal) -> None:
    if asked and who.role != "admin":
        raise Forbidden("only administrators hear of everyone's events")


def _given(request: WebhookChange) -> dict[str, Any]:
    """What the request says; null says nothing, as if it were left out."""
    return request.model_dump(exclude_none=True)


def _new_view(new: NewWebhook, response: Response) -> NewWebhookView:
    response.headers["cache-control"] = "no-store"
    return NewWebhookView(secret=new.secret, **_view(new.webhook).model_dump())


def _view(webhook: Webhook) -> WebhookView:
    return WebhookView(
        id=webhook.id,
        owner=webhook.owner,
        url=webhook.url,
        description=webhook.description,
        events=list(webhook.events),
        everyone=webhook.everyone,
        enabled=webhook.enabled,
        disabled_reason=webhook.disabled_reason,
        old_secret_until=maybe(webhook.old_secret_until),
        last_status=webhook.last_status,
        last_error=webhook.last_error,
        last_at=maybe(webhook.last_at),
        created_at=instant(webhook.created_at),
    )
