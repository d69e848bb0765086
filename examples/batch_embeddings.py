"""`@cached_batch`: a function over a list is given only the items that nobody knows."""

from __future__ import annotations

import asyncio

from penstock import cached_batch

sent: list[list[str]] = []


@cached_batch(over="texts", ttl="1d", type=list[float])
async def embed(texts: list[str], model: str) -> list[list[float]]:
    """Stands for an embedding model that is paid by the text."""
    sent.append(texts)
    await asyncio.sleep(0.1)
    return [[float(len(text)), float(text.count(" "))] for text in texts]


async def main() -> None:
    words = ["weir", "sluice gate", "mill race"]
    await embed.invalidate([*words, "penstock"], model="small")  # a disk tier survives runs

    await embed(words, model="small")
    await embed(["mill race", "penstock", "weir"], model="small")
    print(f"first batch sent {len(sent[0])}, second batch sent {len(sent[1])}: {sent[1]}")

    both = await asyncio.gather(embed(words, model="small"), embed(words, model="small"))
    print(f"two more batches, {len(sent) - 2} calls, equal: {both[0] == both[1]}")


if __name__ == "__main__":
    asyncio.run(main())
