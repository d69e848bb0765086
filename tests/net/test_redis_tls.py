"""TLS to real Redis servers, by the clients of a loop and of threads."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.rigs.certificates import BEGIN, Authority
from benchmarks.rigs.servers import RedisServer, Tls, wait_until
from penstock.errors import ConfigurationError
from penstock.net.redis import FAULTS, ask, connect, connect_sync, explain
from penstock.net.redis_tls import for_celery, split
from penstock.net.tls import Terms

OwnRedis = Callable[..., RedisServer]

SECRET = "open-sesame"


async def told_to_a_loop(url: str) -> str:
    """What is wrong; empty when nothing is."""
    client = connect(url)
    try:
        assert await client.ping()
    except FAULTS as error:
        return explain(error, url)
    finally:
        await client.aclose()
    return ""


def told_to_a_thread(url: str, **options: float) -> str:
    try:
        with connect_sync(url, **options) as client:
            assert client.ping()
    except FAULTS as error:
        return explain(error, url)
    return ""


async def told(url: str, **options: float) -> str:
    """What both are told, without the address; `options` are those of the thread's client."""
    words, also = await told_to_a_loop(url), told_to_a_thread(url, **options)
    assert SECRET not in words + also
    assert words == also
    return words.partition(" ")[2]


async def test_a_server_is_asked_over_tls_with_its_password(
    own_redis: OwnRedis, authority: Authority
) -> None:
    server = own_redis(password=SECRET, tls=Tls.of(authority))

    assert await told(server.url) == ""
    assert await told(server.url.replace("127.0.0.1", "localhost")) == ""
    assert await told(server.url.replace(SECRET, "wrong")) == (
        "refuses the name or the password; correct it in REDIS_URL"
    )


