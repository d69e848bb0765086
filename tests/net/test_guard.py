from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from penstock.errors import BlockedAddress
from penstock.net.guard import Guard, Unresolved, is_public, resolve

NAMES = {
    "shop.example": ["203.0.114.7"],
    "xn--bcher-kva.example": ["8.8.8.8"],
    "6.example": ["2a00:1450:4001:81b::200e"],
    "nat64.example": ["64:ff9b::808:808"],
    "mixed.example": ["8.8.8.8", "192.168.0.9"],
    "private.example": ["fd12:3456::1"],
    "linklocal.example": ["fe80::1%eth0"],
    "mapped.example": ["::ffff:10.1.2.3"],
    "empty.example": [],
    "odd.example": ["no address"],
    "127.0.0.1.example.com": ["8.8.4.4"],
    "under_score.example": ["8.8.4.4"],
}

ALLOWED = [
    ("http://shop.example", "http://shop.example/", "203.0.114.7"),
    ("HTTPS://Shop.Example:443/a?b=c#d", "https://shop.example/a?b=c", "203.0.114.7"),
    ("http://shop.example:8080/ü", "http://shop.example:8080/%C3%BC", "203.0.114.7"),
    ("http://shop.example:80/%41", "http://shop.example/%41", "203.0.114.7"),
    ("http://shop.example:443/", "http://shop.example:443/", "203.0.114.7"),
    ("https://bücher.example/", "https://xn--bcher-kva.example/", "8.8.8.8"),
    ("https://6.example/", "https://6.example/", "2a00:1450:4001:81b::200e"),
    ("https://nat64.example/", "https://nat64.example/", "64:ff9b::808:808"),
    ("http://8.8.8.8/", "http://8.8.8.8/", "8.8.8.8"),
    ("http://134744072/", "http://8.8.8.8/", "8.8.8.8"),
    ("http://0x8.8.2056/", "http://8.8.8.8/", "8.8.8.8"),
    ("http://[2A00:1450:4001:81B:0::200e]/", "http://[2a00:1450:4001:81b::200e]/", None),
    ("http://[::ffff:8.8.8.8]/", "http://[::ffff:808:808]/", "8.8.8.8"),
    ("http://127.0.0.1.example.com/", "http://127.0.0.1.example.com/", "8.8.4.4"),
    ("http://under_score.example/", "http://under_score.example/", "8.8.4.4"),
    ("http://shop.example./", "http://shop.example/", "203.0.114.7"),
]

BLOCKED = [
    *("ftp://shop.example/", "file:///etc/passwd", "gopher://shop.example:70/", "//shop.example/"),
    *("shop.example", "", "http:/shop.example/", "http://", "http:///x", "http://:80/"),
    *("data:text/plain,x", "javascript:alert(1)", "http://shop.example:/", "http://[::1/"),
    # ports
    *("http://shop.example:22/", "http://shop.example:6379/", "http://shop.example:65616/"),
    *("http://shop.example:-80/", "http://shop.example:８０/", "http://shop.example:0x50/"),
    # parsers that differ
    *("http://user:pw@shop.example/", "http://shop.example@127.0.0.1/", "http://a@b@8.8.8.8/"),
    *("http://127.0.0.1\\@shop.example/", "http://127.0.0.1#@shop.example/"),
    *("http://shop.example/\r\nHost: x", "http://shop.example/ x", " http://shop.example/"),
    *("http://shop\t.example/", "http://shop.example\x00/", "http://shop.example/\u00a0"),
    *("http://shop..example/", "http://-shop.example/", "http://" + "a" * 64 + ".example/"),
    *("http://" + "a." * 130 + "example/", "http://shop.example/" + "a" * 9000, "http://a%2e/"),
    *("http://\ud800.example/", "http://[fe80::1%25eth0]/", "http://[::1]x/", "http://[1.2.3.4]/"),
    # loopback in every spelling
    *("http://localhost/", "http://LOCALHOST:8080/", "http://localhost./", "http://a.localhost/"),
    *("http://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0/"),
    *("http://0x7f000001/", "http://0x7f.1/", "http://017700000001/", "http://0177.0.0.01/"),
    *("http://①②⑦.0.0.1/", "http://127。0。0。1/", "http://127.0.0.1./", "http://[::1]/"),
    *("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/"),
    # numbers that are no address
    *("http://256.1.1.1/", "http://1.2.3.4.5/", "http://4294967296/", "http://08.8.8.8/"),
    *("http://1.2.3.0x1g/", "http://shop.1/", "http://1..2/"),
    # not globally routable
    *("http://10.0.0.5/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.1.1/"),
    *("http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://100.64.0.1/"),
    *("http://0.0.0.0/", "http://192.0.0.8/", "http://192.0.2.1/", "http://198.18.0.1/"),
    *("http://198.51.100.1/", "http://203.0.113.1/", "http://224.0.0.1/", "http://240.0.0.1/"),
    *("http://255.255.255.255/", "http://192.88.99.1/", "http://[::]/", "http://[fc00::1]/"),
    *("http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://[ff02::1]/", "http://[100::1]/"),
    *("http://[64:ff9b::7f00:1]/", "http://[64:ff9b:1::808:808]/", "http://[2002:7f00:1::]/"),
    *("http://[2001:0:4136:e378::1]/", "http://[2001:db8::1]/", "http://[3fff::1]/"),
    *("http://[fec0::1]/", "http://[::ffff:169.254.169.254]/"),
    # names whose addresses are not
    *("http://mixed.example/", "http://private.example/", "http://mapped.example/"),
    *("http://linklocal.example/", "http://empty.example/", "http://odd.example/"),
    "http://unknown.example/",
]


