"""Errors have the type of their status, say what to do, and never show the key."""

from __future__ import annotations

import copy
import logging
import re
from pathlib import Path
from typing import Any

import httpx2
import penstock_client
import pytest
from penstock_client import APIError, AsyncPenstock, Penstock, errors

BY_STATUS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    413: "TooLargeError",
    418: "APIError",
    422: "InvalidInputError",
    429: "RateLimitError",
    503: "ServerError",
}
KEY = "psk_secret-of-the-tests-0123456789abcdefghijklm"


@pytest.mark.parametrize(("status", "name"), BY_STATUS.items())
def test_every_status_has_its_type(status: int, name: str, penstock: Penstock, stub: Any) -> None:
    stub.problem(status, "not-found", "there is no such thing", retry_after="2")

    with pytest.raises(APIError) as caught:
        penstock.moderate_content("a", max_retries=0)

    error = caught.value
    assert type(error).__name__ == name
    assert (error.status, error.code, error.request_id) == (status, "not_found", "req-1")
    assert error.retry_after == 2.0
    assert str(error) == f"{status}: there is no such thing (request req-1)"


def test_wrong_fields_are_named(penstock: Penstock, stub: Any) -> None:
    wrong = [{"pointer": "/content", "detail": "is empty"}]
    stub.answer(422, {"type": "/docs/errors#invalid-input", "detail": "no", "errors": wrong})

    with pytest.raises(penstock_client.InvalidInputError) as caught:
        penstock.moderate_content("")

    assert caught.value.errors == wrong
    assert caught.value.problem["detail"] == "no"


@pytest.mark.parametrize("page", [b"<html>Bad gateway</html>", b"", b"[1]", b"\xff", b"[" * 50_000])
def test_a_proxy_s_page_is_an_error_of_its_status(
    page: bytes, penstock: Penstock, stub: Any
) -> None:
    stub.answer(502, page)

    with pytest.raises(penstock_client.ServerError) as caught:
        penstock.moderate_content("a", max_retries=0)

    assert caught.value.code is None


@pytest.mark.parametrize("page", [b"<html>Welcome</html>", b"", b"[1]", b"\xff", b'{"result": 1}'])
async def test_an_answer_of_somebody_else_is_said_to_be_one(
    page: bytes, call: Any, stub: Any
) -> None:
    stub.answer(200, page)

    with pytest.raises(penstock_client.InvalidAnswerError):
        await call("moderate_content", "a")


def test_a_redirect_is_not_followed(penstock: Penstock, stub: Any) -> None:
    stub.answer(307, location="http://127.0.0.1:9/elsewhere")

    with pytest.raises(APIError) as caught:
        penstock.moderate_content("a")

    assert caught.value.status == 307


def test_a_redirect_does_not_lead_the_key_to_another_host(stub: Any, other_host: Any) -> None:
    """A client of the caller's own may follow redirects: ours does not let it."""
    stub.answer(307, location=f"{other_host.url}/elsewhere")

    with httpx2.Client(follow_redirects=True) as http, pytest.raises(APIError):
        Penstock(base_url=stub.url, api_key=KEY, http_client=http).moderate_content("a")

    assert len(stub.requests) == 1
    assert not other_host.requests


async def test_nor_does_one_of_the_async_client(stub: Any, other_host: Any) -> None:
    stub.answer(307, location=f"{other_host.url}/elsewhere")

    async with httpx2.AsyncClient(follow_redirects=True) as http:
        client = AsyncPenstock(base_url=stub.url, api_key=KEY, http_client=http)
        with pytest.raises(APIError):
            await client.moderate_content("a")

    assert len(stub.requests) == 1
    assert not other_host.requests


MIXED_UP = [
    ("get_job", "batch_1", "use get_batch"),
    ("cancel_job", "batch_1", "cancel_batch"),
    ("wait_for_job", "batch_1", "wait_for_batch"),
    ("get_batch", "job_1", "use get_job"),
    ("get_batch_status", "job_1", "use get_job"),
    ("batch_results", "job_1", "use get_job"),
]


@pytest.mark.parametrize(("method", "given", "told"), MIXED_UP)
async def test_an_id_of_the_other_kind_is_said_to_be_one(
    method: str, given: str, told: str, call: Any, stub: Any
) -> None:
    stub.problem(404, "not-found", f"there is no such thing as {given!r}")

    with pytest.raises(penstock_client.NotFoundError, match=told) as caught:
        await call(method, given)

    assert caught.value.code == "not_found"
    assert caught.value.request_id == "req-1"


