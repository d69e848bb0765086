"""Where an image's bytes come from, and how many of them are in memory at once.

    data: URL ──────── room ─► decoded ──────┐
    http(s) URL ─ slot ─► fetched ─ room ────┴► bytes, until whoever asked has done with them

A slot is held while an address is asked and no longer, so that slow models keep nobody from
fetching; the bytes of what has come are counted in another place. One request is given few places,
whatever it names.
"""

from __future__ import annotations

import asyncio
import binascii
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from penstock.errors import FetchFailed, InvalidInput, TooLarge
from penstock.images import Limits
from penstock.net.dial import Dialler

PLACES: Final = 4  # images of one request at once
FETCHING: Final = 16  # remote images at once
ROOM: Final = 256 << 20  # bytes of images that are being looked at, or wait for it
FETCH_TIMEOUT: Final = 10.0  # seconds for everything about one
REDIRECTS: Final = 3
INLINE_BYTES: Final = 100_000  # more are decoded from base64 in a thread

_DATA = re.compile(
    r"data:(?P<type>[a-z0-9.+-]+/[a-z0-9.+*-]+)(?:;[a-z0-9-]+=[^;,]{0,80}){0,4};base64,",
    re.IGNORECASE,
)
_HTTP = re.compile(r"https?://", re.IGNORECASE)
_SLICE = 1 << 18  # characters decoded at once: that holds Python's lock; a multiple of four


class Room:
    """So many bytes, taken and given back; who comes first is served first."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def taken(self) -> int:
        """Bytes that somebody has."""
        return self._size - self._left

    async def take(self, size: int) -> int:
        """Wait for room for so many bytes; more than there is in all is all of it.

        Returns how many to give back.
        """
        size = min(size, self._size)
        if not self._waiting and size <= self._left:
            self._left -= size
            return size
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Its bytes may have come in the same moment; else those behind it may fit now.
            self.give(0 if turn.cancelled() else size)
            raise
        return size

    def give(self, size: int) -> None:
        """Give bytes back."""
        self._left += size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.cancelled():
                if wanted > self._left:
                    return
                self._left -= wanted
                turn.set_result(None)
            self._waiting.popleft()


class ImageSources:
    """Gets the bytes of images."""

    def __init__(self, dialler: Dialler, *, limits: Limits) -> None:
        self._dialler = dialler
        self._limits = limits
        self._fetching = asyncio.Semaphore(FETCHING)
        self._room = Room(ROOM)

    @property
    def taken(self) -> int:
        """Bytes that are in memory now."""
        return self._room.taken

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[tuple[str | None, bytes]]:
        """The media type that the sender claims, if any, and the bytes behind a URL.

        Raises InvalidInput, TooLarge, BlockedAddress or FetchFailed.
        """
        declared, data, start = None, b"", 0
        if _HTTP.match(url):
            async with self._fetching:
                data = await self._fetch(url)
                taken = await self._room.take(len(data))  # what has come waits for it in its slot
        else:
            declared, start, size = self._embedded(url)
            taken = await self._room.take(size)
        try:
            if start and taken <= INLINE_BYTES:
                data = unpacked(url, start)
            elif start:
                data = await asyncio.to_thread(unpacked, url, start)
            yield declared, data
        finally:
            self._room.give(taken)

    async def _fetch(self, url: str) -> bytes:
        fetched = await self._dialler.fetch(
            url,
            headers={"accept": "image/*"},
            max_bytes=self._limits.bytes,
            timeout=FETCH_TIMEOUT,
            redirects=REDIRECTS,
        )
        if fetched.status >= 500:
            raise FetchFailed(f"the image's address answered {fetched.status}")
        if fetched.status != 200:
            raise InvalidInput(f"the image's address answered {fetched.status}")
        # Its Content-Type is not compared: what a server calls an image is not its sender's doing.
        return fetched.body

    def _embedded(self, url: str) -> tuple[str, int, int]:
        """The media type of a data URL, where its bytes begin and how many they will be."""
        head = _DATA.match(url)
        if head is None:
            raise InvalidInput(
                "an image is an http(s) address, or its bytes as data:image/png;base64,..."
            )
        declared = head["type"].lower()
        if not declared.startswith("image/"):
            raise InvalidInput(f"declared as {declared[:60]!r}, which is no type of image")
        size = (len(url) - head.end()) * 3 // 4
        if size > self._limits.bytes + 2:
            most = self._limits.bytes
            raise TooLarge(f"the image has about {size} bytes; at most {most} are read")
        return declared, head.end(), size


def unpacked(url: str, start: int) -> bytes:
    """The bytes of a data URL's base64: its alphabet and its padding, and nothing else."""
    parts = []
    try:
        for at in range(start, len(url), _SLICE):
            part = url[at : at + _SLICE]
            if part[-1] == "=" and at + _SLICE < len(url):
                raise binascii.Error("padding before the end")
            parts.append(binascii.a2b_base64(part.encode("ascii"), strict_mode=True))
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidInput("the data URL is not strict base64") from error
    return b"".join(parts)
