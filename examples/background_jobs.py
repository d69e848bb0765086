"""`@task`: work for later, on disk before anybody waits for it; no server beside the process.

Kill it in the middle and run it again: what was queued goes on.
"""

from __future__ import annotations

import asyncio

from penstock import Retry, ctx, group, task


@task(retries=3, timeout="30s")
async def summarise(topic: str, parts: int = 4) -> str:
    """Stands for a model that reads a long text part by part."""
    for part in range(parts):
        ctx.check()  # ends here when the job was cancelled
        ctx.progress(part, parts, note=topic)
        await asyncio.sleep(0.05)
    if ctx.attempt == 1 and topic == "weirs":
        raise Retry("the model is busy", after=0.1)
    ctx.progress(parts, parts)
    return f"All there is to say about {topic}."


@task(queue="analytics")
def count(text: str) -> int:
    """A plain function: it runs in a thread."""
    return len(text.split())


async def main() -> None:
    job = await summarise.options(priority="urgent").enqueue("weirs")
    async for seen in job.watch():
        if seen.is_final:
            before = ", ".join(f"{error.type}: {error.message}" for error in seen.errors)
            print(f"{seen.state} at attempt {seen.attempt}, after {before}")
    print(await job.result("10s"))

    jobs = await group(summarise.call("sluices"), count.call("one two three"))
    print(await jobs.results("10s"))
    print(f"progress of the group: {(await jobs.progress()).done} of {len(jobs.jobs)}")

    endless = await summarise.enqueue("rivers", parts=1_000_000)
    await endless.cancel()
    async for seen in endless.watch():
        last = seen
    print(f"the endless one was {last.state}")


if __name__ == "__main__":
    asyncio.run(main())
