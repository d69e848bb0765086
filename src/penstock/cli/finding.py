"""What a check of `penstock doctor` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from penstock.settings import Settings


class Finding(msgspec.Struct, frozen=True):
    """What one check found."""

    name: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    fix: str = ""


Check = Callable[[Settings], Iterator[Finding]]
