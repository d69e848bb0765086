"""Finds the case that an item belongs to: a live one of its owner with alike content, or a new one.

What somebody works on takes only more of what it holds already: who decides has seen it all.

Looking and writing are two steps, and others write too. So a write says up to where was looked, and
fails where something that is to be looked at came up since; then it is looked again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from penstock.db.database import Call
from penstock.errors import StorageUnavailable
from penstock.services.review.schemas import Case, Content, Item, Kind
from penstock.services.review.similar import alike, bands, probes, signature
from penstock.services.review.store import MOST_CONTENTS, MOST_ITEMS, Looked, ReviewStore

ATTEMPTS: Final = 5  # after which an item gets a case of its own whatever came up
SIGNED_INLINE: Final = 2_000  # characters; longer texts are signed in a thread
LONGEST_REASON: Final = 500  # characters
LONGEST_SPAN: Final = 10 * 365 * 86_400.0  # seconds

Then = Callable[[str], Sequence[Call]]
"""What belongs to the same transaction, by the id of the case."""


class Placed(NamedTuple):
    """Where an item is now."""

    case_id: str
    opened: bool  # for it
    new: bool  # False: it was there already


class Around(NamedTuple):
    """What there is that an item could belong to."""

    target: Case | None  # to be joined
    decided: Case | None  # people have decided on something that is alike


async def sign(text: str | None, images: Sequence[bytes] = ()) -> bytes | None:
    """The signature of an item, without holding up the loop."""
    if text and len(text) > SIGNED_INLINE:
        return await asyncio.to_thread(signature, text, images)
    return signature(text, images)


def new_case(
    item: Item,
    *,
    kind: Kind,
    content: Content,
    reason: str,
    sla: float,
    signed: bytes | None,
) -> Case:
    """The case of an item that is alone; `sla` in seconds."""
    return Case(
        id=f"case_{secrets.token_hex(8)}",
        state="open",
        kind=kind,
        decision=None,
        owner=item.owner,
        assignee=None,
        risk=content.risk,
        category=content.category,
        reason=reason[:LONGEST_REASON],
        signature=signed,
        similar_to=None,
        items=1,
        contents=1,
        created_at=item.created_at,
        due_at=item.created_at + _milliseconds(sla),
        claimed_at=None,
        decided_at=None,
        decided_by=None,
        settled_at=None,
    )


def content_of(
    item: Item, *, risk: float, category: str | None, words: str | None, keep: float
) -> Content:
    """What an item says; the words are kept for `keep` seconds."""
    kept = words if keep > 0 else None
    return Content(
        content_hash=item.content_hash,
        verdict_id=item.verdict_id,
        items=1,
        risk=risk,
        category=category,
        content=kept,
        content_until=None if kept is None else item.created_at + _milliseconds(keep),
    )


async def place(
    store: ReviewStore, case: Case, item: Item, content: Content, *, then: Then = lambda _: ()
) -> Placed:
    """Put an item into the case that it belongs to; `case` is the one it would open.

    An item that waits for people already stays where it is. Raises StorageError.
    """
    owner, signed = item.owner, case.signature
    looked_under = probes(signed, owner=owner) if signed else []
    for attempt in range(ATTEMPTS + 1):
        known = await _known(store, item)
        if known is not None:
            return Placed(known.id, opened=False, new=False)
        mark = await store.mark(case, item)  # before looking: what comes up meanwhile is later
        around = await _around(store, case, item, looked_under)
        if around.target is not None and attempt < ATTEMPTS:
            into = around.target.id
            if await store.join(case, item, content, into=into, then=then(into)):
                return Placed(into, opened=False, new=True)
            continue
        opened = await store.open(
            msgspec.structs.replace(case, similar_to=around.decided.id if around.decided else None),
            item,
            content,
            looked=Looked(looked_under, None if attempt == ATTEMPTS else mark),
            bands=bands(signed, owner=owner) if signed else (),
            then=then(case.id),
        )
        if opened:
            return Placed(case.id, opened=True, new=True)
    known = await _known(store, item)  # someone else was quicker with the same verdict
    if known is None:
        raise StorageUnavailable(f"no case took {item.verdict_id}; repeat the request")
    return Placed(known.id, opened=False, new=False)


def _milliseconds(seconds: float) -> int:
    return int(min(seconds, LONGEST_SPAN) * 1000)


async def _known(store: ReviewStore, item: Item) -> Case | None:
    """The live case that holds the verdict; for an appeal, for whatever key."""
    key_id = None if item.appealed_at is not None else item.key_id
    return await store.finding.live(item.verdict_id, key_id=key_id)


async def _around(
    store: ReviewStore, case: Case, item: Item, looked_under: Sequence[int]
) -> Around:
    signed = case.signature
    same = await store.finding.same(item.content_hash, owner=item.owner)
    near = [
        each
        for each in await store.finding.near(looked_under, owner=item.owner)
        if signed and each.signature and alike(signed, each.signature)
    ]
    fitting = [each for each in same if _takes(each)] + [each for each in near if _takes_new(each)]
    decided = (each for each in same + near if each.decided_at is not None)
    return Around(target=next(iter(fitting), None), decided=next(decided, None))


def _takes(case: Case) -> bool:
    """Whether more of what a case holds may join it."""
    return case.decided_at is None and case.items < MOST_ITEMS


def _takes_new(case: Case) -> bool:
    """Whether something that is only like it may join a case."""
    return _takes(case) and case.assignee is None and case.contents < MOST_CONTENTS
