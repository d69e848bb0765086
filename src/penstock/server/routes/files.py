"""/v1/files: OpenAI's files, as far as batches need them.

Outputs of batches are files too; their bytes are made of the batch's items when they are read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from penstock.batch import Batches, File
from penstock.errors import (
    Forbidden,
    InvalidInput,
    NotFound,
    RequestError,
    StorageFull,
    StorageUnavailable,
    TooLarge,
    UnsupportedMedia,
)
from penstock.http.multipart import Part, parts
from penstock.web.errors import responses
from penstock.web.principal import Principal
from penstock.web.roles import Operator, Viewer

PURPOSE = "batch"
LONGEST_NAME = 255

Limit = Annotated[int, Query(ge=1, le=10_000)]
Purpose = Annotated[str | None, Query(max_length=64)]
After = Annotated[str | None, Query(max_length=128, description="The last id of the page before.")]

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["purpose", "file"],
                    "properties": {
                        "purpose": {"type": "string", "const": PURPOSE},
                        "file": {"type": "string", "contentMediaType": "application/jsonl"},
                    },
                }
            }
        },
    }
}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file",
        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
    }
}


class FileObject(BaseModel):
    """OpenAI's file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    """Files, newest first."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """OpenAI's word that a file is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


def router(batches: Batches) -> APIRouter:
    """The routes below /v1/files."""
    routes = APIRouter(prefix="/v1/files", tags=["batches"])
    files = batches.files
    known = responses(NotFound)

    @routes.post(
        "",
        openapi_extra=_FORM,
        responses=responses(TooLarge, UnsupportedMedia, StorageUnavailable, StorageFull),
    )
    async def upload_file(request: Request, who: Operator) -> FileObject:
        """Upload the requests of a batch, one JSON object a line."""
        return _view(await _upload(request, who, batches))

    @routes.get("", responses=known)
    async def list_files(
        who: Viewer, purpose: Purpose = None, after: After = None, limit: Limit = 1000
    ) -> FileList:
        """List files, newest first: one's own, or everybody's for administrators."""
        last = None if after is None else await find(batches, after, who)
        found = await files.page(
            owner=None if who.role == "admin" else who.owner,
            purpose=purpose,
            after=None if last is None else (last.created_at, last.id),
            limit=limit + 1,
        )
        data = [_view(file) for file in found[:limit]]
        return FileList(
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=len(found) > limit,
        )

    @routes.get("/{file_id}", responses=known)
    async def get_file(file_id: str, who: Viewer) -> FileObject:
        """One file."""
        return _view(await find(batches, file_id, who))

    @routes.get(
        "/{file_id}/content", response_class=StreamingResponse, responses={**known, **_CONTENT}
    )
    async def get_file_content(file_id: str, who: Viewer) -> StreamingResponse:
        """The bytes of a file."""
        file = await find(batches, file_id, who)
        return StreamingResponse(batches.content(file), media_type="application/octet-stream")

    @routes.delete("/{file_id}", responses=known)
    async def delete_file(file_id: str, who: Operator) -> FileDeleted:
        """Forget a file."""
        file = await find(batches, file_id, who)
        await files.delete(file.id)
        return FileDeleted(id=file.id)

    return routes


async def find(batches: Batches, file_id: str, who: Principal) -> File:
    """A file that the caller may see. Raises NotFound and Forbidden."""
    file = await batches.files.find(file_id)
    if file is None:
        raise NotFound(f"there is no file {file_id[:80]!r}")
    if who.role != "admin" and file.owner != who.owner:
        raise Forbidden(f"the file {file.id} is someone else's")
    return file


async def _upload(request: Request, who: Principal, batches: Batches) -> File:
    saved: File | None = None
    purpose: str | None = None
    try:
        async for part in parts(request.stream(), request.headers.get("content-type", "")):
            if part.name == "purpose":
                purpose = (await part.text()).strip()
                _check(purpose)  # before the file is read, where it comes first
            elif part.name == "file" and saved is None:
                saved = await _save(part, who, batches)
        _check(purpose)
    except BaseException as error:
        if saved is not None:
            await batches.files.delete(saved.id)
        if isinstance(error, ClientDisconnect):
            raise RequestError("the client went away before its file was complete") from error
        raise
    if saved is None:
        raise _missing("file")
    return saved


async def _save(part: Part, who: Principal, batches: Batches) -> File:
    name = (part.filename or "upload.jsonl").replace("\\", "/").rpartition("/")[2]
    shown = "".join(letter for letter in name if letter.isprintable())[:LONGEST_NAME]
    return await batches.files.save(_data(part), name=shown or "upload.jsonl", owner=who.owner)


async def _data(part: Part) -> AsyncIterator[bytes]:
    async for piece in part.data:
        yield piece


def _check(purpose: str | None) -> None:
    if purpose is None:
        raise _missing("purpose")
    if purpose != PURPOSE:
        raise InvalidInput(
            f"files with the purpose {purpose[:40]!r} are not taken; known: {PURPOSE}",
            errors=[{"pointer": "/purpose", "detail": "is not known"}],
        )


def _missing(field: str) -> InvalidInput:
    return InvalidInput(
        f"the form has no field {field!r}",
        errors=[{"pointer": f"/{field}", "detail": "is missing"}],
    )


def _view(file: File) -> FileObject:
    return FileObject(
        id=file.id,
        bytes=file.size or 0,
        created_at=file.created_at // 1000,
        expires_at=file.expires_at // 1000,
        filename=file.name,
        purpose=file.purpose,
    )
