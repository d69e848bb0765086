"""`@cached`: what a slow function returns is remembered, and computed once for all who wait."""

from __future__ import annotations

import asyncio

from penstock import cached

calls = 0


@cached(ttl="1h", tags=("customer:{customer}",))
async def classify(text: str, customer: str) -> dict[str, object]:
    """Stands for a model that takes its time."""
    global calls
    calls += 1
    await asyncio.sleep(0.2)
    return {"label": "greeting" if "hello" in text else "other", "words": len(text.split())}


async def main() -> None:
    await classify.invalidate("hello there", customer="acme")  # a disk tier survives runs

    answers = await asyncio.gather(*(classify("hello there", customer="acme") for _ in range(50)))
    print(f"{len(answers)} callers, {calls} computation")

    hit = await classify.lookup("hello there", customer="acme")
    print(f"again: from {hit.source}, {hit.value['label']}")

    answers[0]["label"] = "changed by its user"
    print(f"the cached value stays {(await classify('hello there', customer='acme'))['label']}")


if __name__ == "__main__":
    asyncio.run(main())
