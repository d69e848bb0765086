"""/v1/lists: user lists and their entries, as a whole from files, and what they would match.

Everyone's lists are changed by admins. The lists of one API key are seen by that key and admins
only, and changed by that key, if it is an operator's, and admins; but what allows is for admins
alone, or an application could exempt itself from everyone's block lists.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from penstock.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    RequestError,
    StorageFull,
    StorageUnavailable,
    TooLarge,
    UnsupportedMedia,
)
from penstock.lists.entries import EntryKind
from penstock.lists.files import FileFormat
from penstock.lists.listed import ListKind
from penstock.lists.lists import ListChange, Lists, is_managed
from penstock.lists.pictures import looks_of_url
from penstock.lists.store import ListRecord
from penstock.lists.turns import Turns
from penstock.server.keys import KeyRing
from penstock.server.lists import (
    EntriesRequest,
    ListEntryView,
    ListPatch,
    ListRequest,
    ListTestRequest,
    ListTestView,
    ListView,
    ReportView,
    entry_of,
    found_of,
    report_of,
    view_of,
)
from penstock.web.errors import responses
from penstock.web.pages import Page, decode_cursor, encode_cursor
from penstock.web.principal import Principal
from penstock.web.roles import Operator, Viewer

UNSTORED: Final = ("env", "anonymous")  # keys that are in no table

Id = Annotated[str, Path(min_length=1, max_length=128, examples=["list_15cfcb57edc7a4eb"])]
EntryId = Annotated[int, Path(ge=1, le=(1 << 63) - 1)]
Cursor = Annotated[
    str | None, Query(max_length=1024, description="`next` of the page before this one.")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items on the page.")]
Partial = Annotated[
    bool, Query(description="Take what can be taken; otherwise one fault refuses all.")
]
Kind = Annotated[EntryKind, Query(description="Of the lines of a text; CSV says its own.")]
IfMatch = Annotated[
    str | None,
    Header(max_length=100, description="The ETag of the list: another change came first: 409."),
]

_MEDIA: Final[dict[str, FileFormat]] = {"text/plain": "text", "text/csv": "csv"}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": "# one a line\nbad word\n"},
            "text/csv": {"schema": {"type": "string"}, "example": "kind,value,note\nphrase,bad,\n"},
        },
    }
}
_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The list as a file",
        "content": {media: {"schema": {"type": "string"}} for media in _MEDIA},
    }
}


def router(lists: Lists, keys: KeyRing) -> APIRouter:
    """The routes below /v1/lists."""
    routes = APIRouter(prefix="/v1/lists", tags=["lists"], responses=responses(StorageUnavailable))
    _add_lists(routes, lists, keys)
    _add_entries(routes, lists)
    _add_files(routes, lists)
    return routes


def _add_lists(routes: APIRouter, lists: Lists, keys: KeyRing) -> None:
    known = responses(NotFound)
    changing = responses(NotFound, Conflict, StorageFull)
    looking = Turns()

    @routes.post("", status_code=201, responses=responses(NotFound, Conflict, StorageFull))
    async def create_list(request: ListRequest, response: Response, who: Operator) -> ListView:
        """Make an empty list: everyone's as an admin, or one for the own key."""
        _check_owner(request.key_id, who)
        _check_kind(request.kind, who)
        if request.key_id not in (None, who.key_id, *UNSTORED):
            await keys.get(request.key_id or "")
        record = await lists.create(
            request.name,
            kind=request.kind,
            key_id=request.key_id,
            disguises=request.disguises,
            enabled=request.enabled,
            actor=who.key_id,
        )
        response.headers["location"] = f"/v1/lists/{record.id}"
        return _answered(lists, record, response)

    @routes.get("")
    async def list_lists(who: Viewer, cursor: Cursor = None, limit: Limit = 50) -> Page[ListView]:
        """List the lists, newest first: everyone's and one's own, all for admins."""
        await _refreshed(lists)
        after = None if cursor is None else decode_cursor(cursor, type=tuple[int, str])
        seen_by = None if who.may("admin") else who.key_id
        found = await lists.page(after=after, limit=limit + 1, seen_by=seen_by)
        page = found[:limit]
        more = len(found) > limit
        return Page(
            items=[view_of(lists, record) for record in page],
            next=encode_cursor((page[-1].created_at, page[-1].id)) if more else None,
        )

    @routes.post("/test", responses=responses(NotFound, TooLarge))
    async def test_lists(request: ListTestRequest, who: Viewer) -> ListTestView:
        """Say what the lists would match in a text, and where, or of an image. Records nothing."""
        key_id = request.key_id or who.key_id
        if key_id != who.key_id and not who.may("admin"):
            raise Forbidden("only admins try the lists of another key")
        if key_id not in (who.key_id, *UNSTORED):
            await keys.get(key_id)
        if (request.text is None) == (request.image is None):
            raise InvalidInput(
                "give a text or an image, and not both",
                errors=[{"pointer": "/text", "detail": "is needed where there is no image"}],
            )
        await _refreshed(lists)
        if request.image is None:
            return found_of(await lists.match_long(request.text or "", key=key_id))
        look = partial(looks_of_url, request.image, pointer="/image")
        looks = await looking.run(who.key_id, look)
        listed = lists.match_image(looks.sha256, looks.pdq, looks.phash, key=key_id)
        return found_of(listed, looks)

    @routes.get("/{list_id}", responses=known)
    async def get_list(list_id: Id, response: Response, who: Viewer) -> ListView:
        """One list. Its ETag is for If-Match."""
        await _refreshed(lists)
        return _answered(lists, await _seen(lists, list_id, who), response)

    @routes.patch("/{list_id}", responses=changing)
    async def change_list(
        list_id: Id,
        request: ListPatch,
        response: Response,
        who: Operator,
        if_match: IfMatch = None,
    ) -> ListView:
        """Change the name, the kind or how it is looked for. Acts on the next request."""
        record = await _changeable(lists, list_id, who)
        if if_match is not None and if_match not in ("*", _etag(record)):
            raise Conflict(f"{list_id} was changed meanwhile; read it again and repeat the change")
        _check_kind(request.kind or record.kind, who)
        change = ListChange(**request.model_dump())
        expected = None if if_match in (None, "*") else record.updated_at
        changed = await lists.change(list_id, change, actor=who.key_id, expected=expected)
        return _answered(lists, changed, response)

    @routes.delete("/{list_id}", status_code=204, responses=changing)
    async def delete_list(list_id: Id, who: Operator) -> None:
        """Delete a list with its entries."""
        await _changeable(lists, list_id, who)
        await lists.delete(list_id, actor=who.key_id)


