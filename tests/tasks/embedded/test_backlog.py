"""More waiting jobs than memory holds."""

from __future__ import annotations

import asyncio

from penstock.tasks.job import JobFilter
from tests.tasks.embedded.embedded_jobs import Gate, add, declare, final, finals, job


async def test_a_backlog_beyond_memory_runs_in_order_and_completely(opened):
    gate = Gate()
    engine = await opened(gate.task, workers=4, bound=100)
    ids = []
    for start in range(0, 1000, 250):
        ids += await add(
            engine,
            *(job(gate.task, n, priority=n % 3) for n in range(start, start + 250)),
        )
    await gate.arrival.wait()
    held = len(engine._core.dispatcher.lanes["default"].waiting)

    gate.open.set()
    await finals(engine, ids)

    assert held <= 200
    assert sorted(gate.came) == list(range(1000))
    order = gate.came[4:]  # the first found free places
    assert order == sorted(order, key=lambda n: (n % 3, n))


async def test_an_urgent_job_overtakes_a_backlog_on_disk(opened):
    gate = Gate()
    engine = await opened(gate.task, workers=1, bound=100)
    await add(engine, *(job(gate.task, 1, priority="bulk") for _ in range(500)))
    (urgent,) = await add(engine, job(gate.task, 2, priority="urgent"))

    gate.open.set()
    await final(engine, urgent)

    assert gate.came[:2] == [1, 2]


async def test_a_backlog_of_an_earlier_process_is_taken_up_in_order(opened):
    gate = Gate()
    gate.open.set()
    adder = await opened()
    ids = await add(adder, *(job(gate.task, n, priority=9 - n // 100) for n in range(500)))

    engine = await opened(gate.task, workers=1, bound=100)
    await finals(engine, ids)

    assert gate.came == sorted(range(500), key=lambda n: (9 - n // 100, n))


async def test_jobs_added_while_the_disk_is_read_are_not_forgotten(opened):
    async def work() -> None:
        await asyncio.sleep(0)

    task = declare(work)
    engine = await opened(task, workers=8, bound=20)

    ids = []
    for _ in range(60):
        ids += await add(engine, *(job(task) for _ in range(10)))
    await finals(engine, ids)

    assert await engine.store.count(JobFilter()) == {"completed": 600}


async def test_a_job_moved_on_disk_is_found_there(opened):
    gate = Gate()
    engine = await opened(gate.task, workers=1, bound=50)
    ids = await add(engine, *(job(gate.task, n) for n in range(300)))

    await engine.reprioritise(ids[250], 0)
    await engine.reprioritise(ids[1], 9)
    await engine.cancel(ids[260])
    gate.open.set()
    await finals(engine, ids)

    assert gate.came == [0, 250, *(n for n in range(2, 300) if n not in (250, 260)), 1]


async def test_a_bulk_job_gets_its_turn_under_a_stream_of_urgent_ones(opened, clock):
    gate = Gate()
    engine = await opened(gate.task, workers=1, clock=clock)
    _, bulk = await add(engine, job(gate.task, 0), job(gate.task, -1, priority="bulk"))
    clock.advance(40)
    while not engine._core.dispatcher.lanes["default"].elders:
        await engine.store.count(JobFilter())  # lets the rounds come by
        clock.advance(1)
    urgent = await add(engine, *(job(gate.task, n, priority="urgent") for n in range(1, 60)))

    gate.open.set()
    await finals(engine, [bulk, *urgent])

    assert gate.came.index(-1) <= 17
