"""A hub for the processes of one machine: one small memory-mapped file in the data folder.

    header | rate buckets | generations | ring of messages

Readers look at the mapped header without a system call; writers hold a thread lock and the file's
lock, which the kernel releases when a process dies. A message becomes visible when the head moves,
which is the last thing written, so a process killed in between leaves nothing half said. The file
is a shared memory, not a record: losing it loses no answer, it only makes older cache entries
invalid (see `floor`).
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from penstock.errors import StorageFull
from penstock.hub.hub import KEPT, Grant, HubStatus, Lease, Message
from penstock.hub.places import LocalLease, Places

FILE_NAME = "hub-1.bin"  # the number is the layout's version
MAX_BODY = 8 << 10

HEAD, SEQUENCE, FLOOR, NAMES, SALT = range(5)  # 8-byte words of the header
WORDS = 8
BUCKETS = 4096
GENERATIONS = 8192
RING = 256 << 10

_PROBES = 8
_SLOT = 2  # words of a slot: digest, value
_BUCKETS_AT = WORDS
_GENERATIONS_AT = _BUCKETS_AT + BUCKETS * _SLOT
_RING_AT = (_GENERATIONS_AT + GENERATIONS * _SLOT) * 8
_SIZE = _RING_AT + RING
_MESSAGE = struct.Struct("<IB")  # length of topic and body, length of topic


class LocalHub:
    """Shared by every process that opens the same `folder`; private to this object without one.

    Leases, slots and counters are this process's own: processes of one machine need no single
    flight between them, and what they count is in the database.
    """

    heads: Sequence[int]
    is_current = True
    spans_machines = False

    def __init__(self, folder: Path | None = None) -> None:
        self._fd = _open(folder / FILE_NAME) if folder is not None else None
        self._map = mmap.mmap(-1 if self._fd is None else self._fd, _SIZE)
        self._words = memoryview(self._map)[:_RING_AT].cast("Q")
        self._reals = memoryview(self._map)[:_RING_AT].cast("d")
        self._ring = memoryview(self._map)[_RING_AT:]
        self.heads = self._words
        self._lock = _Lock(self._fd)
        self._known: dict[str, int] = {}
        self._known_at = 0
        self._places = Places()
        self._counters: dict[str, Counter[str]] = {}
        with self._lock:
            if self._words[SEQUENCE] == 0:
                # From the wall clock, so that a hub made anew is ahead of whatever an older one had
                # handed out.
                self._words[SEQUENCE] = time.time_ns() // 1000
                # What a lost file knew of invalidations is gone: entries from before it are not
                # trusted.
                self._words[FLOOR] = self._words[SEQUENCE] if folder is not None else 0
                # So that nobody outside can choose names that share a slot.
                self._words[SALT] = int.from_bytes(os.urandom(8), "little")
            self._salt = self._words[SALT].to_bytes(8, "little")

    def publish(self, topic: str, body: bytes) -> None:
        name = topic.encode()
        if len(body) > MAX_BODY:
            raise ValueError(f"a hub message has at most {MAX_BODY} bytes, this one {len(body)}")
        with self._lock:
            position = self._words[HEAD]
            self._write(position, _MESSAGE.pack(len(name) + len(body), len(name)) + name + body)
            self._words[HEAD] = position + _MESSAGE.size + len(name) + len(body)

    async def settled(self) -> None:
        """See Hub; what was told is in the file already."""

    def since(self, position: int) -> tuple[int, list[Message]] | None:
        with self._lock:
            head = self._words[HEAD]
            if position > head or head - position > RING:
                return None
            messages = []
            while position < head:
                length, name = _MESSAGE.unpack(self._read(position, _MESSAGE.size))
                text = self._read(position + _MESSAGE.size, length)
                messages.append(Message(text[:name].decode(), text[name:]))
                position += _MESSAGE.size + length
            return head, messages

    def sequence(self) -> int:
        return self._words[SEQUENCE]

    def heard(self) -> int:
        return self._words[SEQUENCE]

    def bump(self, name: str) -> int:
        with self._lock:
            sequence = self._words[SEQUENCE] + 1
            self._words[SEQUENCE] = sequence
            at = self._find_generation(self._digest(name))
            if self._words[at] == 0:
                self._words[NAMES] += 1
            self._words[at + 1] = sequence
            self._words[at] = self._digest(name)
            self.publish("generation", name.encode("utf-8", "surrogatepass")[:MAX_BODY])
            return sequence

    def generation(self, name: str) -> int:
        if self._known_at != self._words[HEAD]:
            self._known_at = self._words[HEAD]
            self._known = {}
        names = self._known  # held, so that what is read now never lands in a later dict
        known = names.get(name)
        if known is None:
            with self._lock:
                at = self._find_generation(self._digest(name))
                bumped = self._words[at + 1] if self._words[at] else 0
                known = max(bumped, self._words[FLOOR])
            if len(names) < GENERATIONS:
                names[name] = known
        return known

    def take(self, name: str, *, limit: int, window: float, at: float) -> Grant:
        """See Hub.

        The generic cell rate algorithm (ITU-T I.371): one number per name, exact over all
        processes.
        """
        interval = window / limit
        with self._lock:
            slot = self._find_bucket(self._digest(name), at)
            full_at = self._reals[slot + 1]
            if not at <= full_at <= at + window:  # never used, idle since, or from before a reboot
                full_at = at
            ahead = full_at + interval - at
            allowed = ahead <= window + interval * 1e-9
            if allowed:
                self._reals[slot + 1] = full_at + interval
            else:
                ahead -= interval
            remaining = max(0, int((window - ahead) / interval + 1e-9))
            retry = 0.0 if allowed else ahead + interval - window
            return Grant(allowed, remaining, retry, ahead)

    def take_at_once(self, name: str, *, limit: int, window: float, at: float) -> Grant:
        return self.take(name, limit=limit, window=window, at=at)

    async def acquire(self, name: str, *, seconds: float) -> LocalLease:
        """See Hub; granted to everybody who asks."""
        return LocalLease(name)

    async def acquire_many(
        self, names: Sequence[str], *, seconds: float
    ) -> dict[str, Lease | None]:
        return {name: LocalLease(name) for name in names}

    async def wait_released(self, name: str, *, seconds: float) -> bool:
        """See Hub; nobody is ever waited for."""
        return True

    async def slot(
        self, name: str, *, limit: int, seconds: float, wait: float = 0.0
    ) -> LocalLease | None:
        return await self._places.take(name, limit=limit, wait=wait)

    async def add(
        self, counters: Mapping[str, Mapping[str, int]], *, once: str = "", kept: float = KEPT
    ) -> int:
        """See Hub; nothing is lost on the way, so nothing has to be told twice."""
        for name, fields in counters.items():
            self._counters.setdefault(name, Counter()).update(fields)
        return 0

    async def read(self, name: str) -> dict[str, int]:
        return dict(self._counters.get(name, {}))

    async def status(self) -> HubStatus:
        return HubStatus(kind="local", memory_bytes=_SIZE)

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        if self._map.closed:
            return
        with self._lock:
            self.heads = (self._words[HEAD], self._words[SEQUENCE])
            for view in (self._words, self._reals, self._ring):
                view.release()
            self._map.close()
        if self._fd is not None:
            os.close(self._fd)

    def _digest(self, name: str) -> int:
        """A number that names a slot; never 0, which marks a free one."""
        text = name.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=8, key=self._salt).digest()
        return int.from_bytes(digest, "little") or 1

    def _find_bucket(self, digest: int, at: float) -> int:
        """The slot of `digest`.

        Without one, the neighbour that has been idle longest becomes it.
        """
        words, reals = self._words, self._reals
        idlest, idlest_at = 0, float("inf")
        for probe in range(_PROBES):
            slot = _BUCKETS_AT + (digest + probe) % BUCKETS * _SLOT
            if words[slot] == digest:
                return slot
            if reals[slot + 1] < idlest_at:
                idlest, idlest_at = slot, reals[slot + 1]
        words[idlest] = digest
        reals[idlest + 1] = at
        return idlest

    def _find_generation(self, digest: int) -> int:
        """The slot of `digest`, or the free one where it belongs."""
        words = self._words
        if words[NAMES] > GENERATIONS * 3 // 4:
            self._forget_oldest_generations()
        for probe in range(GENERATIONS):
            slot = _GENERATIONS_AT + (digest + probe) % GENERATIONS * _SLOT
            if words[slot] in (digest, 0):
                return slot
        raise AssertionError("the table is never full")

    def _forget_oldest_generations(self) -> None:
        """Keep the newer half.

        Entries older than what was forgotten become invalid, which is always safe.
        """
        words = self._words
        slots = range(_GENERATIONS_AT, _GENERATIONS_AT + GENERATIONS * _SLOT, _SLOT)
        known = sorted((words[slot + 1], words[slot]) for slot in slots if words[slot])
        half = len(known) // 2
        words[FLOOR] = max(words[FLOOR], known[half - 1][0])
        for slot in slots:
            words[slot] = words[slot + 1] = 0
        words[NAMES] = 0
        for sequence, digest in known[half:]:
            at = self._find_generation(digest)
            words[at], words[at + 1] = digest, sequence
            words[NAMES] += 1

    def _write(self, position: int, data: bytes) -> None:
        at = position % RING
        first = min(len(data), RING - at)
        self._ring[at : at + first] = data[:first]
        self._ring[: len(data) - first] = data[first:]

    def _read(self, position: int, length: int) -> bytes:
        at = position % RING
        first = min(length, RING - at)
        return bytes(self._ring[at : at + first]) + bytes(self._ring[: length - first])


class _Lock:
    """Keeps out the other threads of this process and, with a file, the other processes."""

    __slots__ = ("_depth", "_fd", "_threads")

    def __init__(self, fd: int | None) -> None:
        self._threads = threading.RLock()
        self._fd = fd
        self._depth = 0

    def __enter__(self) -> None:
        self._threads.acquire()
        self._depth += 1
        if self._fd is not None and self._depth == 1:
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._fd is not None and self._depth == 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._threads.release()


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        _reserve(fd)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError as error:
        os.close(fd)
        raise StorageFull(
            f"{path} needs {_SIZE >> 10} kB and cannot have them ({error.strerror}); "
            "free space on its volume"
        ) from error
    return fd


def _reserve(fd: int) -> None:
    """Give every page its place on the disk: touching one that has none would be a SIGBUS."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, _SIZE)
    else:  # macOS
        size = os.fstat(fd).st_size
        os.pwrite(fd, bytes(max(0, _SIZE - size)), size)
