from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Body, FastAPI, Header, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from penstock import errors as ours
from penstock.http.limits import BodyLimit
from penstock.http.problems import Problems
from penstock.http.request_id import RequestId
from penstock.web.errors import install, responses

SECRET = "psk_do-not-echo-me"


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = Field(max_length=5)
    weight: float | None = None


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")
    input: str | list[Part]
    level: int = 0


@pytest.fixture
def app() -> Any:
    fast = FastAPI()
    install(fast)

    @fast.post("/check", responses=responses(ours.Conflict))
    async def check(
        request: Annotated[Request, Body()],
        limit: Annotated[int, Query(le=100)] = 10,
        x_level: Annotated[int, Header()] = 0,
    ) -> int:
        return limit

    @fast.get("/fail/{status}")
    async def fail(status: int) -> None:
        if status == 0:
            raise ValueError(SECRET)
        if status == 1:
            raise ours.Conflict("the batch is running", id="batch_1")
        if status == 2:
            raise ours.ConfigurationError(SECRET)
        raise HTTPException(status, "because", headers={"Retry-After": "9"})

    return RequestId(Problems(BodyLimit(fast, max_bytes=100_000)))


@pytest.fixture
async def client(app: Any) -> Any:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def pointers(client: httpx.AsyncClient, **request: Any) -> list[str]:
    response = await client.post("/check", **request)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    return [error["pointer"] for error in response.json()["errors"]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["/input"]),
        ({"input": "a", "level": "high"}, ["/level"]),
        ({"input": "a", "a/b~c": 1}, ["/a~1b~0c"]),
        ({"input": [{"text": "a"}, {"text": "too long"}]}, ["/input", "/input/1/text"]),
        ({"input": [{"weight": 1}]}, ["/input", "/input/0/text"]),
        ({"input": 3}, ["/input", "/input"]),
        ([], [""]),
        ("text", [""]),
        (None, [""]),
    ],
)
async def test_a_validation_error_points_into_the_body(
    client: httpx.AsyncClient, body: Any, expected: list[str]
) -> None:
    assert await pointers(client, json=body) == expected


async def test_a_parameter_is_named_with_its_place(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/check?limit=101", json={"input": "a"}, headers={"x-level": "high"}
    )

    found = response.json()["errors"]
    assert [(e["pointer"], e["in"]) for e in found] == [("/limit", "query"), ("/x-level", "header")]


async def test_the_detail_says_what_and_where(client: httpx.AsyncClient) -> None:
    document = (await client.post("/check", json={"input": "a", "level": "x", "more": 1})).json()

    assert document["detail"].startswith("/level: Input should be a valid integer")
    assert document["detail"].endswith("and 1 more")
    assert document["request_id"]


async def test_what_was_sent_is_not_echoed(client: httpx.AsyncClient) -> None:
    response = await client.post("/check", json={"input": {"key": SECRET}, "level": SECRET})

    assert response.status_code == 422
    assert SECRET not in response.text


async def test_a_thousand_errors_are_told_briefly(client: httpx.AsyncClient) -> None:
    body = {"input": [{"x" * 90: 1}] * 1000}

    response = await client.post("/check", json=body)

    assert len(response.json()["errors"]) == 20
    assert "more" in response.json()["detail"]
    assert len(response.content) < 20_000


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"input": "a",}', "character 14"),
        (b'{"input": ', "character 10"),
        (b"\xff\xfe{", "parsing the body"),
        (b"[" * 50_000, "parsing the body"),
    ],
)
async def test_wrong_json_is_400_and_says_where(
    client: httpx.AsyncClient, body: bytes, told: str
) -> None:
    headers = {"content-type": "application/json"}
    response = await client.post("/check", content=body, headers=headers)

    assert response.status_code == 400
    assert told in response.json()["detail"]


async def test_a_body_that_turns_out_too_large_is_413(client: httpx.AsyncClient) -> None:
    async def flood() -> Any:
        for _ in range(11):
            yield b"x" * 10_000

    headers = {"content-type": "application/json"}
    response = await client.post("/check", content=flood(), headers=headers)

    assert response.status_code == 413


async def test_an_unknown_address_is_a_problem(client: httpx.AsyncClient) -> None:
    response = await client.get("/nothing")

    assert response.status_code == 404
    assert response.json()["detail"] == "there is nothing at /nothing"


async def test_another_method_is_a_problem_that_names_the_right_one(
    client: httpx.AsyncClient,
) -> None:
    response = await client.delete("/check")

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert response.json()["detail"] == "/check does not answer DELETE; it answers POST"


@pytest.mark.parametrize(
    ("status", "slug"),
    [
        *((400, "bad-request"), (401, "unauthorized"), (403, "forbidden"), (404, "not-found")),
        *((409, "conflict"), (418, "i-m-a-teapot"), (429, "rate-limited"), (499, "status-499")),
        *((503, "service-unavailable"), (501, "not-implemented")),
    ],
)
async def test_a_frameworks_error_keeps_its_status(
    client: httpx.AsyncClient, status: int, slug: str
) -> None:
    response = await client.get(f"/fail/{status}")

    document = response.json()
    assert (response.status_code, document["status"]) == (status, status)
    assert (document["type"], document["detail"]) == (f"/docs/errors#{slug}", "because")
    assert response.headers.get_list("retry-after") == ["9"]


async def test_a_status_without_a_body_stays_without(client: httpx.AsyncClient) -> None:
    response = await client.get("/fail/304")

    assert (response.status_code, response.content) == (304, b"")


async def test_our_error_comes_through(client: httpx.AsyncClient) -> None:
    response = await client.get("/fail/1")

    assert response.status_code == 409
    assert response.json()["id"] == "batch_1"


@pytest.mark.parametrize("status", [0, 2])
async def test_a_fault_shows_nothing_of_itself_and_is_logged_once(
    client: httpx.AsyncClient, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """E-18, F-45: nothing internal leaves, and the id leads to the trace."""
    response = await client.get(f"/fail/{status}", headers={"x-request-id": "r-1"})

    assert response.status_code == 500
    assert (SECRET in response.text, response.json()["request_id"]) == (False, "r-1")
    assert [record.message.split()[0] for record in caplog.records] == ["http.failure"]
    assert caplog.text.count("Traceback") == 1


async def test_openapi_and_docs_are_served_and_list_problems(client: httpx.AsyncClient) -> None:
    """F-45."""
    docs = await client.get("/docs")
    schema = (await client.get("/openapi.json")).json()

    assert docs.status_code == 200
    listed = schema["paths"]["/check"]["post"]["responses"]
    assert sorted(listed) == ["200", "401", "403", "409", "422", "429"]
    assert "application/problem+json" in listed["409"]["content"]
