"""How an entry lies in the file of the disk tier.

created fresh_until stale_until expires   sequence   length of tags   tags   sealed value
8 bytes each                              8          2                       see `codec.seal`
"""

from __future__ import annotations

import struct

from penstock.cache.database import Row
from penstock.cache.entry import PACKED, Entry
from penstock.codec import seal, unseal
from penstock.errors import UnencodableValue, UnreadableValue

_META = struct.Struct("<ddddqH")
_SIZE = _META.size
_MAX_TAGS = 0xFFFF


def as_row(entry: Entry, *, compress_from: int | None) -> Row:
    """The row to put for an entry; raises UnencodableValue."""
    body, plain = entry.pack()
    tags = "\n".join(entry.tags)
    written = tags.encode("utf-8", "replace")
    if len(written) > _MAX_TAGS or any("\n" in tag for tag in entry.tags):
        raise UnencodableValue("tags with line ends, or of more than 64 kB, cannot be stored")
    record = b"".join(
        (
            _META.pack(
                entry.created,
                entry.fresh_until,
                entry.stale_until,
                entry.expires,
                entry.sequence,
                len(written),
            ),
            written,
            seal(body, plain=plain, compress_from=compress_from),
        )
    )
    # Framed by line ends, so that one tag is found in the text without finding parts of others.
    text = f"\n{tags}\n" if tags else ""
    return entry.key, entry.created, entry.expires, text, record


def as_entry(key: str, record: bytes) -> Entry:
    """The entry of a record; of bytes, until somebody who knows their type says so.

    Raises UnreadableValue.
    """
    try:
        created, fresh_until, stale_until, expires, sequence, tagged = _META.unpack_from(record)
    except struct.error as error:
        raise UnreadableValue(f"a stored record has {len(record)} bytes only") from error
    body, plain = unseal(record, _SIZE + tagged)
    tags = record[_SIZE : _SIZE + tagged].decode().split("\n") if tagged else ()
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
        tuple(tags),
        plain,
        stored=True,
    )
