"""When schedules tick: pure functions of time."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigurationError
from penstock.tasks.schedule import Cron, Every, Schedule, due, parse_schedule

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LINES = ["30 2 * * *", "*/30 * * * *", "0 * * * *", "* 2 * * *", "0,30 1-3 * * *", "0 0 29 2 *"]
# Around the four changes of the clocks in 2026, in both places.
CHANGES = [1_774_746_000, 1_792_890_000, 1_772_953_200, 1_793_512_800]
INSTANTS = st.builds(
    lambda change, seconds: (change + seconds) * 1000 + 250,
    st.sampled_from(CHANGES),
    st.integers(-DAY // 1000, DAY // 1000),
)


def at(text: str, tz: str = "UTC", *, fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz), fold=fold)
    return int(local.timestamp() * 1000)


def ticks(schedule: Schedule, start: str, end: str, *, tz: str = "UTC") -> list[str]:
    """The ticks after `start` up to `end`, in local time with its distance from UTC."""
    found, last = [], at(end, tz)
    tick = schedule.next_after(at(start, tz))
    while tick <= last:
        local = datetime.fromtimestamp(tick / 1000, ZoneInfo(tz))
        found.append(f"{local:%d %H:%M} {local.utcoffset().total_seconds() / 3600:+.0f}")
        tick = schedule.next_after(tick)
    return found


def test_a_cron_line_ticks_in_its_own_zone():
    mondays = Cron("0 9 * * MON", tz=BERLIN)

    first = mondays.next_after(at("2026-01-05T09:00", BERLIN))

    assert first == at("2026-01-12T08:00")


@pytest.mark.parametrize(
    ("tz", "start", "end", "tick"),
    [
        (BERLIN, "2026-03-28T12:00", "2026-03-30T12:00", "29 03:00 +2"),
        (NEW_YORK, "2026-03-07T12:00", "2026-03-09T12:00", "08 03:00 -4"),
    ],
)
def test_a_named_hour_that_is_left_out_ticks_once_when_it_is_over(
    tz: str, start: str, end: str, tick: str
):
    nightly = Cron("30 2 * * *", tz=tz)

    found = ticks(nightly, start, end, tz=tz)

    assert found[0] == tick
    assert [other[3:8] for other in found[1:]] == ["02:30"]


@pytest.mark.parametrize(
    ("tz", "line", "start", "end", "tick"),
    [
        (BERLIN, "30 2 * * *", "2026-10-24T12:00", "2026-10-25T12:00", "25 02:30 +2"),
        (NEW_YORK, "30 1 * * *", "2026-10-31T12:00", "2026-11-01T12:00", "01 01:30 -4"),
    ],
)
def test_a_named_hour_that_comes_twice_ticks_once_in_the_first(
    tz: str, line: str, start: str, end: str, tick: str
):
    assert ticks(Cron(line, tz=tz), start, end, tz=tz) == [tick]


def test_a_process_that_starts_in_the_second_of_two_equal_hours_does_not_tick_again():
    nightly = Cron("30 2 * * *", tz=BERLIN)
    second = at("2026-10-25T02:15", BERLIN, fold=1)

    assert nightly.next_after(second) == at("2026-10-26T02:30", BERLIN)


def test_a_line_with_a_star_ticks_in_both_equal_hours():
    found = ticks(
        Cron("*/30 * * * *", tz=BERLIN), "2026-10-25T01:30", "2026-10-25T03:00", tz=BERLIN
    )

    assert found == ["25 02:00 +2", "25 02:30 +2", "25 02:00 +1", "25 02:30 +1", "25 03:00 +1"]


def test_a_line_with_a_star_goes_on_after_an_hour_that_is_left_out():
    found = ticks(
        Cron("*/30 * * * *", tz=BERLIN), "2026-03-29T01:00", "2026-03-29T03:30", tz=BERLIN
    )

    assert found == ["29 01:30 +1", "29 03:00 +2", "29 03:30 +2"]


def test_intervals_tick_at_the_same_instants_whenever_one_asks():
    quarter = Every("15m")

    found = {quarter.next_after(at("2026-01-05T08:00") + late) for late in range(0, 900_000, 7_919)}

    assert found == {at("2026-01-05T08:15")}


@given(INSTANTS, st.sampled_from(LINES), st.sampled_from([BERLIN, NEW_YORK]), st.data())
def test_all_who_ask_between_two_ticks_are_told_the_same(
    instant: int, line: str, tz: str, data: st.DataObject
):
    schedule = Cron(line, tz=tz)

    tick = schedule.next_after(instant)

    assert tick > instant
    between = data.draw(st.integers(instant, tick - 1))
    assert schedule.next_after(between) == tick


@given(INSTANTS, st.sampled_from(LINES[:-1]), st.integers(0, 3 * DAY))
def test_the_latest_tick_is_the_one_that_walking_finds(instant: int, line: str, silence: int):
    schedule = Cron(line, tz=BERLIN)
    since = schedule.next_after(instant)
    walked = since
    while (following := schedule.next_after(walked)) <= since + silence:
        walked = following

    assert schedule.latest(since, since + silence) == walked


@pytest.mark.parametrize(
    ("misfire", "late", "fired"),
    [
        ("last", 0, ["08:00"]),
        ("last", 3 * HOUR + MINUTE, ["11:00"]),
        ("skip", 59_000, ["08:00"]),
        ("skip", 3 * HOUR + 59_000, ["11:00"]),
        ("skip", 3 * HOUR + 2 * MINUTE, []),
        ("all", 3 * HOUR + MINUTE, ["08:00", "09:00", "10:00", "11:00"]),
    ],
)
@pytest.mark.parametrize("text", ["0 * * * *", "every 1h"])
def test_what_was_missed_is_dealt_with_as_declared(
    text: str, misfire: str, late: int, fired: list[str]
):
    schedule = parse_schedule(text, misfire=misfire)
    planned = at("2026-01-05T08:00")

    found, following = due(schedule, planned, planned + late)

    assert [f"{datetime.fromtimestamp(tick / 1000, UTC):%H:%M}" for tick in found] == fired
    assert following == schedule.next_after(planned + late)


def test_a_long_silence_is_made_up_for_in_parts():
    planned = at("2026-01-05T08:00")

    found, following = due(Every(1, misfire="all"), planned, planned + DAY)

    assert len(found) == 100
    assert following == planned + 100_000


@pytest.mark.parametrize("text", ["every 15m", "every 1500ms", "*/5 * * * *", "@daily"])
def test_what_is_stored_reads_as_the_same_schedule(text: str):
    schedule = parse_schedule(text)

    assert parse_schedule(schedule.when, tz=schedule.tz) == schedule


@pytest.mark.parametrize(
    ("text", "tz", "told"),
    [
        ("* * * *", "UTC", "is no schedule; write 'every 15m', or five fields"),
        ("61 * * * *", "UTC", "Bad minute"),
        ("0 0 31 2 *", "UTC", "Bad day-of-month"),
        ("0 0 */31 * MON#2", "UTC", "never ticks"),
        ("every soon", "UTC", "not a duration"),
        ("every 10ms", "UTC", "the shortest is 0.1 s"),
        ("0 9 * * *", "Europe/Atlantis", "no time zone 'Europe/Atlantis' is known here"),
        ("0 9 * * *", "Europe", "no time zone 'Europe'"),
        ("0 9 * * *", "../etc/passwd", "no time zone"),
    ],
)
def test_what_is_no_schedule_is_told_when_it_is_declared(text: str, tz: str, told: str):
    with pytest.raises(ConfigurationError, match=told):
        parse_schedule(text, tz=tz)


def test_an_unknown_misfire_is_told_with_the_known_ones():
    with pytest.raises(ConfigurationError, match="known: last, skip, all"):
        Every(60, misfire="first")  # type: ignore[arg-type]
