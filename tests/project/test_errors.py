"""The error tree, its drawing and its page say the same."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from penstock import errors
from penstock.errors import PenstockError

BRANCH = re.compile(r"^(?P<lead>[ │├└─]*)(?P<name>[A-Z]\w+)\s*(?P<status>\d{3})?(?:\s|$)")


def drawn() -> list[tuple[str, int, int | None]]:
    """Name, depth and status of each line of the drawing."""
    found = []
    for line in (errors.__doc__ or "").splitlines():
        branch = BRANCH.match(line)
        if branch and (branch["lead"].strip() or branch["name"] == "PenstockError"):
            status = int(branch["status"]) if branch["status"] else None
            found.append((branch["name"], (len(branch["lead"]) - 4) // 4, status))
    return found


def tree(kind: type[PenstockError] = PenstockError, depth: int = 0) -> Iterator[tuple[type, int]]:
    yield kind, depth
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


def test_the_drawing_is_the_tree() -> None:
    classes = [(kind.__name__, depth) for kind, depth in tree()]

    assert [(name, depth) for name, depth, _ in drawn()] == classes


def test_every_drawn_status_is_the_class_status() -> None:
    statuses = {kind.__name__: kind.status for kind, _ in tree()}  # type: ignore[attr-defined]

    wrong = {name for name, _, status in drawn() if status not in (None, statuses[name])}

    assert not wrong


def test_every_error_has_a_slug_of_its_own_and_a_default_detail() -> None:
    kinds = [kind for kind, _ in tree()]

    slugs = [vars(kind)["slug"] for kind in kinds]

    assert len(set(slugs)) == len(slugs)
    assert all(inspect.getdoc(kind) for kind in kinds)


def test_every_slug_has_a_place_in_the_reference(root: Path) -> None:
    page = (root / "docs" / "reference" / "errors.md").read_text("utf-8")

    missing = [
        vars(kind)["slug"] for kind, _ in tree() if f"\n## {vars(kind)['slug']}\n" not in page
    ]

    assert not missing
