from __future__ import annotations

import pytest

from penstock.net.address import NO_PLACE, UNREADABLE, fault, is_readable, shown

LEAKS = [
    "redis://:c2Vj/cmV0@h:6379/0",
    "redis://:c2Vj?cmV0@h:6379/0",
    "redis://:c2Vj#cmV0@h:6379/0",
    "redis://me:12/cmV0@h",
    "redis://:c2Vj[cmV0@h:6379/0",
    "redis://:c2Vj:cmV0",
    "redis://h:6379/0?password=c2Vj@cmV0",
    "postgresql://u:c2Vj/cmV0@first,second/db",
    "u:c2Vj@h/db",
    "host=h password=cmV0",
    "c2Vj/cmV0@x://h",
]


@pytest.mark.parametrize("url", LEAKS)
def test_of_an_address_that_cannot_be_read_for_certain_nothing_is_shown(url: str) -> None:
    assert not is_readable(url)
    assert "c2Vj" not in shown(url, user=True)
    assert "cmV0" not in shown(url, user=True)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:a%2Fb@h:6379/0?password=p", "redis://h:6379/0"),
        ("redis://:one@two@h:6379/0", "redis://h:6379/0"),
        ("rediss://me:p@[::1]:6379", "rediss://[::1]:6379"),
        ("unix://me:p@/run/redis.sock?db=2", "unix:///run/redis.sock"),
        ("postgresql://me:p@a:1,b:2/db?sslmode=require", "postgresql://a:1,b:2/db"),
        ("localhost:6379", "localhost:6379"),
        ("penstock.db", "penstock.db"),
    ],
)
def test_what_can_be_read_is_shown_without_its_password(url: str, expected: str) -> None:
    assert is_readable(url)
    assert shown(url) == expected


def test_the_name_is_shown_where_it_is_wanted() -> None:
    assert shown("postgresql://me:p@h/db?a=b", user=True) == "postgresql://me@h/db"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h:port/0", NO_PLACE),
        ("redis://:p@h:port/0", NO_PLACE),
        ("redis://h:0/0", NO_PLACE),
        ("redis://h:65536", NO_PLACE),
        ("redis://h:-5/0", NO_PLACE),
        ("redis://h:\u0663/0", NO_PLACE),
        ("redis://::1:6379/0", NO_PLACE),
        ("redis://:c2Vj:cmV0", NO_PLACE),
        ("redis://[::1:6379/0", NO_PLACE),
        ("postgresql://me:p@a:1,b:99999/db", NO_PLACE),
        ("redis://:c2Vj/cmV0@h:6379/0", UNREADABLE),
        ("redis://:c2Vj[cmV0@h:6379/0", UNREADABLE),
        ("postgresql://u:c2Vj/cmV0@first,second/db", UNREADABLE),
        ("redis://:1:70000@h:65535/0", ""),
        ("rediss://me:p@[::1]:6379", ""),
        ("rediss://me:p@[::0]", ""),
        ("postgresql://me:p@a:1,b/db", ""),
        ("unix:///run/redis.sock", ""),
        ("localhost:0", ""),
    ],
)
def test_a_port_that_is_none_is_not_blamed_on_the_password(url: str, expected: str) -> None:
    assert fault(url) == expected
