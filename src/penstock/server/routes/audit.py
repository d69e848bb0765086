"""/v1/audit: who changed what, for admins."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from penstock.audit import AuditEntry, AuditLog
from penstock.errors import StorageUnavailable
from penstock.web.errors import responses
from penstock.web.instants import instant
from penstock.web.pages import Page, decode_cursor, encode_cursor
from penstock.web.roles import Admin

Cursor = Annotated[
    str | None, Query(max_length=1024, description="`next` of the page before this one.")
]
Limit = Annotated[int, Query(ge=1, le=200, description="Most entries on the page.")]
Subject = Annotated[
    str | None, Query(max_length=200, description="Only changes of this: a policy's, list's id.")
]
Action = Annotated[
    str | None, Query(max_length=200, description="Only this: `policy.activated`, for example.")
]
Actor = Annotated[
    str | None, Query(max_length=200, description="Only what this key did; `cli`: a command.")
]


class AuditView(BaseModel):
    """One change."""

    number: int = Field(description="Ascending in the order in which changes took effect.")
    at: datetime
    actor: str = Field(description="The key that asked for it; `cli`: a command.")
    action: str
    subject: str = Field(description="The id of what was changed.")
    detail: dict[str, Any] = Field(description="What was changed; long values are cut.")


def router(audit: AuditLog) -> APIRouter:
    """The routes below /v1/audit."""
    routes = APIRouter(prefix="/v1/audit", tags=["audit"], responses=responses(StorageUnavailable))

    @routes.get("")
    async def list_audit_entries(
        _: Admin,
        subject: Subject = None,
        action: Action = None,
        actor: Actor = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> Page[AuditView]:
        """List changes to policies, lists, cases and the like, newest first."""
        before = None if cursor is None else decode_cursor(cursor, type=int)
        found = await audit.page(
            before=before, limit=limit + 1, subject=subject, action=action, actor=actor
        )
        page = found[:limit]
        return Page(
            items=[_view(entry) for entry in page],
            next=encode_cursor(page[-1].number) if len(found) > limit else None,
        )

    return routes


def _view(entry: AuditEntry) -> AuditView:
    return AuditView(
        number=entry.number,
        at=instant(entry.at),
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        detail=msgspec.json.decode(entry.detail),
    )
