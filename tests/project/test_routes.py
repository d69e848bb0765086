"""The routes as a whole: what was asked for is there, nothing overlaps, nothing is open."""

from __future__ import annotations

import re
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

SURFACE = tomllib.loads((Path(__file__).parent / "surface.toml").read_text("utf-8"))["route"]
COMPAT = {"fist", "halilit", "pixel", "filterx", "perspective"}
PUBLIC = {route["path"] for route in SURFACE if not route["role"]}
WEAKER = {"operator": "viewer", "admin": "operator"}


def name(route: dict[str, Any]) -> str:
    return f"{route['method']} {route['path']}"


def concrete(path: str) -> str:
    """An address under a template, with a slash in it: keys may hold one."""
    return re.sub(r"\{[^}]+\}", "x/y" if "{key}" in path else "x", path)


def pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{[^}]+\}", ".+" if "{key}" in path else "[^/]+", path))


@pytest.mark.parametrize("route", [r for r in SURFACE if not r.get("page")], ids=name)
def test_the_surface_is_there(route: dict[str, Any], document: dict[str, Any]) -> None:
    assert route["method"].lower() in document["paths"].get(route["path"], {})


def test_the_surface_lists_every_path(document: dict[str, Any]) -> None:
    """A path that nobody asked for is either missing in the list or superfluous."""
    listed = {route["path"] for route in SURFACE}
    families = ("/v1/keys/", "/v1/models/")

    unlisted = {path for path in document["paths"] if path not in listed}

    assert not [path for path in unlisted if not path.startswith(families)]


def test_every_compat_route_has_its_system_s_tag(document: dict[str, Any]) -> None:
    tagged = {
        path: operation["tags"][0]
        for path, methods in document["paths"].items()
        for operation in methods.values()
    }

    for route in SURFACE:
        if route["group"] in COMPAT:
            assert tagged[route["path"]] == route["group"]
        elif not route.get("page"):
            assert tagged[route["path"]] not in COMPAT


def test_no_address_belongs_to_two_systems(document: dict[str, Any]) -> None:
    owned = [
        (method, path, tag if (tag := operation["tags"][0]) in COMPAT else "native")
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]

    both = [
        (first, second)
        for first, second in combinations(owned, 2)
        if first[0] == second[0]
        and first[2] != second[2]
        and (
            pattern(first[1]).fullmatch(concrete(second[1]))
            or pattern(second[1]).fullmatch(concrete(first[1]))
        )
    ]

    assert not both


async def test_every_route_that_is_not_public_refuses_a_missing_key(
    api: AsyncClient, document: dict[str, Any]
) -> None:
    answers = {
        (method, path): (await api.request(method, concrete(path), json={})).status_code
        for path, methods in document["paths"].items()
        for method in methods
        if path not in PUBLIC
    }

    assert answers
    assert set(answers.values()) == {401}, answers


async def test_every_route_that_is_not_public_refuses_a_wrong_key(
    api: AsyncClient, document: dict[str, Any]
) -> None:
    wrong = {"Authorization": "Bearer psk_" + "w" * 43}

    answers = {
        (method, path): (await api.request(method, concrete(path), headers=wrong)).status_code
        for path, methods in document["paths"].items()
        for method in methods
        if path not in PUBLIC
    }

    assert set(answers.values()) <= {401, 429}, answers


async def test_a_public_route_needs_no_key(api: AsyncClient) -> None:
    answers = {path: (await api.get(path)).status_code for path in PUBLIC}

    assert set(answers.values()) == {200}, answers


async def test_every_route_refuses_the_next_weaker_role(
    api: AsyncClient, admin: dict[str, str]
) -> None:
    keys = {
        role: {"Authorization": f"Bearer {(await make(api, role, admin))['token']}"}
        for role in ("viewer", "operator")
    }

    answers = {
        name(route): await api.request(
            route["method"], concrete(route["path"]), json={}, headers=keys[WEAKER[route["role"]]]
        )
        for route in SURFACE
        if route["role"] in WEAKER
    }

    assert answers
    assert {answer.status_code for answer in answers.values()} == {403}, answers


async def make(api: AsyncClient, role: str, admin: dict[str, str]) -> dict[str, str]:
    made: dict[str, str] = (
        await api.post("/v1/keys", json={"name": role, "role": role}, headers=admin)
    ).json()
    return made


async def test_every_route_takes_its_own_role(api: AsyncClient, admin: dict[str, str]) -> None:
    asking = [route for route in SURFACE if route["role"] in ("viewer", "operator")]
    keys = {
        role: {"Authorization": f"Bearer {(await make(api, role, admin))['token']}"}
        for role in ("viewer", "operator")
    }

    answers = {
        name(route): await api.request(
            route["method"], concrete(route["path"]), json={}, headers=keys[route["role"]]
        )
        for route in asking
    }

    assert not {answer.status_code for answer in answers.values()} & {401, 403, 405, 500}, answers


async def test_health_tells_strangers_one_word(api: AsyncClient, admin: dict[str, str]) -> None:
    strangers = (await api.get("/health")).json()
    holders = (await api.get("/health", headers=admin)).json()

    assert {name for name, value in strangers.items() if value is not None} == {"status"}
    assert holders["checks"]


async def test_compat_paths_can_be_switched_off(tmp_path: Path) -> None:
    from httpx import ASGITransport

    from penstock.server.app import Server
    from penstock.settings import Settings

    server = Server(Settings(home=tmp_path, compat=()))
    transport = ASGITransport(server)
    async with server.running(), AsyncClient(transport=transport, base_url="http://host") as api:
        document = (await api.get("/openapi.json")).json()

    assert not [path for path in document["paths"] if path.startswith("/api/")]
