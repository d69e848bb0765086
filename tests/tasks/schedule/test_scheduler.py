"""Schedulers on one file: who fires what, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from penstock.errors import NotFound, StorageFull
from penstock.tasks.schedule import Cron, Every
from penstock.tasks.task import Task

Scheduled = Callable[..., Task]


async def test_a_tick_is_fired_when_its_time_has_come_and_not_before(plan, scheduled: Scheduled):
    process = await plan.declared(scheduled("report", "every 15m"))

    before = await process.scheduler.look()
    plan.clock.advance(900)
    after = await process.scheduler.look()

    assert (before, after) == (plan.clock.now() * 1000, plan.clock.now() * 1000 + 900_000)
    assert plan.ticks("report") == ["08:15"]


async def test_any_number_of_processes_fire_a_tick_once(plan, scheduled: Scheduled):
    tasks = [scheduled(f"report-{number}", "every 10m") for number in range(5)]
    processes = [await plan.declared(*tasks) for _ in range(6)]

    for _ in range(12):
        plan.clock.advance(300)
        await asyncio.gather(*(process.scheduler.look() for process in processes))

    assert plan.jobs() == {task.name: 6 for task in tasks}


async def test_the_job_is_the_one_that_the_tick_names(plan, scheduled: Scheduled):
    process = await plan.declared(scheduled("report", "every 15m"))

    plan.clock.advance(900)
    await process.scheduler.look()
    status = plan.status("report", ("report",))

    assert (status.when, status.timezone, status.queue) == ("every 900s", "UTC", "default")
    assert (status.last_at, status.next_at) == (
        plan.clock.now() * 1000,
        plan.clock.now() * 1000 + 900_000,
    )
    assert status.last_job == "job_0000000000001"
    assert status.declared
    assert process.woken.is_set()


@pytest.mark.parametrize(
    ("misfire", "fired"),
    [("last", ["12:00"]), ("skip", []), ("all", ["09:00", "10:00", "11:00", "12:00"])],
)
async def test_after_a_long_stop_ticks_are_made_up_for_as_declared(
    plan, scheduled: Scheduled, misfire: str, fired: list[str]
):
    task = scheduled("report", Cron("0 * * * *", misfire=misfire))
    await plan.declared(task)

    plan.clock.advance(4.5 * 3600)
    restarted = await plan.declared(task)
    next_ms = await restarted.scheduler.look()

    assert plan.ticks("report") == fired
    assert next_ms == plan.clock.now() * 1000 + 1_800_000


async def test_a_week_of_seconds_is_made_up_for_without_holding_others_up(
    plan, scheduled: Scheduled
):
    often = scheduled("often", Every(1, misfire="all"))
    seldom = scheduled("seldom", "every 1h")
    process = await plan.declared(often, seldom)

    plan.clock.advance(3600)
    first = await process.scheduler.look()
    soon = plan.jobs()
    while first <= plan.clock.now() * 1000:
        first = await process.scheduler.look()

    assert soon == {"often": 100, "seldom": 1}
    assert plan.jobs() == {"often": 3600, "seldom": 1}


async def test_a_clock_set_back_fires_no_tick_twice(plan, scheduled: Scheduled):
    process = await plan.declared(scheduled("report", "every 30m"))
    for _ in range(4):
        plan.clock.advance(1800)
        await process.scheduler.look()

    plan.clock.set("2026-01-05T09:00")
    for _ in range(4):
        await process.scheduler.look()
        plan.clock.advance(1800)
    await process.scheduler.look()

    assert plan.ticks("report") == ["08:30", "09:00", "09:30", "10:00", "10:30", "11:00"]


async def test_a_restart_after_the_clock_was_set_back_fires_no_tick_twice(
    plan, scheduled: Scheduled
):
    task = scheduled("report", "every 30m")
    process = await plan.declared(task)
    plan.clock.advance(7200)
    await process.scheduler.look()

    plan.clock.set("2026-01-05T09:30")
    restarted = await plan.declared(task)
    for _ in range(3):
        plan.clock.advance(1800)
        await restarted.scheduler.look()

    assert plan.ticks("report") == ["10:00", "10:30", "11:00"]


async def test_a_clock_that_was_a_year_ahead_does_not_silence_a_schedule(
    plan, scheduled: Scheduled
):
    process = await plan.declared(scheduled("report", "every 1h"))
    plan.clock.set("2027-01-05T08:00")
    await process.scheduler.look()

    plan.clock.set("2026-01-05T08:05")
    await process.scheduler.look()
    for _ in range(2):
        plan.clock.advance(3600)
        await process.scheduler.look()

    assert plan.ticks("report") == ["08:00", "09:00", "10:00"]


async def test_a_changed_schedule_is_planned_anew_from_now(plan, scheduled: Scheduled):
    await plan.declared(scheduled("report", "every 1h"))

    plan.clock.advance(5400)
    restarted = await plan.declared(scheduled("report", Cron("45 * * * *", tz="Europe/Berlin")))
    next_ms = await restarted.scheduler.look()
    status = plan.status("report")

    assert plan.ticks("report") == []
    assert next_ms == plan.clock.now() * 1000 + 900_000
    assert (status.when, status.timezone) == ("45 * * * *", "Europe/Berlin")


async def test_a_process_with_the_old_declaration_goes_by_the_new_plan(plan, scheduled: Scheduled):
    old = await plan.declared(scheduled("report", "every 15m"))
    await plan.declared(scheduled("report", "every 1h"))

    for _ in range(8):
        plan.clock.advance(900)
        await old.scheduler.look()

    assert plan.ticks("report") == ["09:00", "10:00"]


async def test_a_paused_schedule_fires_nothing_and_makes_up_for_nothing(plan, scheduled: Scheduled):
    process = await plan.declared(scheduled("report", Every("15m", misfire="all")))

    paused = await process.scheduler.pause("report", paused=True)
    plan.clock.advance(3000)
    await process.scheduler.look()
    resumed = await process.scheduler.pause("report", paused=False)
    plan.clock.advance(600)
    await process.scheduler.look()

    assert (paused.paused, paused.next_at, resumed.paused) == (True, None, False)
    assert plan.ticks("report") == ["09:00"]


async def test_a_pause_outlives_the_process(plan, scheduled: Scheduled):
    task = scheduled("report", "every 15m")
    process = await plan.declared(task)
    await process.scheduler.pause("report", paused=True)

    restarted = await plan.declared(task)
    plan.clock.advance(3600)
    await restarted.scheduler.look()

    assert plan.status("report").paused
    assert plan.jobs() == {}


async def test_resuming_what_is_not_paused_loses_no_tick(plan, scheduled: Scheduled):
    process = await plan.declared(scheduled("report", "every 15m"))

    plan.clock.advance(900)
    await process.scheduler.pause("report", paused=False)
    await process.scheduler.look()

    assert plan.ticks("report") == ["08:15"]


async def test_running_now_is_beside_the_ticks(plan, scheduled: Scheduled):
    process = await plan.declared(scheduled("report", "every 15m"))

    added = await process.scheduler.fire("report")
    by_hand = plan.status("report")
    plan.clock.advance(900)
    await process.scheduler.look()

    assert by_hand.last_job == added.id
    assert plan.jobs() == {"report": 2}
    assert plan.ticks("report") == ["08:15"]


async def test_a_schedule_can_be_run_and_paused_where_its_task_is_not_declared(
    plan, scheduled: Scheduled
):
    await plan.declared(scheduled("report", "every 15m"))
    other = plan.process()

    await other.scheduler.fire("report")
    status = await other.scheduler.pause("report", paused=True)

    assert plan.jobs() == {"report": 1}
    assert (status.paused, status.declared) == (True, False)


async def test_ticks_of_a_task_that_is_not_declared_wait_for_who_declares_it(
    plan, scheduled: Scheduled
):
    task, other = scheduled("report", "every 15m"), scheduled("other", "every 15m")
    await plan.declared(task)

    stranger = await plan.declared(other)
    plan.clock.advance(900)
    next_ms = await stranger.scheduler.look()
    waiting = plan.jobs()
    knowing = await plan.declared(task)
    await knowing.scheduler.look()

    assert next_ms == plan.clock.now() * 1000 + 900_000
    assert waiting == {"other": 1}
    assert plan.jobs() == {"other": 1, "report": 1}


@pytest.mark.parametrize("ask", ["fire", "pause"])
async def test_an_unknown_schedule_is_not_found(plan, ask: str):
    scheduler = plan.process().scheduler

    with pytest.raises(NotFound, match="there is no schedule 'nobody'"):
        await (
            scheduler.fire("nobody") if ask == "fire" else scheduler.pause("nobody", paused=True)
        )


async def test_ticks_of_more_than_a_week_ago_are_forgotten(plan, scheduled: Scheduled):
    process = await plan.declared(scheduled("report", Every("1h", misfire="all")))
    for _ in range(14 * 24):
        plan.clock.advance(3600)
        await process.scheduler.look()

    assert plan.jobs() == {"report": 14 * 24}
    assert len(plan.ticks("report")) == 7 * 24 + 1


async def test_the_loop_fires_while_the_clock_goes(plan, scheduled: Scheduled):
    process = plan.process()
    task = scheduled("report", "every 15m")
    await process.scheduler.start({"report": task})

    for _ in range(3):
        process.woken.clear()
        while not process.woken.is_set():
            await plan.clock.pass_while_asleep(10)

    assert plan.ticks("report") == ["08:15", "08:30", "08:45"]
    assert process.metrics.total("penstock_schedule_ticks_total", task="report") == 3


async def test_the_loop_outlives_a_disk_that_is_full_for_a_while(plan, scheduled: Scheduled):
    process = plan.process()
    await process.scheduler.start({"report": scheduled("report", "every 15m")})

    process.fails += [StorageFull("no space is left; free some"), OSError("strange")]
    while not process.woken.is_set():
        await plan.clock.pass_while_asleep(10)

    assert process.fails == []
    assert plan.ticks("report") == ["08:15"]


async def test_a_schedule_that_this_version_cannot_read_stops_no_other(plan, scheduled: Scheduled):
    process = await plan.declared(scheduled("strange", "every 1m"), scheduled("report", "every 1m"))
    plan.write("UPDATE schedule SET spec = 'full moon' WHERE name = 'strange'")

    plan.clock.advance(60)
    await process.scheduler.look()

    assert plan.jobs() == {"report": 1}


async def test_it_stops_no_other_when_the_clock_was_set_back_either(plan, scheduled: Scheduled):
    process = await plan.declared(scheduled("strange", "every 1m"), scheduled("report", "every 1m"))
    plan.write("UPDATE schedule SET spec = 'full moon' WHERE name = 'strange'")

    plan.clock.set("2026-01-05T07:00")
    await process.scheduler.look()
    plan.clock.advance(60)
    await process.scheduler.look()

    assert plan.ticks("report") == ["07:00", "07:01"]


async def test_very_many_ticks_are_fired_in_several_transactions(plan, scheduled: Scheduled):
    tasks = [scheduled(f"report-{number}", Every(1, misfire="all")) for number in range(15)]
    process = await plan.declared(*tasks)

    plan.clock.advance(100)
    await process.scheduler.look()
    first = plan.jobs().total()
    await process.scheduler.look()

    assert first == 1000
    assert plan.jobs() == {task.name: 100 for task in tasks}


async def test_the_loop_goes_on_until_nothing_is_due(plan, scheduled: Scheduled):
    process = plan.process()
    await process.scheduler.start({"report": scheduled("report", Every(1, misfire="all"))})

    await plan.clock.pass_while_asleep(250)
    await plan.clock.pass_while_asleep(0)

    assert plan.jobs() == {"report": 250}


async def test_the_loop_waits_for_a_paused_schedule_to_be_resumed(plan, scheduled: Scheduled):
    process = plan.process()
    await process.scheduler.start({"report": scheduled("report", "every 15m")})
    await process.scheduler.pause("report", paused=True)

    for _ in range(3):
        await plan.clock.pass_while_asleep(10)
    await process.scheduler.pause("report", paused=False)
    while not process.woken.is_set():
        await plan.clock.pass_while_asleep(10)

    assert plan.ticks("report") == ["08:15"]


async def test_a_process_without_schedules_has_no_loop(plan):
    process = plan.process()

    await process.scheduler.start({})
    await process.scheduler.aclose()

    assert not process.asked


async def test_tasks_that_are_declared_later_join_in(plan, scheduled: Scheduled):
    process = plan.process()
    await process.scheduler.start({"first": scheduled("first", "every 5m")})
    await process.scheduler.start({"second": scheduled("second", "every 5m")})

    while plan.jobs().total() < 2:
        await plan.clock.pass_while_asleep(10)

    assert plan.jobs() == {"first": 1, "second": 1}
