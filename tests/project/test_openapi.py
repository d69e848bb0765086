"""The OpenAPI document: committed, current, and telling about every route."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PUBLIC = {"/livez", "/readyz", "/health", "/api/health", "/$discovery/rest"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_the_committed_document_is_the_app_s(document: dict[str, Any], root: Path) -> None:
    committed = json.loads((root / "clients" / "openapi.json").read_text("utf-8"))

    assert committed == document


def test_every_route_has_a_summary_and_a_tag(document: dict[str, Any]) -> None:
    bare = [
        (method, path)
        for method, path, operation in operations(document)
        if not operation.get("summary") or len(operation.get("tags", [])) != 1
    ]

    assert not bare


def test_every_route_that_needs_a_key_says_so(document: dict[str, Any]) -> None:
    silent = {
        (method, path)
        for method, path, operation in operations(document)
        if not operation.get("security") and path not in PUBLIC
    }

    assert not silent


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]

    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    named = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}

    assert named <= set(document["components"]["schemas"])


def test_every_security_scheme_is_declared(document: dict[str, Any]) -> None:
    used = {
        name
        for _, _, operation in operations(document)
        for requirement in operation.get("security", [])
        for name in requirement
    }

    assert used <= set(document["components"]["securitySchemes"])
