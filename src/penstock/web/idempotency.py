"""`Idempotency-Key`: the same request sent again, because its answer was lost, is one request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Send it again with the same body: the answer is that of the first time.",
    ),
]
