"""What a type checker must see of the decorators; read by mypy in test_shapes.py, never run.

An ignore below is an error that must be there: mypy complains of one that is not needed.
"""

from __future__ import annotations

from typing import assert_type

from penstock import Cache, cached, cached_batch


@cached(ttl="1h", stale=60, tags=("text:{text}",), namespace=lambda text, limit=0: text)
async def classify(text: str, limit: int = 10) -> dict[str, float]:
    return {text: float(limit)}


@cached(ttl=lambda count: 1.0 if count else 60, on_error="stale", ignore=("text",))
def measure(text: str) -> int:
    return len(text)


@cached_batch(over="texts", ttl="1d", type=int)
async def lengths(texts: list[str]) -> list[int]:
    return list(map(len, texts))


async def results() -> None:
    assert_type(await classify("a", limit=3), dict[str, float])
    assert_type(await classify.get_many(["a"]), list[dict[str, float]])
    assert_type(measure("a"), int)
    assert_type(await lengths.invalidate(["a"]), int)


async def arguments() -> None:
    await classify(1)  # type: ignore[arg-type]
    await classify("a", size=3)  # type: ignore[call-arg]
    measure(text=1)  # type: ignore[arg-type]


def options(cache: Cache) -> None:
    cached(tll="1h")  # type: ignore[call-arg]
    cached(measure)  # type: ignore[call-arg]
    cached(ttl=[1])  # type: ignore[arg-type]
    cached(on_error="ignore")  # type: ignore[arg-type]
    cached_batch(ttl="1h")  # type: ignore[call-arg]
    cached_batch(over="texts", on_error="stale")  # type: ignore[call-arg]
    cache.cached(ttl="1h", max_age=60, tiers=("memory",))
    cache.cached(tll="1h")  # type: ignore[call-arg]
    cache.cached_batch(over=1)  # type: ignore[arg-type]
