"""What the scripts are told, and what Redis answers, as this package's own types."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from penstock.hub.redis.ledger import NAMES, Item, Ledger, Place, Told
from penstock.hub.redis.scripts import MARGIN

LOG_LENGTH: Final = 4096  # entries that Redis keeps
KEEP: Final = 3600  # seconds that Redis remembers what a sender has told


def keys(prefix: str, origin: str) -> list[str]:
    """The keys of `scripts.JOIN` and `scripts.SEND`; the third is the log, the second a sorted set
    of generations.
    """
    return [f"{prefix}{name}" for name in ("meta", "generations", "log", f"sent:{origin}")]


def join_terms(ledger: Ledger, *, run: str, wall: float, distrust: bool) -> tuple[str | int, ...]:
    """What `scripts.JOIN` is told; `run` is the server process, `wall` this machine's time."""
    known = (ledger.epoch, ledger.run, ledger.furthest)
    here = (run, secrets.token_hex(8), int(wall * 1000), int(distrust))
    return (*known, *here, MARGIN, LOG_LENGTH, KEEP, ledger.reached)


def read_place(reply: Sequence[Any]) -> Place:
    """The answer of `scripts.JOIN`."""
    return Place(reply[0].decode(), *map(int, reply[1:]))


def send_terms(ledger: Ledger, origin: str, parcel: Sequence[Item]) -> list[str | int | bytes]:
    """What `scripts.SEND` is told."""
    terms: list[str | int | bytes] = [ledger.epoch, origin, LOG_LENGTH, NAMES, KEEP]
    for item in parcel:
        name = item.name.encode("utf-8", "surrogatepass")
        terms += (item.number, item.kind, name, item.body)
    return terms


def read_entry(id: bytes, fields: dict[bytes, bytes]) -> Told:
    """One entry of the log."""
    get = fields.get
    return Told(
        position=int(id.partition(b"-")[0]),
        kind=fields[b"k"].decode(),
        clock=int(fields[b"c"]),
        origin=get(b"o", b"").decode(),
        number=int(get(b"n", b"0")),
        name=read_name(get(b"t", b"")),
        body=get(b"b", b""),
    )


def read_name(name: bytes) -> str:
    """A topic or the name of a generation: any string, as Python has them."""
    return name.decode("utf-8", "surrogatepass")
