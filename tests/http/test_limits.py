from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from penstock.http.limits import BodyLimit
from penstock.http.problems import Problems
from penstock.http.request_id import RequestId


def limited(app: Any, max_bytes: int = 10) -> Any:
    return RequestId(Problems(BodyLimit(app, max_bytes=max_bytes)))


async def parts(count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


async def test_a_body_up_to_the_limit_is_read(call: Any, echo: Any) -> None:
    response = await call(limited(echo), "POST", content=b"x" * 10)

    assert response.content == b"x" * 10


async def test_an_announced_body_over_the_limit_is_refused_unread(call: Any, echo: Any) -> None:
    response = await call(limited(echo), "POST", content=b"x" * 11)

    assert response.status_code == 413
    assert response.json()["limit"] == 10
    assert not echo.scope


async def test_a_body_of_unknown_length_is_counted(call: Any, echo: Any) -> None:
    fits = await call(limited(echo), "POST", content=parts(2, 5))
    too_large = await call(limited(echo), "POST", content=parts(3, 5))

    assert fits.content == b"x" * 10
    assert too_large.status_code == 413


@pytest.mark.parametrize("length", ["9" * 30, "-1", "+5", "five", "1_0"])
async def test_an_odd_length_does_not_get_by(call: Any, echo: Any, length: str) -> None:
    headers = {"content-length": length}
    response = await call(limited(echo), "POST", content=b"x" * 11, headers=headers)

    assert response.status_code == 413


async def test_a_length_beside_chunks_is_not_believed(call: Any, echo: Any) -> None:
    headers = {"content-length": "5", "transfer-encoding": "chunked"}
    response = await call(limited(echo), "POST", content=parts(3, 5), headers=headers)

    assert response.status_code == 413


async def test_the_limit_stands_alone(call: Any, echo: Any) -> None:
    response = await call(Problems(BodyLimit(echo, max_bytes=3)), "POST", content=b"abcd")

    assert response.status_code == 413


async def test_a_flood_is_refused_by_a_real_server(serve: Any, echo: Any) -> None:
    async with serve(limited(echo, 1000)) as url, httpx.AsyncClient() as client:
        announced = await client.post(url, content=b"x" * 100_000)
        counted = await client.post(url, content=parts(50, 100))
        fine = await client.post(url, content=parts(5, 100))

    assert (announced.status_code, counted.status_code) == (413, 413)
    assert fine.content == b"x" * 500


async def test_the_refusal_comes_before_the_body(serve: Any, echo: Any) -> None:
    """A caller that waits for an answer before it sends gets one."""
    async with serve(limited(echo)) as url:
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n")
        async with asyncio.timeout(30):
            line = await reader.readline()
        writer.close()
        await writer.wait_closed()

    assert line.startswith(b"HTTP/1.1 413")


async def test_a_caller_that_leaves_is_noticed_as_ever() -> None:
    seen = []

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        seen.append(await receive())

    async def left() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "headers": []}
    await BodyLimit(app, max_bytes=1)(scope, left, None)  # type: ignore[arg-type]

    assert seen == [{"type": "http.disconnect"}]


async def test_other_protocols_pass_through(echo: Any) -> None:
    await BodyLimit(echo, max_bytes=1)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]

    assert echo.scope == {"type": "lifespan"}


async def test_a_path_with_advice_says_what_to_do_instead(call: Any, echo: Any) -> None:
    app = BodyLimit(echo, max_bytes=10, larger={"/": 20}, advice={"/": "send a file instead"})

    announced = await call(RequestId(Problems(app)), "POST", content=b"x" * 21)
    counted = await call(RequestId(Problems(app)), "POST", content=parts(3, 10))

    for response in (announced, counted):
        assert response.status_code == 413
        assert response.json()["detail"].endswith("20 bytes; send a file instead")


async def test_paths_with_an_id_may_have_a_bound_of_their_own(call: Any, echo: Any) -> None:
    bounded = Problems(BodyLimit(echo, max_bytes=3, larger={"/lists/*/import": 9}))

    taken = await call(bounded, "POST", "/lists/list_1/import", content=b"12345")
    refused = await call(bounded, "POST", "/lists/list_1/entries", content=b"12345")

    assert taken.content == b"12345"
    assert refused.status_code == 413
