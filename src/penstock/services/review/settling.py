"""What follows from a decision: exact repeats follow it, and what it overturned is forgotten.

It is done after the decision is on record, and the case says so when it is done; what a crash or a
full disk cut off is done again later. Doing it twice changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from penstock.clock import Clock
from penstock.errors import PenstockError
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.services.review.schemas import Case, Decision, Decisions, Forget, Item
from penstock.services.review.store import ReviewStore

AT_ONCE: Final = 32
GRACE: Final = 60_000  # milliseconds that a decision is left to the process that made it

_log = get_logger("penstock.review")


class Settling:
    """Makes decisions count."""

    def __init__(
        self,
        *,
        store: ReviewStore,
        decisions: Decisions,
        forget: Forget,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._decisions = decisions
        self._forget = forget
        self._clock = clock
        self._metrics = metrics

    async def settle(self, case: Case, items: Sequence[Item]) -> bool:
        """Do all that follows from a case's decision; False where something has to be repeated."""
        decision, actor = case.decision, case.decided_by
        if decision is None or actor is None:
            return False
        keys: dict[str, set[str]] = {}
        for item in items:
            keys.setdefault(item.content_hash, set()).update({item.key_id} if item.key_id else ())
        note = f"decided in {case.id}"
        try:
            await _all(
                [
                    self._decisions.decide(
                        digest, decision=decision, key_ids=sorted(ids), actor=actor, note=note
                    )
                    for digest, ids in keys.items()
                ]
            )
            # After the lists: who computes it anew meanwhile sees what people said.
            gone = dict.fromkeys(i.content_key for i in items if is_overturned(i, decision))
            await _all([self._forget.forget(key) for key in gone])
            await self._store.settled(case.id, at=int(self._clock.now() * 1000))
        except PenstockError as error:
            self._metrics.count("penstock_review_unsettled_total")
            _log.warning("review.unsettled", case=case.id, detail=error.detail)
            return False
        return True

    async def settle_rest(self) -> int:
        """Finish what other processes left undone; how many cases."""
        before = int(self._clock.now() * 1000) - GRACE
        done = 0
        for case in await self._store.unsettled(before):
            done += await self.settle(case, await self._store.items(case.id))
        return done


def is_overturned(item: Item, decision: Decision) -> bool:
    """Whether people decided against what stood."""
    return item.decision in ("approved", "rejected") and item.decision != decision


async def _all(work: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Everything, some at once; the first failure after what ran beside it has ended."""
    for start in range(0, len(work), AT_ONCE):
        found = await asyncio.gather(*work[start : start + AT_ONCE], return_exceptions=True)
        failure = next((each for each in found if isinstance(each, BaseException)), None)
        if failure is not None:
            for rest in work[start + AT_ONCE :]:
                rest.close()
            raise failure