async def test_the_key_is_sent_and_never_shown(
    call: Any, stub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stub.problem(503)
    stub.problem(401)

    with pytest.raises(APIError) as caught:
        await call("moderate_content", "a")

    assert stub.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "penstock_client" in {record.name for record in caplog.records}
    told = [str(caught.value), repr(caught.value), repr(call.client), repr(vars(call.client))]
    told += [repr(vars(part)) for part in vars(call.client).values() if hasattr(part, "__dict__")]
    assert KEY not in "".join([*told, caplog.text])


@pytest.mark.parametrize("key", ["psk_a\nX-Other: 1", "psk_\N{GREEK SMALL LETTER ALPHA}", "a b"])
@pytest.mark.parametrize("kind", [Penstock, AsyncPenstock])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(kind: Any, key: str) -> None:
    with pytest.raises(ValueError, match="API key") as caught:
        kind(api_key=key)

    assert key not in str(caught.value)


def test_a_key_from_a_file_may_end_with_its_line(stub: Any) -> None:
    with Penstock(base_url=stub.url, api_key=f"{KEY}\n") as client:
        client.moderate_content("a")

    assert stub.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_where_and_who_come_from_the_environment(
    stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_URL", f"{stub.url}/")
    monkeypatch.setenv("PENSTOCK_KEY", KEY)

    with Penstock() as client:
        client.moderate_content("a")

    assert stub.requests[0].path == "/api/moderate"
    assert stub.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://[::1", "x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        Penstock(base_url=url)


def test_a_password_in_the_address_is_not_shown() -> None:
    with Penstock(base_url="http://me:secret@host:81/penstock") as client:
        assert repr(client) == "Penstock(base_url='http://host:81/penstock')"


def test_errors_survive_a_process_pool() -> None:
    error = errors.error_of(
        429, b'{"type": "/x#rate-limited", "detail": "slow"}', request_id="r", retry_after=2.0
    )
    failed = penstock_client.JobFailedError("batch_1 is failed", {"id": 1})

    for given in (error, failed, penstock_client.TimeoutError("late")):
        twin = copy.copy(given)  # by __reduce__, as pickle does
        assert (type(twin), str(twin), vars(twin)) == (type(given), str(given), vars(given))


def test_the_drawing_of_the_tree_is_the_tree() -> None:
    drawn = re.findall(r"(\w+Error)\b  ", str(errors.__doc__) + "  ")
    source = Path(errors.__file__).read_text("utf-8")

    assert set(re.findall(r"^class (\w+)", source, re.MULTILINE)) == {*drawn, "PenstockError"}


async def test_bytes_that_cannot_be_unpacked_are_no_answer(call: Any, stub: Any) -> None:
    stub.answer(200, b"no gzip", content_encoding="gzip")

    with pytest.raises(penstock_client.InvalidAnswerError):
        await call("moderate_content", "a")


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("task", 7, "task is int, not str"),
        ("attempt", 1.5, "attempt is float, not int"),
        ("cancelling", "yes", "cancelling is str, not bool"),
        ("created_at", "yesterday", "created_at is no time"),
        ("created_at", 1e99, "created_at is no time"),
        ("progress", {"done": "many"}, "progress.done is str, not int"),
        ("errors", [{"attempt": []}], r"errors\[0\].attempt is list, not int"),
        ("errors", ["late"], r"errors\[0\] is no object"),
    ],
)
def test_a_field_of_another_type_is_named(
    field: str, value: Any, place: str, penstock: Penstock, stub: Any
) -> None:
    stub.answer(document={"id": "job_1", "task": "a:b", "state": "queued", field: value})

    with pytest.raises(penstock_client.InvalidAnswerError, match=place):
        penstock.get_job("job_1")


def test_a_word_that_this_client_does_not_know_stays_a_word(penstock: Penstock, stub: Any) -> None:
    stub.answer(document={"id": "job_1", "task": "a:b", "state": "paused", "progress": None})

    job = penstock.get_job("job_1")

    assert job.state == "paused"
    assert not job.done
    assert job.progress.done == 0
