"""/docs: Swagger UI from the package, so that it works where there is no internet."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib import resources

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse

from penstock.errors import NotFound, PenstockError

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'"
)
# Swagger UI's start-up is an inline script; the page shows nothing that a user wrote.
SCRIPTS = "script-src 'self' 'unsafe-inline'"


def router(*, title: str) -> APIRouter:
    """The page and its files; the root leads there."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def root() -> RedirectResponse:
        return RedirectResponse("docs")

    @routes.get("/docs")
    async def page() -> HTMLResponse:
        shown = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon-32x32.png",
            swagger_ui_parameters={"persistAuthorization": False, "tryItOutEnabled": True},
        )
        shown.headers["content-security-policy"] = f"{POLICY}; {SCRIPTS}"
        return shown

    @routes.get("/docs/errors")
    async def error_page() -> HTMLResponse:
        return HTMLResponse(errors_page(), headers={"content-security-policy": POLICY})

    @routes.get("/docs/{asset}")
    async def file(asset: str) -> Response:
        media_type = ASSETS.get(asset)
        if media_type is None:
            raise NotFound(f"/docs has no file {asset[:80]!r}")
        content = (resources.files("fastapi_swagger") / "resources" / asset).read_bytes()
        headers = {"cache-control": "public, max-age=86400"}
        return Response(content, media_type=media_type, headers=headers)

    return routes


def errors_page() -> str:
    """Every kind of problem, under the address that its `type` names."""
    kinds: dict[str, type[PenstockError]] = {}
    for kind in _kinds(PenstockError):
        kinds.setdefault(kind.slug, kind)  # a kind without a slug of its own is its parent's
    told = "".join(
        f'<h2 id="{slug}">{slug}</h2>'
        f"<p><b>{kind.status} {escape(kind.title)}</b><br>{escape(_about(kind))}</p>"
        for slug, kind in sorted(kinds.items())
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Penstock: errors</title>'
        f'<body style="font: 16px/1.5 sans-serif; max-width: 44em; margin: 2em auto">'
        f"<h1>Errors</h1>{told}"
    )


def _kinds(kind: type[PenstockError]) -> Iterator[type[PenstockError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _about(kind: type[PenstockError]) -> str:
    return " ".join((kind.__doc__ or "").split())