async def known(host: str, _port: int) -> Sequence[str]:
    if host not in NAMES:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    return NAMES[host]


async def inner(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
def guard() -> Guard:
    return Guard(resolver=known)


@pytest.mark.parametrize(("url", "canonical", "address"), ALLOWED)
async def test_a_public_address_may_be_dialled(
    guard: Guard, url: str, canonical: str, address: str | None
) -> None:
    target = await guard.check(url)

    assert target.url == canonical
    assert address is None or target.addresses == (address,)


@pytest.mark.parametrize("url", BLOCKED)
async def test_anything_else_may_not(guard: Guard, url: str) -> None:
    with pytest.raises(BlockedAddress) as caught:
        await guard.check(url)

    assert caught.value.detail
    assert len(caught.value.detail) < 400


async def test_the_target_says_what_to_connect_and_what_to_name(guard: Guard) -> None:
    target = await guard.check("https://bücher.example:8443/x")

    assert (target.scheme, target.host, target.port) == ("https", "xn--bcher-kva.example", 8443)
    assert target.addresses == ("8.8.8.8",)


async def test_a_name_that_answers_differently_later_is_checked_again() -> None:
    answers = iter([["8.8.8.8"], ["127.0.0.1"]])

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        return next(answers)

    guard = Guard(resolver=rebinding)
    first = await guard.check("http://rebind.example/")

    assert first.addresses == ("8.8.8.8",)
    with pytest.raises(BlockedAddress):
        await guard.check("http://rebind.example/next")


async def test_the_inner_address_is_not_told(guard: Guard) -> None:
    with pytest.raises(BlockedAddress) as caught:
        await guard.check("http://private.example/")

    assert "fd12" not in caught.value.detail


async def test_a_rig_may_be_allowed_by_host_and_port() -> None:
    guard = Guard(allow=["127.0.0.1:9999", "Localhost:9998", "[::1]:9997"])

    assert (await guard.check("http://127.0.0.1:9999/")).addresses == ("127.0.0.1",)
    assert (await guard.check("http://[::1]:9997/")).addresses == ("::1",)
    assert (await guard.check("http://localhost:9998/")).port == 9998
    assert (await guard.check("http://localhost:9998/")).trusted
    with pytest.raises(BlockedAddress):
        await guard.check("http://127.0.0.1:9996/")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://shop.example:9999/", "shop.example:9999"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
        ("http://[::1]/", "[::1]:80"),
        ("https://localhost/", "localhost:443"),
        ("https://private.example/", "private.example:443"),
    ],
)
async def test_what_is_refused_names_the_setting_that_would_allow_it(
    guard: Guard, url: str, place: str
) -> None:
    with pytest.raises(BlockedAddress) as caught:
        await guard.check(url)

    assert f"PENSTOCK_ALLOW_PRIVATE does not name {place}" in caught.value.detail
    assert (await Guard(allow=[place], resolver=inner).check(url)).trusted


@pytest.mark.parametrize("name", ["unknown", "empty", "odd"])
async def test_a_name_without_an_address_is_told_apart_from_what_is_refused(
    guard: Guard, name: str
) -> None:
    with pytest.raises(Unresolved, match=f"{name}.example"):
        await guard.check(f"http://{name}.example/")


async def test_a_resolver_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr("penstock.net.guard.RESOLVE_TIMEOUT", 0.01)

    with pytest.raises(Unresolved, match="could not be resolved"):
        await Guard(resolver=never).check("http://slow.example/")


async def test_the_systems_resolver_names_each_address_once() -> None:
    found = await resolve("127.0.0.1", 80)

    assert found == ["127.0.0.1"]


@pytest.mark.parametrize("address", ["172.15.255.255", "172.32.0.0", "9.255.255.255", "2600::1"])
def test_the_edges_of_private_ranges_are_public(address: str) -> None:
    assert is_public(ip_address(address))
