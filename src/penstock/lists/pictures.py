"""What an image is listed as: its digest, and the hashes by which others like it are found."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final

import msgspec

from penstock.errors import InvalidInput
from penstock.lists.entries import EntryKind

_DATA_URL: Final = re.compile(r"data:(image/[\w.+-]{1,60})(?:;[\w=.+-]{1,60})*;base64,", re.I)


class Looks(msgspec.Struct, frozen=True):
    """An image as lists know it; the first of each is the image as it is shown."""

    sha256: str
    pdq: tuple[bytes, ...]  # with those of its flips and turns; none of what is too plain
    phash: tuple[bytes, ...]
    quality: int  # 0..100: how much there is to see

    @property
    def entry(self) -> tuple[EntryKind, str]:
        """The entry that finds it: by its looks, or exactly where it has too few."""
        if self.pdq:
            return "pdq", self.pdq[0].hex()
        if self.phash:
            return "phash", self.phash[0].hex()
        return "sha256", self.sha256


def looks_of(data: bytes, *, declared: str | None = None, pointer: str = "") -> Looks:
    """How an image looks. For a thread. Raises InvalidInput, TooLarge for what is none."""
    from penstock.images import hashes, open_image

    seen = hashes(open_image(data, declared=declared, pointer=pointer))
    return Looks(hashlib.sha256(data).hexdigest(), seen.pdq, seen.phash, seen.quality)


def looks_of_url(url: str, *, pointer: str) -> Looks:
    """How the image in a data URL looks. For a thread. Raises InvalidInput, TooLarge."""
    head = _DATA_URL.match(url)
    try:
        data = base64.b64decode(url[head.end() :], validate=True) if head else None
    except binascii.Error:
        data = None
    if head is None or data is None:
        detail = "must be the bytes of an image as data:image/png;base64,..."
        raise InvalidInput(detail, errors=[{"pointer": pointer, "detail": detail}])
    return looks_of(data, declared=head[1].lower(), pointer=pointer)
