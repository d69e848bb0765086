from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from redis import exceptions

from benchmarks.rigs.servers import RedisServer
from penstock.errors import ConfigurationError
from penstock.net.redis import (
    FAULTS,
    at_database,
    connect,
    connect_sync,
    explain,
    is_too_old,
    shown,
    too_old,
    version_of,
)


async def test_a_client_speaks_resp3_and_says_its_name(redis: RedisServer) -> None:
    client = connect(redis.url, timeout=5, name="penstock-test")
    try:
        told = await client.client_info()
        assert told["name"] == "penstock-test"
        assert told["resp"] == "3"
        version = version_of(str((await client.info("server"))["redis_version"]))
        assert not is_too_old(version)
    finally:
        await client.aclose()


def test_a_thread_has_the_same_client(redis: RedisServer) -> None:
    with connect_sync(redis.url, timeout=5) as client:
        client.set("a", "1")
        assert client.get("a") == b"1"


@pytest.mark.parametrize(
    ("url", "number", "expected"),
    [
        ("redis://h:1/0", 2, "redis://h:1/2"),
        ("rediss://u:p@h:1", 1, "rediss://u:p@h:1/1"),
        ("unix:///run/redis.sock?db=0&x=y", 2, "unix:///run/redis.sock?x=y&db=2"),
    ],
)
def test_another_database_of_the_same_server(url: str, number: int, expected: str) -> None:
    assert at_database(url, number) == expected


def test_what_is_shown_has_no_password() -> None:
    assert shown("redis://user:secret@host:1/0?password=secret") == "redis://host:1/0"


@pytest.mark.parametrize("url", ["http://x", "redis://", "localhost:6379", ""])
def test_what_is_no_address_of_redis_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no address of Redis"):
        connect(url)


@pytest.mark.parametrize("url", ["redis://:c2Vj/cmV0@h:6379/0", "redis://:c2Vj?cmV0@h:6379/0"])
@pytest.mark.parametrize("make", [connect, connect_sync])
def test_a_password_that_ends_the_host_too_early_is_refused_and_not_told(
    url: str, make: Callable[[str], object]
) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded: %2F for /") as caught:
        make(url)

    assert "c2Vj" not in str(caught.value)
    assert "cmV0" not in str(caught.value)
    assert shown(url) == "redis://..."


async def _fault(url: str, *command: str) -> str:
    client = connect(url)
    try:
        await client.execute_command(*(command or ("PING",)))
    except FAULTS as error:
        return explain(error, url)
    finally:
        await client.aclose()
    raise AssertionError("it worked")


async def test_a_server_that_is_not_there_is_said_to_be(
    own_redis: Callable[..., RedisServer],
) -> None:
    server = own_redis()
    server.stop()
    assert "cannot be reached" in await _fault(server.url)


async def test_a_wrong_and_a_missing_password_are_told_apart_from_the_rest(
    own_redis: Callable[..., RedisServer],
) -> None:
    server = own_redis(password="right")
    wrong = server.url.replace("right", "wrong-secret")
    told = await _fault(wrong)
    assert "refuses the name or the password" in told
    assert "wrong-secret" not in told
    assert "password" in await _fault(server.url.replace(":right@", ""))


async def test_a_silent_server_is_given_up_in_time(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    server.freeze()
    assert "does not answer in time" in await _fault(server.url)


async def test_a_full_server_says_what_to_do(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    assert "maxmemory" in await _fault(server.url, "SET", "a", "x" * 100_000)


async def test_a_database_that_the_server_does_not_have_is_told(redis: RedisServer) -> None:
    told = await _fault(redis.database(99))

    assert "/99 has no database of this number; name one in REDIS_URL" in told


async def test_a_web_server_is_not_taken_for_a_redis() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        told = await _fault(f"redis://127.0.0.1:{port}/0")

    assert "answers, but not as Redis does; name host and port of a Redis in REDIS_URL" in told


def test_a_host_that_nobody_knows_is_told_from_a_server_that_is_down() -> None:
    error = exceptions.ConnectionError("Error -2 connecting to h:1. Name or service not known.")
    error.__context__ = socket.gaierror(-2, "Name or service not known")
    other = exceptions.ConnectionError("Error 111 connecting to h:1. Connection refused.")
    other.__context__ = error.__context__

    told = explain(error, "redis://h:1/0")

    assert told.startswith("redis://h:1/0 cannot be looked up (Name or service not known); correct")
    assert "start it or correct REDIS_URL" in explain(other, "redis://h:1/0")


def test_versions_are_compared_as_numbers() -> None:
    assert is_too_old(version_of("6.0.20"))
    assert not is_too_old(version_of("6.2.0"))
    assert not is_too_old(version_of("10.1"))
    assert "install 6.2 or later" in too_old((5, 0, 7), "redis://h:1/0")
