"""Real servers on loopback, reached because the guard's allow list names them."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from penstock.errors import BlockedAddress, FetchFailed, TooLarge
from penstock.net.dial import Dialler
from penstock.net.guard import Guard

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nhi"


@dataclass
class Site:
    """A server that says what it is told to and remembers what it was asked."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.place}/"


@asynccontextmanager
async def site(*answers: bytes | Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    told = list(answers)
    here = Site()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                ),
                0,
            )
            here.requests.append(head + await reader.readexactly(length))
            answer = told.pop(0) if len(told) > 1 else told[0]
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()


def dialler(*sites: Site, **parts: object) -> Dialler:
    return Dialler(Guard(allow=[one.place for one in sites]), **parts)  # type: ignore[arg-type]


def moved(status: int, place: str) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


async def hang(_writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_an_answer_has_status_headers_body_and_address() -> None:
    async with site(OK) as here:
        fetched = await dialler(here).fetch(f"{here.url}a?b=c", max_bytes=10)

    assert (fetched.status, fetched.body) == (200, b"hi")
    assert fetched.headers["x-a"] == "1, 2"
    assert fetched.url == f"{here.url}a?b=c"


async def test_the_request_names_the_host_and_asks_for_no_compression() -> None:
    async with site(OK) as here:
        await dialler(here).fetch(
            f"{here.url}a?b=c", headers={"Host": "other.example", "Accept": "image/*"}, max_bytes=10
        )

    head = here.requests[0].decode().lower()
    assert head.startswith("get /a?b=c http/1.1\r\n")
    assert f"\r\nhost: {here.place}\r\n" in head
    assert "other.example" not in head
    assert "\r\naccept: image/*\r\n" in head
    assert "\r\naccept-encoding: identity\r\n" in head


async def test_a_query_straight_behind_the_host_is_sent() -> None:
    async with site(OK) as here:
        await dialler(here).fetch(f"http://{here.place}?a=b", max_bytes=10)

    assert here.requests[0].startswith(b"GET /?a=b HTTP/1.1\r\n")


async def test_a_body_is_posted_whole() -> None:
    async with site(OK) as here:
        await dialler(here).fetch(here.url, method="POST", body=b"x" * 300_000, max_bytes=10)

    assert here.requests[0].endswith(b"\r\n\r\n" + b"x" * 300_000)


async def test_any_status_is_an_answer() -> None:
    async with site(b"HTTP/1.1 500 Oh\r\n\r\nno") as here:
        fetched = await dialler(here).fetch(here.url, max_bytes=10)

    assert (fetched.status, fetched.body) == (500, b"no")


async def test_the_name_is_looked_up_once_and_its_checked_address_dialled() -> None:
    """DNS rebinding: the second answer would be another machine."""
    async with site(OK) as here, site(b"HTTP/1.1 200 OK\r\n\r\ninner") as inner:
        answers = iter([["127.0.0.1"], ["127.0.0.2"]])

        async def rebinding(_host: str, _port: int) -> Sequence[str]:
            return next(answers)

        guard = Guard(allow=[f"rebind.example:{here.port}"], resolver=rebinding)
        fetched = await Dialler(guard).fetch(f"http://rebind.example:{here.port}/", max_bytes=10)

    assert fetched.body == b"hi"
    assert f"host: rebind.example:{here.port}".encode() in here.requests[0].lower()
    assert not inner.requests
    assert next(answers) == ["127.0.0.2"]


async def test_the_next_address_is_tried_when_one_refuses() -> None:
    async with site(OK) as here:

        async def two(_host: str, _port: int) -> Sequence[str]:
            return ["127.0.0.9", "127.0.0.1"]

        guard = Guard(allow=[f"two.example:{here.port}"], resolver=two)
        fetched = await Dialler(guard).fetch(f"http://two.example:{here.port}/", max_bytes=10)

    assert fetched.status == 200


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(OK) as here, site(OK) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        await dialler(here, proxy).fetch(here.url, max_bytes=10)

    assert here.requests
    assert not proxy.requests


async def test_a_name_that_resolves_to_a_private_address_is_not_dialled() -> None:
    async with site(OK) as here:

        async def private(_host: str, _port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        guard = Guard(ports=[here.port], resolver=private)
        with pytest.raises(BlockedAddress, match="not a public address"):
            await Dialler(guard).fetch(f"http://public.example:{here.port}/", max_bytes=10)

    assert not here.requests


async def test_a_redirect_to_a_private_address_is_not_followed() -> None:
    async with site(OK) as inner, site(moved(302, inner.url)) as here:
        with pytest.raises(BlockedAddress):
            await dialler(here).fetch(here.url, max_bytes=10, redirects=3)

    assert not inner.requests


@pytest.mark.parametrize("redirected", [False, True])
async def test_a_name_without_an_address_is_one_that_does_not_answer(redirected: bool) -> None:
    async def unknown(host: str, _port: int) -> Sequence[str]:
        return [host] if host == "127.0.0.1" else []

    async with site(moved(302, "http://gone.example/")) as here:
        caller = Dialler(Guard(allow=[here.place], resolver=unknown))
        with pytest.raises(FetchFailed, match=r"gone\.example has no address"):
            await caller.fetch(
                here.url if redirected else "http://gone.example/", max_bytes=10, redirects=1
            )


async def test_a_redirect_is_an_answer_when_none_may_be_followed() -> None:
    async with site(moved(302, "/next")) as here:
        fetched = await dialler(here).fetch(here.url, max_bytes=10)

    assert (fetched.status, fetched.headers["location"]) == (302, "/next")
    assert len(here.requests) == 1


async def test_redirects_are_followed_to_the_end() -> None:
    async with site(moved(301, "/b"), moved(307, "c?d"), OK) as here:
        fetched = await dialler(here).fetch(f"{here.url}a", max_bytes=10, redirects=2)

    assert fetched.url == f"{here.url}c?d"
    assert [one.split(b" ")[1] for one in here.requests] == [b"/a", b"/b", b"/c?d"]


async def test_redirects_in_a_circle_end() -> None:
    async with site(moved(302, "/")) as here:
        with pytest.raises(FetchFailed, match="after 2 redirects"):
            await dialler(here).fetch(here.url, max_bytes=10, redirects=2)

    assert len(here.requests) == 3


@pytest.mark.parametrize(
    ("status", "method", "becomes", "body"),
    [
        (301, "POST", "GET", b""),
        (302, "POST", "GET", b""),
        (303, "PUT", "GET", b""),
        (307, "POST", "POST", b"{}"),
        (308, "PUT", "PUT", b"{}"),
        (302, "PUT", "PUT", b"{}"),
    ],
)
async def test_a_redirect_changes_the_method_as_http_says(
    status: int, method: str, becomes: str, body: bytes
) -> None:
    async with site(moved(status, "/next"), OK) as here:
        await dialler(here).fetch(here.url, method=method, body=b"{}", max_bytes=10, redirects=1)

    assert here.requests[1].startswith(f"{becomes} /next ".encode())
    assert here.requests[1].endswith(b"\r\n\r\n" + body)


async def test_a_redirect_to_another_origin_takes_no_secrets_along() -> None:
    async with site(OK) as other, site(moved(307, other.url)) as here:
        headers = {"Authorization": "Bearer x", "Cookie": "y", "X-Key": "z", "Accept": "text/html"}
        await dialler(here, other).fetch(here.url, headers=headers, max_bytes=10, redirects=1)

    told = other.requests[0].lower()
    assert b"accept: text/html" in told
    assert not any(name in told for name in (b"authorization", b"cookie", b"x-key"))


async def test_a_body_that_announces_its_size_is_refused_before_it_is_read() -> None:
    async def announces(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        await hang(writer)

    async with site(announces) as here:
        with pytest.raises(TooLarge, match="larger than 1000 bytes"):
            await dialler(here).fetch(here.url, max_bytes=1000)


async def test_an_endless_body_is_left_at_its_bound() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with site(endless) as here:
        with pytest.raises(TooLarge):
            await dialler(here).fetch(here.url, max_bytes=1_000_000)


async def test_a_body_in_tiny_chunks_is_read_to_its_end() -> None:
    body = b"".join(b"1\r\nx\r\n" for _ in range(5000)) + b"0\r\n\r\n"
    async with site(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body) as here:
        fetched = await dialler(here).fetch(here.url, max_bytes=5000)

    assert fetched.body == b"x" * 5000


async def test_a_body_can_be_cut_instead() -> None:
    async with site(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000) as here:
        fetched = await dialler(here).fetch(here.url, max_bytes=7, cut=True)

    assert (fetched.status, fetched.body) == (200, b"xxxxxxx")


async def test_a_compressed_body_is_refused() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"
    async with site(head) as here:
        with pytest.raises(FetchFailed, match="'gzip'"):
            await dialler(here).fetch(here.url, max_bytes=10)


async def test_a_body_that_ends_early_is_no_answer() -> None:
    async with site(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") as here:
        with pytest.raises(FetchFailed):
            await dialler(here).fetch(here.url, max_bytes=1000)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_no_answer(said: bytes) -> None:
    async with site(said) as here:
        with pytest.raises(FetchFailed):
            await dialler(here).fetch(here.url, max_bytes=10)


async def test_a_server_that_hangs_is_given_up() -> None:
    async with site(hang) as here:
        with pytest.raises(FetchFailed, match="within"):
            await dialler(here, timeout=0.1).fetch(here.url, max_bytes=10)


async def test_a_server_that_drips_is_given_up_at_the_same_time() -> None:
    """Every byte comes soon enough; the answer as a whole does not."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.001)

    async with site(drip) as here:
        with pytest.raises(FetchFailed, match="within"):
            await dialler(here).fetch(here.url, max_bytes=100_000, timeout=0.1)


async def test_a_refused_connection_is_told_without_the_address_behind_the_name() -> None:
    async with site(OK) as here:
        port = here.port

    async def inner(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    guard = Guard(allow=[f"gone.example:{port}"], resolver=inner)
    with pytest.raises(FetchFailed) as caught:
        await Dialler(guard).fetch(f"http://gone.example:{port}/", max_bytes=10)

    assert caught.value.detail == "gone.example refused the connection"


@dataclass(frozen=True)
class Certificates:
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """A server that is `shop.example`, and a client that trusts its issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("shop.example"), x509.IPAddress(IPv4Address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "both.pem").write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "both.pem")
    return Certificates(server, ssl.create_default_context(cadata=pem.decode()))


async def home(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def secure(port: int, *names: str, tls: ssl.SSLContext | None) -> Dialler:
    return Dialler(Guard(allow=[f"{name}:{port}" for name in names], resolver=home), tls=tls)


async def test_a_certificate_is_checked_for_the_name_not_the_address(
    certificates: Certificates,
) -> None:
    async with site(OK, tls=certificates.server) as here:
        caller = secure(here.port, "shop.example", "other.example", tls=certificates.client)
        fetched = await caller.fetch(f"https://shop.example:{here.port}/", max_bytes=10)
        with pytest.raises(FetchFailed, match=r"other\.example: its certificate is not trusted"):
            await caller.fetch(f"https://other.example:{here.port}/", max_bytes=10)

    assert fetched.body == b"hi"
    assert len(here.requests) == 1


async def test_an_unknown_issuer_is_not_trusted(certificates: Certificates) -> None:
    async with site(OK, tls=certificates.server) as here:
        with pytest.raises(FetchFailed, match="certificate is not trusted"):
            await secure(here.port, "shop.example", tls=None).fetch(
                f"https://shop.example:{here.port}/", max_bytes=10
            )


async def test_https_never_leads_to_http(certificates: Certificates) -> None:
    async with (
        site(OK) as plain,
        site(moved(302, f"http://shop.example:{plain.port}/"), tls=certificates.server) as here,
    ):
        names = [f"shop.example:{one.port}" for one in (plain, here)]
        caller = Dialler(Guard(allow=names, resolver=home), tls=certificates.client)
        with pytest.raises(BlockedAddress, match="from https to http"):
            await caller.fetch(f"https://shop.example:{here.port}/", max_bytes=10, redirects=3)

    assert not plain.requests


async def test_what_speaks_no_tls_is_no_answer(certificates: Certificates) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FetchFailed, match="TLS could not be agreed on"):
            await secure(port, "shop.example", tls=certificates.client).fetch(
                f"https://shop.example:{port}/", max_bytes=10
            )
