"""Receipts as the pipeline makes them."""

from __future__ import annotations

from penstock.pipeline import Cost, Receipt, Tokens


def receipt(
    source: str = "provider",
    *,
    tokens: tuple[int, int, int] = (0, 0, 0),
    spent: int = 0,
    saved: int = 0,
    currency: str = "USD",
) -> Receipt:
    """`tokens` are in, out and saved; money is in micro-units."""
    return Receipt(
        source=source,
        age_seconds=0.0,
        stale=False,
        queue_wait_seconds=0.0,
        stages={},
        models={},
        tokens=Tokens(*tokens),
        cost=Cost(spent, saved, currency),
    )


ASKED = receipt(tokens=(100, 20, 0), spent=7)
CACHED = receipt("memory", tokens=(0, 0, 120), saved=7)
