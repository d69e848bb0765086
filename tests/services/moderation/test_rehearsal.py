from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from penstock.clock import ManualClock
from penstock.db import Database
from penstock.errors import Conflict
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.capacity import suggest
from penstock.services.moderation.policy import Decision, Judge, Policy, Threshold
from penstock.services.moderation.records import packed
from penstock.services.moderation.rehearsal import Change, Plan, Rehearsal
from penstock.services.moderation.rehearsal_store import DECISIONS, Selection
from penstock.services.moderation.schemas import Judgement
from penstock.services.moderation.store import StoredVerdict
from tests.databases import DATABASES
from tests.services.conftest import open_empty

Scores = tuple[float | None, ...]

NOW = 1_700_000_000_000
STRICT = Judge(Policy(id="strict", thresholds={"hate": Threshold(review=0.1, reject=0.3)}))
LOOSE = Judge(Policy(id="loose", thresholds={"hate": Threshold(review=0.7, reject=0.95)}))


@pytest.fixture(params=DATABASES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_empty(request.param, request, tmp_path) as opened:
        yield opened


@pytest.fixture
def rehearsal(database: Database) -> Rehearsal:
    return Rehearsal(database, clock=ManualClock(NOW / 1000), rows=16)


def scored(**named: float) -> Scores:
    return tuple(named.get(category) for category in CATEGORIES)


def verdict(
    number: int,
    scores: Scores,
    *,
    judge: Judge | None = None,
    foreign: bool = False,
    degraded: str | None = None,
    listed: Decision | None = None,
    owner: str = "team",
    key_id: str = "key_1",
    created_at: int | None = None,
) -> StoredVerdict:
    """A verdict as the service records it, one a minute back from now."""
    judge = judge or Judge(Policy())
    ruling = judge.decide(scores, foreign=foreign, degraded=degraded, listed=listed)
    judgement = Judgement("d" * 32, scores, (), 0.9 if foreign else 0.0, "local", (("local", "1"),))
    return StoredVerdict(
        id=f"mod_{number:06}",
        owner=owner,
        content_hash=f"{number:064x}",
        content_key="moderation:k",
        score_key="d" * 32 + (degraded or ""),
        policy_version=judge.version,
        decision=ruling.decision,
        flagged=False,
        reason=ruling.reason,
        risk=ruling.risk,
        record=msgspec.msgpack.encode(judgement),
        excerpt_share=1.0,
        word_count=3,
        content=None,
        user_id=None,
        created_at=NOW - number * 60_000 if created_at is None else created_at,
        key_id=key_id,
        scores=packed(scores),
        is_foreign=foreign,
        degraded=degraded,
        listed=listed,
    )


async def record(database: Database, *verdicts: StoredVerdict) -> None:
    rows = [msgspec.structs.astuple(each) for each in verdicts]
    await database.bulk("moderation_verdicts", StoredVerdict.__struct_fields__, rows)


def traffic(count: int, seed: int = 1) -> list[StoredVerdict]:
    """All that can be on record, several of it in the same millisecond."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        scores = tuple(
            None if chance.random() < 0.3 else round(chance.random() ** 3, 6) for _ in CATEGORIES
        )
        made.append(
            verdict(
                number,
                scores,
                foreign=chance.random() < 0.1,
                degraded=chance.choice([None] * 8 + ["provider-timeout", "images-unavailable"]),
                listed=chance.choice([None] * 9 + ["rejected", "review", "approved"]),
                created_at=NOW - number // 5 * 60_000,
            )
        )
    return made


def older(verdict: StoredVerdict) -> StoredVerdict:
    """The verdict as it was recorded before scores had columns: 14 categories in the record."""
    judgement = msgspec.msgpack.decode(verdict.record, type=Judgement)
    known = msgspec.structs.replace(judgement, scores=judgement.scores[:14])
    return msgspec.structs.replace(
        verdict, record=msgspec.msgpack.encode(known), scores=None, is_foreign=False, degraded=None
    )


def decided(judge: Judge, verdict: StoredVerdict) -> Decision:
    """The oracle: one verdict, by the judge itself."""
    scores = msgspec.msgpack.decode(verdict.record, type=Judgement).scores
    padded = (*scores, *[None] * len(CATEGORIES))[: len(CATEGORIES)]
    foreign = msgspec.msgpack.decode(verdict.record, type=Judgement).other_language > 0.5
    fault = verdict.score_key.removeprefix("d" * 32) or None
    listed: Decision | None = verdict.listed  # type: ignore[assignment]
    return judge.decide(padded, foreign=foreign, degraded=fault, listed=listed).decision


async def all_changes(rehearsal: Rehearsal, plan: Plan, limit: int) -> list[Change]:
    found: list[Change] = []
    page, place = await rehearsal.changes(plan, limit=limit)
    found += page
    while place is not None:
        page, place = await rehearsal.changes(plan, after=place, limit=limit)
        found += page
    return found


async def test_both_databases_find_the_same(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Also of rows from before scores had a column, or had fewer of them, and of broken ones."""
    recorded = traffic(400, seed=7)
    recorded[50:90] = [older(each) for each in recorded[50:90]]
    recorded[90:120] = [
        msgspec.structs.replace(each, scores=(each.scores or b"")[: 4 * 14])
        for each in recorded[90:120]
    ]
    recorded[120] = msgspec.structs.replace(recorded[120], scores=b"123", record=b"no")
    plan, compared = Plan(STRICT), Plan(STRICT, LOOSE, Selection(owner="team", key_id="key_1"))
    found = []

    for kind in DATABASES:
        async with open_empty(kind, request, tmp_path) as database:
            await record(database, *recorded)
            rehearsal = Rehearsal(database, clock=ManualClock(NOW / 1000), rows=64)
            outcomes = [await rehearsal.run(each, examples=50) for each in (plan, compared)]
            found.append((outcomes, await all_changes(rehearsal, plan, 30)))

    assert found[0] == found[1]
    assert found[0][0][0].examined == 399
    assert found[0][0][0].unreadable == 1


@pytest.mark.parametrize("judge", [STRICT, LOOSE], ids=["strict", "loose"])
@pytest.mark.parametrize("against", [None, LOOSE, STRICT], ids=["recorded", "loose", "strict"])
async def test_a_dry_run_decides_what_the_judge_decides(
    database: Database, rehearsal: Rehearsal, judge: Judge, against: Judge | None
) -> None:
    recorded = traffic(120)
    recorded[100:] = [older(each) for each in recorded[100:]]
    await record(database, *recorded)

    outcome = await rehearsal.run(Plan(judge, against))

    moves = Counter(
        (decided(against, each) if against else each.decision, decided(judge, each))
        for each in recorded
    )
    assert {(move.before, move.after): move.count for move in outcome.moves} == moves
    assert (outcome.examined, outcome.unreadable, outcome.complete) == (120, 0, True)
    assert sum(each.stricter + each.looser for each in outcome.drivers) == outcome.changed


@pytest.mark.parametrize("limit", [1, 7, 50])
async def test_every_changed_verdict_is_on_exactly_one_page_newest_first(
    database: Database, rehearsal: Rehearsal, limit: int
) -> None:
    recorded = traffic(90)
    await record(database, *recorded)

    found = await all_changes(rehearsal, Plan(STRICT), limit)

    changed = [each for each in recorded if decided(STRICT, each) != each.decision]
    newest = sorted(changed, key=lambda each: (each.created_at, each.id), reverse=True)
    assert [each.verdict_id for each in found] == [each.id for each in newest]


async def test_examples_are_the_first_page_and_say_where_the_next_begins(
    database: Database, rehearsal: Rehearsal
) -> None:
    await record(database, *traffic(90))
    plan = Plan(STRICT)

    outcome = await rehearsal.run(plan, examples=5)
    following, _ = await rehearsal.changes(plan, after=outcome.next, limit=5)

    everything = await all_changes(rehearsal, plan, 200)
    assert [*outcome.examples, *following] == everything[:10]


async def test_an_example_says_what_it_was_and_what_it_would_be(
    database: Database, rehearsal: Rehearsal
) -> None:
    await record(database, verdict(1, scored(hate=0.15)))

    outcome = await rehearsal.run(Plan(STRICT))

    (change,) = outcome.examples
    assert (change.verdict_id, change.content_hash) == ("mod_000001", f"{1:064x}")
    assert (change.before, change.after, change.cause) == ("approved", "review", "hate")
    assert change.reason_after == "hate beyond the review threshold"
    assert change.risk_before < 0.2 <= change.risk_after
    assert outcome.next is None


async def test_what_drives_the_changes_is_counted(database: Database, rehearsal: Rehearsal) -> None:
    await record(
        database,
        verdict(1, scored(hate=0.15)),
        verdict(2, scored(hate=0.25, violence=0.1)),
        verdict(3, scored(hate=0.5), judge=STRICT),
        verdict(4, scored(violence=0.5)),
    )

    stricter = await rehearsal.run(Plan(STRICT))
    looser = await rehearsal.run(Plan(LOOSE))

    assert [(each.cause, each.stricter, each.looser) for each in stricter.drivers] == [
        ("hate", 1, 0)
    ]
    assert [(each.cause, each.stricter, each.looser) for each in looser.drivers] == [("hate", 0, 2)]


@pytest.mark.parametrize("against", [None, STRICT, LOOSE], ids=["recorded", "strict", "loose"])
async def test_examples_name_what_is_counted_as_driving_the_changes(
    database: Database, rehearsal: Rehearsal, against: Judge | None
) -> None:
    await record(database, *traffic(200))
    closed = Judge(Policy(on_provider_failure="closed", on_other_language="ignore"))
    plan = Plan(closed if against else LOOSE, against)

    outcome = await rehearsal.run(plan)

    stricter, looser = Counter[str](), Counter[str]()
    for change in await all_changes(rehearsal, plan, 50):
        falls = DECISIONS.index(change.after) < DECISIONS.index(change.before)
        (looser if falls else stricter)[change.cause] += 1
    assert stricter == {each.cause: each.stricter for each in outcome.drivers if each.stricter}
    assert looser == {each.cause: each.looser for each in outcome.drivers if each.looser}
    assert stricter or looser


async def test_a_looser_change_is_explained_by_what_led_to_the_old_decision(
    database: Database, rehearsal: Rehearsal
) -> None:
    await record(database, verdict(1, scored(hate=0.5, violence=0.19)))
    foreign = verdict(2, scored(violence=0.1), foreign=True)
    await record(database, foreign)
    lenient = Judge(Policy(thresholds=LOOSE.policy.thresholds, on_other_language="ignore"))

    outcome = await rehearsal.run(Plan(lenient))

    assert [change.cause for change in outcome.examples] == ["hate", "language"]


async def test_a_policy_for_failures_is_rehearsed_too(
    database: Database, rehearsal: Rehearsal
) -> None:
    await record(database, verdict(1, scored(hate=0.0), degraded="provider-timeout"))

    outcome = await rehearsal.run(Plan(Judge(Policy(on_provider_failure="closed"))))

    assert [(move.before, move.after) for move in outcome.moves] == [("review", "rejected")]
    assert outcome.drivers[0].cause == "provider failure"
    assert any("without the provider" in note for note in outcome.notes)


async def test_what_a_dry_run_cannot_know_is_said(database: Database, rehearsal: Rehearsal) -> None:
    await record(
        database,
        verdict(1, scored(), listed="rejected"),
        verdict(2, scored(), degraded="images-unavailable"),
        older(verdict(3, scored())),
        msgspec.structs.replace(verdict(4, scored()), scores=None, record=b"\xc1"),
        msgspec.structs.replace(verdict(5, scored()), scores=b"\xff\xff\xff\x7f" * 22),
        msgspec.structs.replace(verdict(6, scored()), decision="maybe"),
    )

    outcome = await rehearsal.run(Plan(Judge(Policy(stages=("prescreen",)))))

    told = " ".join(outcome.notes)
    for words in ("only prescreen would read", "1 verdicts met a list", "an image", "3 records"):
        assert words in told
    assert (outcome.examined, outcome.unreadable) == (3, 3)


async def test_scores_of_fewer_categories_are_padded_with_unknown(
    database: Database, rehearsal: Rehearsal
) -> None:
    short = msgspec.structs.replace(
        verdict(1, scored(hate=0.15)), scores=packed(scored(hate=0.15))[: 14 * 4]
    )
    await record(database, short)

    outcome = await rehearsal.run(Plan(STRICT))

    assert outcome.count(before="approved", after="review") == 1


async def test_a_selection_is_by_time_owner_and_key(
    database: Database, rehearsal: Rehearsal
) -> None:
    await record(
        database,
        verdict(10, scored(), owner="a", key_id="key_1"),
        verdict(20, scored(), owner="a", key_id="key_2"),
        verdict(30, scored(), owner="b", key_id="key_1"),
    )

    async def examined(**fields: object) -> int:
        selection = Selection(**fields)  # type: ignore[arg-type]
        return (await rehearsal.run(Plan(STRICT, None, selection))).examined

    assert await examined() == 3
    assert await examined(owner="a") == 2
    assert await examined(key_id="key_1") == 2
    assert await examined(owner="b", key_id="key_2") == 0
    assert await examined(since=NOW - 20 * 60_000) == 2
    assert await examined(until=NOW - 20 * 60_000) == 1


async def test_nothing_recorded_is_nothing_changed(rehearsal: Rehearsal) -> None:
    outcome = await rehearsal.run(Plan(STRICT))

    assert (outcome.examined, outcome.changed, outcome.oldest) == (0, 0, None)


async def test_writing_goes_on_while_a_dry_run_reads(
    database: Database, rehearsal: Rehearsal
) -> None:
    await record(database, *traffic(200))

    run = asyncio.ensure_future(rehearsal.run(Plan(STRICT)))
    for number in range(500, 520):
        await record(database, verdict(number, scored(hate=0.2), created_at=NOW + 60_000))

    assert (await run).examined == 200


@pytest.mark.parametrize("capacity", [0, 3, 20, 400])
async def test_suggested_thresholds_fit_the_capacity(
    database: Database, rehearsal: Rehearsal, capacity: float
) -> None:
    chance = random.Random(3)
    day = [
        verdict(number, scored(hate=round(chance.random(), 6), violence=round(chance.random(), 6)))
        for number in range(300)
    ]
    await record(database, *day, verdict(24 * 60, scored(hate=0.0)))
    judge = Judge(Policy())

    found = await suggest(rehearsal, judge, reviews_per_day=capacity, selection=Selection())

    assert found.after <= capacity
    assert found.before == pytest.approx(sum(each.decision == "review" for each in day), abs=1)
    suggested = Judge(found.policy)
    assert sum(decided(suggested, each) == "review" for each in day) <= capacity + 1
    assert all(
        (decided(suggested, each) == "rejected") == (decided(judge, each) == "rejected")
        for each in day
    )
    assert found.outcome.changed > 0


async def test_a_larger_capacity_never_raises_a_threshold(
    database: Database, rehearsal: Rehearsal
) -> None:
    await record(database, *traffic(300))

    levels = [
        (await suggest(rehearsal, STRICT, reviews_per_day=each, selection=Selection())).risk
        for each in (0, 10, 50, 100, 1000)
    ]

    assert all(higher >= lower for higher, lower in pairwise(levels))


async def test_reviews_that_no_threshold_changes_are_told_apart(
    database: Database, rehearsal: Rehearsal
) -> None:
    minutes = 24 * 60
    await record(
        database,
        *(verdict(number, scored(hate=0.0), foreign=True) for number in range(10)),
        verdict(minutes, scored(hate=0.5)),
    )

    found = await suggest(rehearsal, Judge(Policy()), reviews_per_day=5, selection=Selection())

    assert found.fixed == pytest.approx(10, abs=0.1)
    assert any("no review threshold changes" in note for note in found.notes)


async def test_what_is_never_reviewed_stays_so(database: Database, rehearsal: Rehearsal) -> None:
    await record(database, *(verdict(number, scored(spam=0.9)) for number in range(20)))

    found = await suggest(rehearsal, Judge(Policy()), reviews_per_day=1000, selection=Selection())

    assert found.policy.thresholds["spam"] == Threshold(review=None, flag=None, reject=None)


async def test_capacity_never_switches_a_category_off_that_is_never_rejected(
    database: Database, rehearsal: Rehearsal
) -> None:
    certain = [verdict(number, scored(profanity=1.0)) for number in range(10)]
    likely = [verdict(number, scored(profanity=0.95, hate=0.3)) for number in range(10, 30)]
    await record(database, *certain, *likely, verdict(24 * 60, scored(hate=0.0)))

    found = await suggest(rehearsal, Judge(Policy()), reviews_per_day=2, selection=Selection())

    profanity, hate = found.policy.thresholds["profanity"], found.policy.thresholds["hate"]
    assert (profanity.review, profanity.reject) == (1.0, None)
    assert (hate.review, hate.reject) == (0.8, 0.8)
    assert found.after == found.fixed == pytest.approx(10, abs=0.1)
    told = "\n".join(found.notes)
    assert "profanity is never rejected, and only a score of 1 would still be reviewed" in told
    assert "nobody would look at harassment, " in told
    assert "more than the capacity" in told


async def test_a_capacity_that_suffices_says_nothing_of_categories(
    database: Database, rehearsal: Rehearsal
) -> None:
    await record(database, *traffic(50))

    found = await suggest(rehearsal, Judge(Policy()), reviews_per_day=9999, selection=Selection())

    assert not [note for note in found.notes if "profanity" in note or "nobody would" in note]


async def test_without_anything_recorded_nothing_is_suggested(rehearsal: Rehearsal) -> None:
    with pytest.raises(Conflict, match="nothing to learn from"):
        await suggest(rehearsal, STRICT, reviews_per_day=10, selection=Selection())
