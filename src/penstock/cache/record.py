"""How an entry lies in the file of the disk tier and in Redis.

created fresh_until stale_until expires   sequence   length of tags   tags   sealed value
8 bytes each                              8          2                       see `codec.seal`
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from penstock.cache.database import Row
from penstock.cache.entry import PACKED, Entry
from penstock.codec import PLAIN, VERSION, seal, unseal
from penstock.errors import UnencodableValue, UnreadableValue

_META = struct.Struct("<ddddqH")
_SIZE = _META.size
_MAX_TAGS = 0xFFFF
_PLAIN = bytes((VERSION | PLAIN,))


class Head(NamedTuple):
    """What comes before the value."""

    created: float
    fresh_until: float
    stale_until: float
    expires: float
    sequence: int
    tags: tuple[str, ...]
    size: int  # bytes of all this


def as_row(entry: Entry, *, compress_from: int | None, before: bytes = b"") -> Row:
    """The row to put for an entry; raises UnencodableValue."""
    record = as_record(entry, compress_from=compress_from, before=before)
    # Framed by line ends, so that one tag is found in the text without finding parts of others.
    text = "\n".join(("", *entry.tags, "")) if entry.tags else ""
    return entry.key, entry.created, entry.expires, text, record


def as_record(entry: Entry, *, compress_from: int | None, before: bytes = b"") -> bytes:
    """The bytes of an entry, after those `before` it; raises UnencodableValue."""
    body, plain = entry.pack()
    tags = "\n".join(entry.tags).encode("utf-8", "replace")
    if len(tags) > _MAX_TAGS or any("\n" in tag for tag in entry.tags):
        raise UnencodableValue("tags with line ends, or of more than 64 kB, cannot be stored")
    meta = _META.pack(
        entry.created,
        entry.fresh_until,
        entry.stale_until,
        entry.expires,
        entry.sequence,
        len(tags),
    )
    sealed = seal(body, plain=plain, compress_from=compress_from)
    return b"".join((before, meta, tags, sealed))


def head_of(record: bytes, at: int = 0) -> Head:
    """What a record says before its value, of which the rest may be missing.

    Raises UnreadableValue.
    """
    try:
        created, fresh, stale, expires, sequence, tagged = _META.unpack_from(record, at)
        end = at + _SIZE + tagged
        if len(record) < end:
            raise UnreadableValue(f"a stored record ends within its {tagged} bytes of tags")
        tags = tuple(record[end - tagged : end].decode().split("\n")) if tagged else ()
    except (struct.error, UnicodeDecodeError) as error:
        raise UnreadableValue(f"a stored record of {len(record)} bytes is damaged") from error
    return Head(created, fresh, stale, expires, sequence, tags, end - at)


def as_entry(key: str, record: bytes, at: int = 0) -> Entry:
    """The entry of the record that begins `at`; of bytes, until somebody knows their type.

    Raises UnreadableValue.
    """
    tags: tuple[str, ...] = ()
    start = at + _SIZE
    try:
        created, fresh_until, stale_until, expires, sequence, tagged = _META.unpack_from(record, at)
        if tagged:
            tags = tuple(record[start : start + tagged].decode().split("\n"))
            start += tagged
    except (struct.error, UnicodeDecodeError) as error:
        raise UnreadableValue(f"a stored record of {len(record)} bytes is damaged") from error
    if record[start : start + 1] == _PLAIN:  # most are, and a call less is a tenth of this
        body, plain = record[start + 1 :], True
    else:
        body, plain = unseal(record, start)
    return Entry(
        key,
        body,
        None,
        PACKED,
        len(body),
        created,
        fresh_until,
        stale_until,
        expires,
        sequence,
        tags,
        plain,
        stored=True,
    )
