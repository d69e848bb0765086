"""Where broker and results are: `celery+redis://:password@host:6379/1?backend=redis://host:6379/2`.

`celery+rediss://` speaks TLS, with the options that `net/redis_tls.py` reads. Others: `prefix`
of our own keys; `lease`, after how many seconds without a word from its process a job is taken for
lost; `visibility`, after how many kombu delivers again a message of Celery's own making that nobody
has acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from penstock.errors import ConfigurationError
from penstock.net.redis import at_database, check_scheme, shown

SCHEMES: Final = ("celery+redis", "celery+rediss")
PREFIX: Final = "penstock"
LEASE: Final = 15.0
VISIBILITY: Final = 3600.0

_OURS: Final = ("backend", "prefix", "lease", "visibility")


class Address(NamedTuple):
    """Where an engine's parts are."""

    broker: str
    backend: str
    prefix: str = PREFIX
    lease: float = LEASE
    visibility: float = VISIBILITY

    @property
    def shown(self) -> str:
        """The broker, without its password."""
        return shown(self.broker)


def parse(url: str) -> Address:
    """Read such an address. Raises ConfigurationError."""
    check_scheme(url)
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ConfigurationError(
            f"{shown(url)!r} is no address of a Celery engine; write "
            "celery+redis://host:6379/1?backend=redis://host:6379/2"
        )
    given = dict(parse_qsl(parts.query))
    rest = {name: value for name, value in given.items() if name not in _OURS}
    broker = urlunsplit(
        parts._replace(
            scheme=parts.scheme.removeprefix("celery+"),
            path=parts.path.rstrip("/") or "/1",
            query=urlencode(rest),
        )
    )
    return Address(
        broker,
        given.get("backend") or at_database(broker, 2),
        given.get("prefix") or PREFIX,
        _seconds("lease", given, LEASE),
        _seconds("visibility", given, VISIBILITY),
    )


def _seconds(name: str, given: Mapping[str, str], usual: float) -> float:
    text = given.get(name)
    try:
        number = usual if text is None else float(text)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise ConfigurationError(f"{name}={text} is no time; write seconds, as in {name}={usual:g}")
    return number
