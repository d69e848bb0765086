"""The law of the shared clock, tried with the scripts in a real Redis and everything else by hand:
who hears what and when, which replies are lost, what Redis forgets and who dies."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from penstock.hub.redis import ledger as module
from penstock.hub.redis import scripts
from penstock.hub.redis.ledger import Ledger
from penstock.hub.redis.wire import join_terms, keys, read_entry, read_name, read_place, send_terms
from penstock.net.redis import connect_sync

NAMES = ["a", "b", "c"]
PREFIX = "model:"
places = st.integers(0, 2)


@dataclass(eq=False)
class Bump:
    by: str
    name: str
    at: int


@dataclass(eq=False)
class Entry:
    sequence: int
    tags: tuple[str, ...]
    began: int
    stamps: dict[str, int] = field(default_factory=dict)  # by node: when it was last seen valid


@dataclass(eq=False)
class Node:
    """A process: its ledger, what it computes, and what its cache has in memory."""

    origin: str
    ledger: Ledger
    connected: bool = False
    own: list[Entry] = field(default_factory=list)
    running: list[Entry] = field(default_factory=list)
    heard: set[Bump] = field(default_factory=set)
    read: int = 0  # position in the log of messages
    seen: set[bytes] = field(default_factory=set)
    position: int = -1
    epoch: int = -1
    latest: int = 0

    def is_valid(self, entry: Entry) -> bool:
        """As the cache does it, with its shortcuts."""
        ledger = self.ledger
        if ledger.heads[0] != self.position:
            head = ledger.heads[0]
            self.epoch = ledger.sequence()
            self.position = head
        if entry.stamps.get(self.origin) == self.epoch:
            return True
        current = entry.sequence >= self.epoch or all(
            ledger.generation(tag) <= entry.sequence for tag in entry.tags
        )
        if current:
            entry.stamps[self.origin] = self.epoch
        return current


class Servers(RuleBasedStateMachine):
    def __init__(self, redis) -> None:
        super().__init__()
        redis.flushall()
        self.redis = redis
        self.now = 0
        self.run = "run-0"
        self.bumps: list[Bump] = []
        self.stored: set[Bump] = set()  # those that Redis' present data has taken in
        self.carried: dict[tuple[str, int], set[Bump]] = {}
        self.saved: tuple[dict[bytes, bytes], set[Bump]] | None = None
        self.shared: list[Entry] = []  # a store that all read
        self.published: list[tuple[str, bytes]] = []
        self.dead: set[str] = set()
        self.nodes = [self.fresh(), self.fresh(), self.fresh()]

    def fresh(self) -> Node:
        origin = secrets.token_hex(4)
        return Node(origin, Ledger(origin, base=10**6 + self.tick()))

    def tick(self) -> int:
        self.now += 1
        return self.now

    # --- what requests do ------------------------------------------------------------------------

    @rule(place=places, name=st.sampled_from(NAMES))
    def bump(self, place: int, name: str) -> None:
        node = self.nodes[place]
        made = Bump(node.origin, name, self.tick())
        self.bumps.append(made)
        node.heard.add(made)

        value = node.ledger.bump(name)

        assert value == node.ledger.generation(name) == node.ledger.sequence()

    @rule(place=places)
    def publish(self, place: int) -> None:
        node = self.nodes[place]
        body = b"%d" % self.tick()
        self.published.append((node.origin, body))
        node.ledger.publish("t", body)

    @rule(place=places, tags=st.sets(st.sampled_from(NAMES), max_size=2))
    def begin(self, place: int, tags: set[str]) -> None:
        node = self.nodes[place]
        entry = Entry(node.ledger.sequence(), tuple(sorted(tags)), self.tick())
        node.running.append(entry)

    @precondition(lambda self: any(node.running for node in self.nodes))
    @rule(place=places)
    def finish(self, place: int) -> None:
        node = self.nodes[place]
        if node.running:
            entry = node.running.pop(0)
            node.own.append(entry)
            self.shared.append(entry)

    @rule(place=places, tag=st.sampled_from(NAMES))
    def compute(self, place: int, tag: str) -> None:
        self.begin(place, {tag})
        entry = self.nodes[place].running.pop()
        self.nodes[place].own.append(entry)
        self.shared.append(entry)

    @rule(place=places)
    def bump_all(self, place: int) -> None:
        for name in NAMES:
            self.bump(place, name)

    # --- what the network does -------------------------------------------------------------------

    @rule(place=places)
    def join(self, place: int) -> None:
        node = self.nodes[place]
        ledger = node.ledger
        terms = join_terms(ledger, run=self.run, wall=0.0, distrust=ledger.is_overrun)
        named = keys(PREFIX, node.origin)
        where = read_place(self.redis.eval(scripts.JOIN, 4, *named, *terms))
        if where.epoch != ledger.epoch and self.lives != where.epoch:
            self.stored.clear()
        self.lives = where.epoch
        generations = []
        if not ledger.is_continued_by(where, self.run):
            found = self.redis.zrange(named[1], 0, -1, withscores=True)
            generations = [(read_name(name), int(score)) for name, score in found]
            node.heard |= self.stored
        ledger.join(where, self.run, generations)
        node.connected = True

    lives = ""

    @rule(place=places, lost=st.booleans())
    def send(self, place: int, lost: bool) -> None:
        """Tell what waits; the reply may be lost, and then all may be told again."""
        node = self.nodes[place]
        if not node.connected:
            return
        parcel = node.ledger.parcel(100)
        end = self.redis.eval(
            scripts.SEND,
            4,
            *keys(PREFIX, node.origin),
            *send_terms(node.ledger, node.origin, parcel),
        )
        if end < node.ledger.reached:
            node.connected = False
            return
        for item in parcel:
            meant = {
                bump
                for bump in self.bumps
                if bump.by == node.origin and item.name in (bump.name, "") and item.kind in "bf"
            }
            self.stored |= self.carried.setdefault((node.origin, item.number), meant)
        if lost:
            node.connected = False
        elif parcel:
            node.ledger.delivered(parcel[-1].number, end)

    @rule(place=places, most=st.integers(1, 5))
    def hear(self, place: int, most: int) -> None:
        node = self.nodes[place]
        if not node.connected:
            return
        log = keys(PREFIX, node.origin)[2]
        after = f"({node.ledger.position}-0"
        entries = [read_entry(*one) for one in self.redis.xrange(log, after, "+", count=most)]
        before = node.ledger.position
        node.connected = node.ledger.apply(entries)
        for entry in entries:
            if before < entry.position <= node.ledger.position:
                node.heard |= self.carried.get((entry.origin, entry.number), set())

    @rule(place=places)
    def settle(self, place: int) -> None:
        """All that waits is told, and all that was told is heard."""
        if not self.nodes[place].connected:
            self.join(place)
        self.send(place, lost=False)
        self.hear(place, 100)

    @rule(place=places)
    def listen(self, place: int) -> None:
        """Read the messages, as the parts of a process do."""
        node = self.nodes[place]
        news = node.ledger.since(node.read)
        if news is None:
            node.seen |= {body for _, body in self.published}  # forgets all: nothing is missed
            node.read = node.ledger.heads[0]
        else:
            node.read, messages = news
            told = [message.body for message in messages if message.topic == "t"]
            assert len(told) == len(set(told)), "told twice"
            node.seen |= set(told)

    @rule(place=places)
    def cut(self, place: int) -> None:
        self.nodes[place].connected = False

    # --- the law ---------------------------------------------------------------------------------

    @invariant()
    def nobody_uses_what_it_heard_to_be_invalid(self) -> None:
        for node in self.nodes:
            assert node.ledger.heard() <= node.ledger.sequence()
            assert node.ledger.sequence() >= node.latest, "went back"
            node.latest = node.ledger.sequence()
            # What the cache's shortcut rests on.
            assert all(node.ledger.generation(name) <= node.latest for name in NAMES)
            readable = [e for e in self.shared if e.sequence <= node.ledger.heard()]
            for entry in [*node.own, *readable]:
                if node.is_valid(entry):
                    wrong = [b for b in node.heard if b.name in entry.tags and b.at > entry.began]
                    assert not wrong, (entry, wrong)

    def teardown(self) -> None:
        """When all is told and heard, everybody agrees, and knows every bump."""
        for place in (0, 1, 2, 0, 1, 2, 0, 1, 2):
            self.join(place)
            self.send(place, lost=False)
        for place in (0, 1, 2):
            for _ in range(200):
                if not self.nodes[place].connected:
                    self.join(place)
                self.hear(place, 100)
            self.listen(place)
        ledgers = [node.ledger for node in self.nodes]
        assert len({ledger.sequence() for ledger in ledgers}) == 1
        assert all(ledger.sequence() == ledger.heard() for ledger in ledgers)
        assert not any(ledger.waiting for ledger in ledgers)
        for node in self.nodes:
            readable = [e for e in self.shared if e.sequence <= node.ledger.heard()]
            for entry in [*node.own, *readable]:
                if node.is_valid(entry):
                    assert not [
                        b for b in self.bumps if b.name in entry.tags and b.at > entry.began
                    ]
            new = Entry(node.ledger.sequence(), tuple(NAMES), self.tick())
            assert all(one.is_valid(new) for one in self.nodes)
            told = {body for origin, body in self.published if origin not in self.dead}
            assert told <= node.seen


class Trouble(Servers):
    """The same, and Redis and processes lose what they knew."""

    # --- what goes wrong -------------------------------------------------------------------------

    @rule()
    def redis_forgets(self) -> None:
        self.redis.flushall()
        self.stored.clear()
        self.lives = ""

    @rule()
    def redis_saves(self) -> None:
        data = {key: self.redis.dump(key) for key in self.redis.keys("*")}
        self.saved = (data, set(self.stored), self.lives)

    @rule(old=st.booleans())
    def redis_restarts(self, old: bool) -> None:
        """With all its data, or with what it had saved."""
        for node in self.nodes:
            node.connected = False
        self.run = f"run-{self.tick()}"
        if old and self.saved is not None:
            data, stored, self.lives = self.saved
            self.redis.flushall()
            for key, value in data.items():
                self.redis.restore(key, 0, value)
            self.stored = set(stored)

    @rule()
    def redis_evicts_the_generations(self) -> None:
        self.redis.delete(keys(PREFIX, "")[1])

    @rule(place=places)
    def process_dies(self, place: int) -> None:
        node = self.nodes[place]
        self.dead.add(node.origin)
        self.nodes[place] = self.fresh()
        heard = set().union(self.stored, *(one.heard for one in self.nodes))
        # What only the dead knew is gone, as when it had not been said.
        self.bumps = [bump for bump in self.bumps if bump.by not in self.dead or bump in heard]


def try_out(url: str, *, examples: int, steps: int) -> None:
    """Look for a series of events that breaks the law."""
    tried = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    client = connect_sync(url, timeout=5)
    try:
        run_state_machine_as_test(lambda: Servers(client), settings=tried)
        run_state_machine_as_test(lambda: Trouble(client), settings=tried)
    finally:
        client.close()


BOUNDS = [(20, 2000), (20, 2), (1, 2000)]
"""Bits for bumps between two moments of the clock, and names that may wait: roomy, too few names,
too few numbers."""


def bound(monkeypatch, shift: int, pending: int) -> None:
    """Make room scarce."""
    monkeypatch.setattr(module, "SHIFT", shift)
    monkeypatch.setattr(module, "MAX_PENDING", pending)
    monkeypatch.setattr(module, "KEPT_MESSAGES", 6)
