"""What `wait(progress=...)` shows: a bar on a terminal where rich is installed, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from penstock_client.watch import Watched

S = TypeVar("S", bound=Watched)


@contextmanager
def shown(
    progress: bool | Callable[[S], object], label: str
) -> Iterator[Callable[[S], object] | None]:
    """What is to be told of each state: the caller's function, the bar, or None."""
    if callable(progress):
        yield progress
    elif progress and sys.stderr.isatty() and (bar := _bar()) is not None:
        with bar:
            yield _on(bar, label)
    else:
        yield None


def _bar() -> Any:
    """A bar on stderr; None without rich."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    except ImportError:
        return None
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _on(bar: Any, label: str) -> Callable[[Watched], object]:
    task = bar.add_task(label, total=None)

    def tell(state: Watched) -> None:
        done, total = state.counts
        bar.update(task, completed=done, total=total or None)

    return tell