def _add_entries(routes: APIRouter, lists: Lists) -> None:
    @routes.get("/{list_id}/entries", responses=responses(NotFound))
    async def list_entries(
        list_id: Id, who: Viewer, cursor: Cursor = None, limit: Limit = 100
    ) -> Page[ListEntryView]:
        """List the entries of a list, oldest first."""
        await _seen(lists, list_id, who)
        after = 0 if cursor is None else decode_cursor(cursor, type=int)
        found = await lists.entries(list_id, after=after, limit=limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return Page(
            items=[entry_of(record) for record in page],
            next=encode_cursor(page[-1].id) if more else None,
        )

    @routes.post(
        "/{list_id}/entries", status_code=201, responses=responses(NotFound, Conflict, StorageFull)
    )
    async def add_entries(list_id: Id, request: EntriesRequest, who: Operator) -> ReportView:
        """Add entries. They act on the next request, on what is cached too."""
        await _changeable(lists, list_id, who)
        given = [(each.kind, each.value, each.note) for each in request.entries]
        report = await lists.add(list_id, given, actor=who.key_id, partial=request.partial)
        return report_of(report, "entries")

    @routes.delete("/{list_id}/entries/{entry_id}", status_code=204, responses=responses(NotFound))
    async def remove_entry(list_id: Id, entry_id: EntryId, who: Operator) -> None:
        """Remove an entry; of a managed list this takes a decision back."""
        await _changeable(lists, list_id, who)
        await lists.remove(list_id, entry_id, actor=who.key_id)


def _add_files(routes: APIRouter, lists: Lists) -> None:
    @routes.post(
        "/{list_id}/import",
        openapi_extra=_BODY,
        responses=responses(
            NotFound, Conflict, TooLarge, UnsupportedMedia, InvalidInput, StorageFull
        ),
    )
    async def import_entries(
        list_id: Id,
        request: Request,
        who: Operator,
        kind: Kind = "phrase",
        partial: Partial = False,
    ) -> ReportView:
        """Add the entries of a file: text with one a line and `#` comments, or CSV.

        What the list has already is skipped.
        """
        await _changeable(lists, list_id, who)
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        format = _MEDIA.get(media)
        if format is None:
            raise UnsupportedMedia("send the list as text/plain or text/csv, in UTF-8")
        report = await lists.import_(
            list_id,
            _chunks(request),
            format=format,
            kind=kind,
            actor=who.key_id,
            partial=partial,
        )
        return report_of(report, "lines")

    @routes.get("/{list_id}/export", responses={**_FILE, **responses(NotFound)})
    async def export_entries(
        list_id: Id, who: Viewer, format: FileFormat = "csv", kind: Kind = "phrase"
    ) -> StreamingResponse:
        """A list as a file that import takes; as text, the entries of one kind."""
        record = await _seen(lists, list_id, who)
        name = f"{record.id}.{'csv' if format == 'csv' else 'txt'}"
        return StreamingResponse(
            lists.export(list_id, format=format, kind=kind),
            media_type="text/csv" if format == "csv" else "text/plain",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise RequestError("the connection ended before the body did") from None


async def _refreshed(lists: Lists) -> None:
    if lists.stale:
        await lists.refresh()


async def _seen(lists: Lists, list_id: str, who: Principal) -> ListRecord:
    """A list that the asker may see. Raises NotFound."""
    record = await lists.get(list_id)
    if record.key_id not in (None, who.key_id) and not who.may("admin"):
        raise NotFound(f"there is no list {list_id[:80]!r}")
    return record


async def _changeable(lists: Lists, list_id: str, who: Principal) -> ListRecord:
    """A list that the asker may change. Raises NotFound, Forbidden."""
    record = await _seen(lists, list_id, who)
    _check_owner(record.key_id, who)
    if not is_managed(list_id):  # a decision may be taken back by those who may decide
        _check_kind(record.kind, who)
    return record


def _check_owner(key_id: str | None, who: Principal) -> None:
    if key_id != who.key_id and not who.may("admin"):
        raise Forbidden(
            "only admins change lists that are for everyone or for another key; "
            f"make one with key_id {who.key_id}"
        )


def _check_kind(kind: ListKind, who: Principal) -> None:
    if kind == "allow" and not who.may("admin"):
        raise Forbidden("only admins make and change allow lists: they exempt from all others")


def _answered(lists: Lists, record: ListRecord, response: Response) -> ListView:
    response.headers["etag"] = _etag(record)
    return view_of(lists, record)


def _etag(record: ListRecord) -> str:
    return f'"{record.updated_at}"'