async def test_a_certificate_that_cannot_be_trusted_is_refused_with_what_to_set(
    own_redis: OwnRedis, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    server = own_redis(password=SECRET, tls=Tls.of(authority))
    trusted = str(authority.ca)
    (tmp_path / "no.pem").write_text("nothing")

    unknown = await told(server.url.replace(trusted, str(stranger.ca)))
    unnamed = await told(server.url.partition("?")[0])
    missing = await told(server.url.replace(trusted, f"{tmp_path}/gone.pem"))
    empty = await told(server.url.replace(trusted, f"{tmp_path}/no.pem"))

    assert unknown == unnamed
    assert unknown.startswith("shows a certificate that is not trusted (self-signed certificate")
    assert unknown.endswith("signed it in REDIS_URL: ?ssl_ca_certs=/path/ca.pem")
    assert missing == (
        f"cannot be asked: {tmp_path}/gone.pem cannot be read (No such file or directory); "
        "correct REDIS_URL"
    )
    assert empty.startswith(f"cannot be asked: {tmp_path}/no.pem holds no certificates")


async def test_a_certificate_of_another_name_or_time_is_refused_unless_that_is_said(
    own_redis: OwnRedis, authority: Authority
) -> None:
    other = own_redis(tls=Tls.of(authority, "other.example"))
    former = authority.issue("127.0.0.1", end=BEGIN + datetime.timedelta(days=1))
    expired = own_redis(tls=Tls(authority, former))

    assert await told(other.url) == (
        "shows a certificate of another name (IP address mismatch, certificate is not valid for "
        "'127.0.0.1'); write the name that its certificate has into REDIS_URL"
    )
    assert await told(expired.url) == (
        "shows a certificate that is not valid now (certificate has expired); renew it there"
    )
    assert await told(f"{other.url}&ssl_check_hostname=false") == ""
    assert await told(f"{other.url}&ssl_cert_reqs=none") == ""


async def test_a_server_that_asks_for_a_certificate_is_shown_one(
    own_redis: OwnRedis, authority: Authority, stranger: Authority
) -> None:
    server = own_redis(password=SECRET, tls=Tls.of(authority, clients=True))
    without = server.url.partition("&")[0]
    mine = authority.issue("client", file="locked", password=SECRET.encode())
    theirs = stranger.issue("client", file="client")
    locked = f"{without}&ssl_certfile={mine.certificate}&ssl_keyfile={mine.key}"
    foreign = f"{without}&ssl_certfile={theirs.certificate}&ssl_keyfile={theirs.key}"
    mixed = f"{without}&ssl_certfile={mine.certificate}&ssl_keyfile={theirs.key}"

    assert await told(server.url) == ""
    assert await told(f"{locked}&ssl_password={SECRET}") == ""
    assert "cannot be used as certificate and key" in await told(locked)  # and nobody is asked
    assert "key values mismatch" in await told(mixed)
    for url in (without, foreign):  # why is read, or lost when the connection ends
        for words in (await told_to_a_loop(url), told_to_a_thread(url)):
            assert "ssl_certfile=/path/client.pem&ssl_keyfile=" in words


async def test_tls_where_none_is_spoken_and_the_reverse_are_told(
    own_redis: OwnRedis, redis: RedisServer, authority: Authority
) -> None:
    secure = own_redis(tls=Tls.of(authority))

    plain = await told(f"redis://127.0.0.1:{secure.port}/0")
    silent = await told(
        f"rediss://127.0.0.1:{redis.port}/0?ssl_ca_certs={authority.ca}", connect_timeout=0.1
    )

    assert plain.endswith("start it or correct REDIS_URL (rediss:// if it speaks TLS)")
    assert silent == (
        "does not answer in time; see whether it is cut off, or speaks no TLS "
        "(then it is redis:// in REDIS_URL)"
    )


async def test_a_client_connects_again_after_its_server_was_killed(
    own_redis: OwnRedis, authority: Authority
) -> None:
    server = own_redis(password=SECRET, tls=Tls.of(authority))
    client = connect(server.url)
    try:
        assert await ask(client, client.ping)
        server.kill()
        with pytest.raises(FAULTS) as caught:
            await ask(client, client.ping)
        server.start()
        assert await ask(client, client.ping)
    finally:
        await client.aclose()

    assert "cannot be reached" in explain(caught.value, server.url)


async def test_an_authority_that_is_renewed_counts_without_a_restart(
    own_redis: OwnRedis, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    server = own_redis(tls=Tls.of(authority))
    named = tmp_path / "ca.pem"
    named.write_bytes(stranger.ca.read_bytes())
    url = server.url.replace(str(authority.ca), str(named))
    client = connect(url)
    try:
        with pytest.raises(FAULTS):
            await client.ping()
        before = named.stat().st_mtime_ns

        def renewed() -> bool:
            named.write_bytes(authority.ca.read_bytes())
            return named.stat().st_mtime_ns != before

        wait_until(renewed)
        assert await client.ping()
    finally:
        await client.aclose()


def test_options_of_tls_are_read_and_taken_out_of_the_address() -> None:
    url = "rediss://:p@h:1/0?db=3&ssl_ca_certs=%2Fa%20b.pem&ssl_certfile=/c&ssl_keyfile=/k"

    assert split(f"{url}&ssl_cert_reqs=CERT_NONE&ssl_check_hostname=False") == (
        "rediss://:p@h:1/0?db=3",
        Terms("/a b.pem", "", "/c", "/k", "", ssl.CERT_NONE, check_name=False),
    )
    assert split("rediss://h") == ("rediss://h", Terms())
    assert split("redis://h/0?x=1") == ("redis://h/0?x=1", None)


def test_celery_is_given_the_same_options_and_checks_by_default() -> None:
    assert for_celery("redis://h/1") == ("redis://h/1", None)
    assert for_celery("rediss://h/1") == (
        "rediss://h/1",
        {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True},
    )
    assert for_celery("rediss://h/1?ssl_ca_certs=/a&ssl_certfile=/c&ssl_keyfile=/k") == (
        "rediss://h/1",
        {
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
            "ssl_check_hostname": True,
            "ssl_ca_certs": "/a",
            "ssl_certfile": "/c",
            "ssl_keyfile": "/k",
            "ssl_password": "",
        },
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:{}@h/0?ssl_ca_certs=/a", "speaks no TLS; write rediss://"),
        ("rediss://:{}@h/0?ssl_ca_cert=/a", "ssl_ca_cert, which nobody reads; known: ssl_ca_certs"),
        ("rediss://:{}@h/0?ssl_cert_reqs=off", "ssl_cert_reqs is one of required, none"),
        ("rediss://:{}@h/0?ssl_check_hostname=maybe", "ssl_check_hostname is one of true, false"),
        ("rediss://:{}@h/0?ssl_keyfile=/k&ssl_password={}", "add its ssl_certfile"),
        ("redis://:{}@h/0?timeout=100ms", "has an option that cannot be used: Invalid value for"),
        ("redis://:{}@h/0?tls=true", "has an option that cannot be used: 'tls'"),
        ("sentinel://:{}@h:26379", "sentinel:// is not supported: nobody here asks where"),
        ("redis+sentinel://h/0", "write redis:// or rediss:// with a name or address"),
        ("rediss+cluster://h/0", "is not supported"),
    ],
)
@pytest.mark.parametrize("make", [connect, connect_sync])
def test_options_that_nobody_understands_are_refused_before_anything_is_asked(
    make: Callable[[str], object], url: str, said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(url.replace("{}", SECRET))

    assert said in caught.value.detail
    assert SECRET not in caught.value.detail
