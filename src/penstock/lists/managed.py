"""Lists that hold what people decided: one for each key and decision, of hashes of content."""

from __future__ import annotations

from typing import Final

from penstock.lists.listed import ListKind
from penstock.lists.store import ListRecord

MANAGED: Final = "decisions-"  # how their ids begin


def is_managed(list_id: str) -> bool:
    """Whether a list is made by decisions of people."""
    return list_id.startswith(MANAGED)


def decisions(key_id: str | None, decision: str, *, at: int) -> tuple[ListRecord, str]:
    """The managed list of a key for one decision, and the id of that for the other."""
    whose = f"{MANAGED}{key_id or 'everyone'}"
    kinds: dict[str, ListKind] = {"approved": "allow", "rejected": "block"}
    other = "rejected" if decision == "approved" else "approved"
    record = ListRecord(
        id=f"{whose}-{decision}",
        name=f"{decision} by people",
        kind=kinds[decision],
        key_id=key_id,
        disguises=False,
        enabled=True,
        created_by="review",
        created_at=at,
        updated_at=at,
    )
    return record, f"{whose}-{other}"
