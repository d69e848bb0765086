"""What one process knows of the shared log and the shared clock; nothing here does I/O.

The clock is Redis': each bump gets the next number there, in milliseconds, and a place in the log,
which everybody applies in its order. Here a moment is one number:

    the newest bump heard, shifted << 20  |  bumps made here that Redis has not confirmed

`sequence` therefore never leads what was heard: a computation that began before a bump was heard
carries a smaller number than that bump, on whatever machine either of them happened. A bump made
here counts here at once: until it comes back in the log its generation is above everything heard,
and moves up with it, since Redis will put it behind all that.

Order of writing: generations, then the clock, then the head. Readers look at the head first and
need no lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from penstock.hub.hub import Message

SHIFT: Final = 20
MAX_BODY: Final = 8 << 10
KEPT_MESSAGES: Final = 8192
KEPT_BYTES: Final = 4 << 20
MAX_OUTBOX: Final = 10_000  # messages waiting for Redis
MAX_OUTBOX_BYTES: Final = 8 << 20
MAX_PENDING: Final = 2000  # names bumped and not confirmed; more become one bump of everything
NAMES: Final = 16_384  # generations that Redis keeps, and twice as many here

EVERYTHING: Final = "\0"  # the name of the floor among pending bumps


class Item(NamedTuple):
    """One thing to tell: a bump, a bump of everything, a message, or that messages were lost."""

    number: int
    kind: str  # b, f, m, g
    name: str
    body: bytes


class Told(NamedTuple):
    """One entry of the shared log."""

    position: int
    kind: str  # as above, and: t forgotten names, e another life
    clock: int
    origin: str = ""
    number: int = 0
    name: str = ""
    body: bytes = b""


class Place(NamedTuple):
    """Where the shared log and clock were when this process connected."""

    epoch: str
    clock: int
    floor: int
    position: int
    oldest: int  # entry that is still in the log
    sent: int  # the last item of ours that arrived


class Ledger:
    """The log, the clock and what waits to be told. Safe for threads.

    `base` is where an unconnected clock starts: after all that an earlier process without a
    connection handed out, before all that Redis ever will (microseconds since 1970).
    """

    def __init__(self, origin: str, *, base: int) -> None:
        self.heads: list[int] = [0]
        self.epoch = ""
        self.run = ""  # the server process that was last heard
        self.clock = 0
        self.position = 0
        self.told = 0  # the end of the log as Redis last told it, heard or not
        self.lost = 0
        self._origin = origin
        self._lock = threading.Lock()
        self._heard = self._sequence = self._floor = base
        self._generations: dict[str, int] = {}
        self._pending: dict[str, int] = {}  # name -> number of its newest bump, oldest first
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._number = 0
        self._outbox: deque[Item] = deque()
        self._outbox_bytes = 0
        self._flying = 0  # items up to this one may be on their way
        self._gap = False  # something was lost that others must be told of

    # --- what requests ask ---------------------------------------------------------------------

    def sequence(self) -> int:
        return self._sequence

    def heard(self) -> int:
        return self._heard

    def generation(self, name: str) -> int:
        generation = self._generations.get(name, 0)
        floor = self._floor
        return generation if generation > floor else floor

    def since(self, position: int) -> tuple[int, list[Message]] | None:
        with self._lock:
            head = self.heads[0]
            missed = head - position
            if missed < 0 or missed > len(self._messages):
                return None
            return head, list(islice(self._messages, len(self._messages) - missed, None))

    def publish(self, topic: str, body: bytes) -> None:
        """Tell everybody; what finds no room is lost, and others will hear that it is."""
        if len(body) > MAX_BODY:
            raise ValueError(f"a hub message has at most {MAX_BODY} bytes, this one {len(body)}")
        with self._lock:
            size = len(topic) + len(body)
            if (
                len(self._outbox) >= MAX_OUTBOX + MAX_PENDING
                or self._outbox_bytes + size > MAX_OUTBOX_BYTES
            ):
                self.lost += 1
                self._gap = True
            else:
                self._queue("m", topic, body)
            self._show(Message(topic, body))

    def bump(self, name: str) -> int:
        """Make everything of that name from before invalid: here now, elsewhere when told."""
        with self._lock:
            if name not in self._pending and len(self._pending) >= MAX_PENDING:
                self._bump_everything()
            number = self._pending.pop(name, 0)
            if number <= self._flying:  # one that waits will be told after this one just as well
                number = self._queue("b", name, b"")
            self._pending[name] = number
            value = self._generations[name] = self._sequence + 1
            self._sequence = value
            self._show(Message("generation", name.encode("utf-8", "surrogatepass")[:MAX_BODY]))
            return value

    @property
    def furthest(self) -> int:
        """The shared clock at the latest moment handed out here; 0 before the first connection."""
        return self._sequence >> SHIFT if self.epoch else 0

    @property
    def is_overrun(self) -> bool:
        """Whether so much was bumped unheard that its numbers reach into the shared clock's.

        Then what others bumped meanwhile may carry a smaller number: nothing from before can be
        trusted, on any machine, and whoever joins has to say so.
        """
        return self.furthest > self.clock

    @property
    def reached(self) -> int:
        """An entry that is certainly in the log: if it is not, Redis went back."""
        return max(self.position, self.told)

    @property
    def waiting(self) -> int:
        """How many things are not told yet."""
        return len(self._outbox)

    # --- telling -------------------------------------------------------------------------------

    def parcel(self, most: int) -> list[Item]:
        """What is to be told next; stays until `delivered`."""
        with self._lock:
            if self._gap:
                self._gap = False
                self._number += 1
                self._outbox.append(Item(self._number, "g", "", b""))
            parcel = list(islice(self._outbox, most))
            if parcel:
                self._flying = max(self._flying, parcel[-1].number)
            return parcel

    def delivered(self, number: int, position: int = 0) -> None:
        """Redis has all items up to this number, and its log reaches to `position`."""
        with self._lock:
            self._deliver(number)
            self.told = max(self.told, position)

    # --- hearing -------------------------------------------------------------------------------

    def apply(self, entries: Sequence[Told]) -> bool:
        """Take in what comes next in the log; False when something is missing: join again."""
        with self._lock:
            whole = not self.is_overrun
            if not whole:
                entries = ()
            clock, floor, cut = self.clock, 0, False
            shown: list[Message] = []
            for entry in entries:
                if entry.position != self.position + 1 or entry.kind == "e":
                    whole = False
                    break
                self.position = entry.position
                mine = entry.origin == self._origin
                match entry.kind:
                    case "m":
                        if not mine:
                            shown.append(Message(entry.name, entry.body))
                        continue
                    case "g":
                        cut = cut or not mine
                        continue
                    case "b":
                        self._generations[entry.name] = entry.clock << SHIFT
                        body = entry.name.encode("utf-8", "surrogatepass")[:MAX_BODY]
                        shown.append(Message("generation", body))
                    case "f":
                        floor = max(floor, entry.clock)
                        shown.append(Message("generation", b""))
                    case "t":
                        floor = max(floor, entry.number)
                        shown.append(Message("generation", b""))
                clock = max(clock, entry.clock)
                if mine:
                    self._confirm(entry)
            if clock != self.clock:
                self._move(clock, floor << SHIFT)
            if cut:
                self._cut()
            self._show(*shown)
            return whole

    def is_continued_by(self, place: Place, run: str) -> bool:
        """Whether all that happened since is still in the log."""
        return (
            place.epoch == self.epoch
            and run == self.run
            and self.position <= place.position
            and place.oldest <= self.position + 1
            and not self.is_overrun
        )

    def join(self, place: Place, run: str, generations: Iterable[tuple[str, int]]) -> None:
        """Begin to hear; `generations` are all there are, unless the log continues.

        What was told and did not survive is told again.
        """
        with self._lock:
            continued = self.is_continued_by(place, run)
            self._deliver(place.sent)
            for name, number in list(self._pending.items()):
                if number > place.sent:
                    self._requeue(name, number)
                elif not continued:
                    del self._pending[name]  # it is among the generations
            self.run, self.told = run, place.position
            if continued:
                return
            self.epoch, self.position = place.epoch, place.position
            known = {name: clock << SHIFT for name, clock in generations}
            for name in self._pending:
                known.setdefault(name, 0)
            self._floor = max(self._floor, place.floor << SHIFT)
            self._generations = known
            self._move(place.clock, place.floor << SHIFT)
            self._cut()

    def renew_lock(self) -> None:
        """In a child process: nobody is left who would release the old one."""
        self._lock = threading.Lock()

    # --- under the lock ------------------------------------------------------------------------

    def _confirm(self, entry: Told) -> None:
        """A bump of ours came back; one that was made since still waits."""
        name = EVERYTHING if entry.kind == "f" else entry.name
        if self._pending.get(name) == entry.number:
            del self._pending[name]

    def _queue(self, kind: str, name: str, body: bytes) -> int:
        self._number += 1
        self._outbox.append(Item(self._number, kind, name, body))
        self._outbox_bytes += len(name) + len(body)
        return self._number

    def _requeue(self, name: str, number: int) -> None:
        if any(item.number == number for item in self._outbox):
            return
        kind = "f" if name == EVERYTHING else "b"
        self._pending[name] = self._queue(kind, "" if kind == "f" else name, b"")

    def _deliver(self, number: int) -> None:
        while self._outbox and self._outbox[0].number <= number:
            item = self._outbox.popleft()
            self._outbox_bytes -= len(item.name) + len(item.body)

    def _bump_everything(self) -> None:
        """Too many names wait: one bump of all there is stands for them."""
        flying = self._flying
        kept = [item for item in self._outbox if item.number <= flying or item.kind not in "bf"]
        self._outbox = deque(kept)
        self._outbox_bytes = sum(len(item.name) + len(item.body) for item in kept)
        self._pending.clear()
        self._pending[EVERYTHING] = self._queue("f", "", b"")
        self._floor = self._sequence + 1
        self._sequence = self._floor

    def _move(self, clock: int, floor: int) -> None:
        """Set the clock to what was heard, and what waits to be confirmed above it."""
        self.clock = clock
        generations = self._generations
        heard = clock << SHIFT
        at = max(heard, self._sequence)  # which never goes back: what was handed out is out
        for name in self._pending:
            at += 1
            if name == EVERYTHING:
                floor = at
            else:
                generations[name] = at
        self._floor = max(floor, self._floor)
        if len(generations) > 2 * NAMES:
            self._generations = {n: g for n, g in generations.items() if g > self._floor}
        self._heard = heard
        self._sequence = at

    def _cut(self) -> None:
        """Let everybody forget: what came before this position cannot be told."""
        self._messages.clear()
        self._bytes = 0
        self.heads[0] += 1

    def _show(self, *messages: Message) -> None:
        for message in messages:
            self._messages.append(message)
            self._bytes += len(message.body) + len(message.topic)
        while len(self._messages) > KEPT_MESSAGES or self._bytes > KEPT_BYTES:
            old = self._messages.popleft()
            self._bytes -= len(old.body) + len(old.topic)
        self.heads[0] += len(messages)
