"""Finds the case that an item belongs to: a live one with content that is alike, or a new one.

Looking and writing are two steps, and others write too. So a write says up to where was looked, and
fails where something that is to be looked at came up since; then it is looked again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from penstock.db.writer import Call
from penstock.errors import StorageUnavailable
from penstock.services.review.schemas import Case, Item, Kind
from penstock.services.review.similar import alike, bands, probes, signature
from penstock.services.review.store import MOST_ITEMS, Looked, ReviewStore

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
    risk: float,
    category: str | None,
    reason: str,
    sla: float,
    signed: bytes | None,
    content: str | None,
    keep: float,
) -> Case:
    """The case of an item that is alone; `sla` and `keep` (of its content) in seconds."""
    kept = content if keep > 0 else None
    return Case(
        id=f"case_{secrets.token_hex(8)}",
        state="open",
        kind=kind,
        decision=None,
        owner=item.owner,
        assignee=None,
        risk=risk,
        category=category,
        reason=reason[:LONGEST_REASON],
        content=kept,
        content_until=None if kept is None else item.created_at + _milliseconds(keep),
        signature=signed,
        similar_to=None,
        items=1,
        created_at=item.created_at,
        due_at=item.created_at + _milliseconds(sla),
        claimed_at=None,
        decided_at=None,
        decided_by=None,
        settled_at=None,
    )


async def place(store: ReviewStore, case: Case, item: Item, *, then: Then = lambda _: ()) -> Placed:
    """Put an item into the case that it belongs to; `case` is the one it would open.

    An item that is on record stays where it is. Raises StorageError.
    """
    looked_under = probes(case.signature) if case.signature else []
    for attempt in range(ATTEMPTS + 1):
        known = _known(store, item)
        if known is not None:
            return Placed(known.id, opened=False, new=False)
        mark = store.mark()  # before looking: what comes up meanwhile is later
        around = _around(store, case, item, looked_under)
        if around.target is not None and attempt < ATTEMPTS:
            into = around.target.id
            if await store.join(case, item, into=into, then=then(into)):
                return Placed(into, opened=False, new=True)
            continue
        opened = await store.open(
            msgspec.structs.replace(case, similar_to=around.decided.id if around.decided else None),
            item,
            looked=Looked(item.content_hash, looked_under, None if attempt == ATTEMPTS else mark),
            bands=bands(case.signature) if case.signature else (),
            then=then(case.id),
        )
        if opened:
            return Placed(case.id, opened=True, new=True)
    known = _known(store, item)  # someone else was quicker with the same verdict
    if known is None:
        raise StorageUnavailable(f"no case took {item.verdict_id}; repeat the request")
    return Placed(known.id, opened=False, new=False)


def _milliseconds(seconds: float) -> int:
    return int(min(seconds, LONGEST_SPAN) * 1000)


def _known(store: ReviewStore, item: Item) -> Case | None:
    """The case that holds the verdict; an appeal may come back to what was decided."""
    cases = store.places(item.verdict_id)
    if item.appealed_at is not None:
        cases = [case for case in cases if case.decided_at is None]
    return cases[0] if cases else None


def _around(store: ReviewStore, case: Case, item: Item, looked_under: Sequence[int]) -> Around:
    same = store.same(item.content_hash)
    near = store.near(looked_under)
    signed = case.signature
    fitting = same + [
        each for each in near if signed and each.signature and alike(signed, each.signature)
    ]
    return Around(
        # One that stays with its owner before one that becomes everybody's.
        target=min(
            (each for each in fitting if _takes(each, item)),
            key=lambda each: each.owner != item.owner,
            default=None,
        ),
        decided=next((each for each in fitting if each.decided_at is not None), None),
    )


def _takes(case: Case, item: Item) -> bool:
    """Whether an item may join: a case that someone works on stays with its owner."""
    if case.decided_at is not None or case.items >= MOST_ITEMS:
        return False
    return case.assignee is None or case.owner in (None, item.owner)
