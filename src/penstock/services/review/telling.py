"""Tells of what happens to cases: metrics, and events to the owner of a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from penstock.observe.metrics import Metrics
from penstock.services.review.placing import Placed
from penstock.services.review.schemas import Case, Emit, Item
from penstock.services.review.settling import is_overturned

TOLD_VERDICTS: Final = 100  # in one event


class Teller:
    """Counts, and emits events that never hold a text."""

    def __init__(self, *, metrics: Metrics, emit: Emit | None) -> None:
        self._metrics = metrics
        self._emit = emit

    def placed(self, case: Case, placed: Placed) -> None:
        """An item was put into a case: `case` if that was opened for it."""
        if placed.new:
            outcome = "opened" if placed.opened else "joined"
            self._metrics.count("penstock_review_items_total", kind=case.kind, outcome=outcome)
        if placed.opened and self._emit is not None:
            data = {"kind": case.kind, "risk": case.risk, "category": case.category}
            self._emit("case.opened", case.id, case.owner, data)

    def decided(self, case: Case, items: Sequence[Item]) -> None:
        """People decided."""
        self._metrics.count("penstock_review_decisions_total", decision=case.decision or "")
        self.tell("case.decided", case, items)
        if case.kind == "appeal":
            self.tell("appeal.decided", case, items)

    def tell(self, type: str, case: Case, items: Sequence[Item]) -> None:
        """Tell the owner of a case of what happened to it."""
        if self._emit is not None:
            self._emit(type, case.id, case.owner, _told(case, items))


def _told(case: Case, items: Sequence[Item]) -> Mapping[str, object]:
    data: dict[str, object] = {
        "kind": case.kind,
        "category": case.category,
        "risk": case.risk,
        "verdicts": _verdicts(items),
        "items": len(items),
    }
    if case.decision is not None:
        overturned = [item for item in items if is_overturned(item, case.decision)]
        data |= {"decision": case.decision, "overturned": _verdicts(overturned)}
    return data


def _verdicts(items: Sequence[Item]) -> list[str]:
    """Whose items these are; one verdict may be there for several keys."""
    return list(dict.fromkeys(item.verdict_id for item in items))[:TOLD_VERDICTS]
