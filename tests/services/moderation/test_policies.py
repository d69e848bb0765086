from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from penstock.audit import AuditLog
from penstock.clock import ManualClock
from penstock.db import Database
from penstock.errors import Conflict, InvalidInput, NotFound
from penstock.hub import LocalHub
from penstock.services.moderation import policies as limits
from penstock.services.moderation.holdings import LOOK_SECONDS
from penstock.services.moderation.policies import Change, Policies
from penstock.services.moderation.policy import Judge, Policy, Threshold, read_policy
from tests.databases import DATABASES
from tests.services.conftest import open_empty

DEFAULT = Policy()


@dataclass
class Installation:
    """One data folder; `open` gives the policies of one more process."""

    folder: Path
    database: Database
    clock: ManualClock = field(default_factory=ManualClock)
    heard: list[Change] = field(default_factory=list)

    def open(self, base: Policy = DEFAULT, hub: LocalHub | None = None) -> Policies:
        return Policies(
            self.database,
            hub=hub or LocalHub(self.folder),
            clock=self.clock,
            audit=self.audit,
            base=base,
            on_change=self.heard.append,
        )

    @property
    def audit(self) -> AuditLog:
        return AuditLog(self.database, clock=self.clock)

    async def audited(self) -> list[tuple[str, str, str]]:
        entries = await self.audit.page()
        return [(entry.actor, entry.action, entry.subject) for entry in reversed(entries)]


@pytest.fixture(params=DATABASES)
async def installation(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Installation]:
    async with open_empty(request.param, request, tmp_path) as database:
        yield Installation(tmp_path, database)


@pytest.fixture
def policies(installation: Installation) -> Policies:
    return installation.open()


def forum(review: float, id: str = "forum") -> Policy:
    return Policy(id=id, thresholds={"hate": Threshold(review=review)})


def review_of(judge: Judge) -> float | None:
    return judge.policy.thresholds["hate"].review


async def test_the_policy_of_the_settings_holds_until_another_is_activated(
    installation: Installation,
) -> None:
    policies = installation.open(forum(0.3))

    assert review_of(await policies.fetch(None)) == 0.3
    assert review_of(await policies.fetch("key_1")) == 0.3
    assert (await policies.standing("forum")).active == 0


async def test_a_draft_holds_for_nobody(policies: Policies) -> None:
    made = await policies.draft(forum(0.4, "default"), actor="key_1", note="stricter")

    assert (made.number, made.note, made.created_by) == (1, "stricter", "key_1")
    assert (await policies.standing("default")).active == 0
    assert (await policies.fetch(None)).version != made.version


async def test_an_activated_revision_holds_at_once_in_every_process(
    installation: Installation, policies: Policies
) -> None:
    other = installation.open()
    await other.fetch(None)
    await policies.draft(forum(0.4, "default"), actor="key_1")

    standing = await policies.activate("default", 1, actor="key_1")

    assert standing.active == 1
    assert review_of(await policies.fetch(None)) == review_of(await other.fetch("any key")) == 0.4


async def test_a_draft_that_says_what_the_latest_says_is_that_revision(
    installation: Installation, policies: Policies
) -> None:
    first = await policies.draft(forum(0.4), actor="key_1")
    again = await policies.draft(forum(0.4), actor="key_2", note="the same")
    same_as_settings = await policies.draft(Policy(), actor="key_1")

    assert again == first
    assert same_as_settings.number == 0
    assert len(await installation.audited()) == 1


async def test_a_revision_names_every_category_so_that_it_always_says_the_same(
    policies: Policies,
) -> None:
    made = await policies.draft(forum(0.4), actor="key_1")

    stored = msgspec.json.decode(made.document, type=Policy)
    assert stored.thresholds["violence"] == Threshold()
    assert Judge(stored).version == Judge(forum(0.4)).version == made.version


async def test_drafts_of_several_at_once_are_all_kept(policies: Policies) -> None:
    made = await asyncio.gather(
        *(policies.draft(forum(number / 10), actor="key_1") for number in range(1, 4))
    )

    assert sorted(each.number for each in made) == [1, 2, 3]


async def test_rolling_back_goes_back_step_by_step(policies: Policies) -> None:
    for number in (1, 2):
        await policies.draft(forum(number / 10, "default"), actor="a")
    for number in (1, 2, 1):
        await policies.activate("default", number, actor="a")

    steps = [(await policies.roll_back("default", actor="a")).active for _ in range(3)]

    assert steps == [2, 1, 0]
    assert (await policies.fetch(None)).version == Judge(Policy()).version
    with pytest.raises(Conflict, match="no other revision"):
        await policies.roll_back("default", actor="a")


async def test_after_a_roll_back_the_next_activation_can_be_taken_back_too(
    policies: Policies,
) -> None:
    for number in (1, 2):
        await policies.draft(forum(number / 10, "default"), actor="a")
        await policies.activate("default", number, actor="a")
    await policies.roll_back("default", actor="a")
    await policies.activate("default", 2, actor="a")

    standing = await policies.roll_back("default", actor="a")

    assert standing.active == 1


async def test_of_two_who_activate_at_once_one_is_refused(
    installation: Installation, policies: Policies
) -> None:
    other = installation.open()
    for number in (1, 2):
        await policies.draft(forum(number / 10, "default"), actor="a")

    outcomes = await asyncio.gather(
        policies.activate("default", 1, actor="a", expected=0),
        other.activate("default", 2, actor="b", expected=0),
        return_exceptions=True,
    )

    refused = [each for each in outcomes if isinstance(each, Conflict)]
    assert len(refused) == 1
    held = (await policies.standing("default")).active
    assert refused[0].fields == {"active": held}
    activations = [each for each in await installation.audited() if "activated" in each[1]]
    assert len(activations) == 1


async def test_who_takes_another_revision_for_active_is_told_which_one_is(
    policies: Policies,
) -> None:
    await policies.draft(forum(0.1, "default"), actor="a")
    await policies.activate("default", 1, actor="a", expected=0)

    with pytest.raises(Conflict, match="revision 1 is active now"):
        await policies.roll_back("default", actor="b", expected=0)


async def test_activating_what_holds_changes_nothing(
    installation: Installation, policies: Policies
) -> None:
    await policies.draft(forum(0.1, "default"), actor="a")
    await policies.activate("default", 1, actor="a")

    await policies.activate("default", 1, actor="b", expected=1)

    assert len(await installation.audited()) == 2


async def test_a_key_can_have_a_policy_of_its_own(
    installation: Installation, policies: Policies
) -> None:
    other = installation.open()
    await policies.draft(forum(0.1), actor="a")
    await policies.activate("forum", 1, actor="a")

    await policies.assign("forum", "key_1", actor="a")

    assert review_of(await other.fetch("key_1")) == 0.1
    assert (await other.fetch("key_2")).policy.id == "default"
    assert await policies.keys("forum") == ["key_1"]
    assert await policies.is_own("forum", "key_1")
    assert not await policies.is_own("forum", "key_2")
    await policies.unassign("forum", "key_1", actor="a")
    assert (await other.fetch("key_1")).policy.id == "default"


async def test_a_policy_of_which_nothing_holds_is_given_to_nobody(policies: Policies) -> None:
    await policies.draft(forum(0.1), actor="a")

    with pytest.raises(Conflict, match="no revision of the policy 'forum' was activated"):
        await policies.assign("forum", "key_1", actor="a")


async def test_only_the_policy_that_a_key_has_can_be_taken_from_it(policies: Policies) -> None:
    await policies.assign("default", "key_1", actor="a")
    await policies.draft(forum(0.1), actor="a")

    with pytest.raises(NotFound, match="does not have the policy"):
        await policies.unassign("forum", "key_1", actor="a")


async def test_what_does_not_exist_is_not_found(policies: Policies) -> None:
    await policies.draft(forum(0.1), actor="a")

    with pytest.raises(NotFound, match="no policy 'none'"):
        await policies.standing("none")
    with pytest.raises(NotFound, match="no revision 7"):
        await policies.activate("forum", 7, actor="a")
    with pytest.raises(NotFound, match="no revision 0"):
        await policies.activate("forum", 0, actor="a")


async def test_a_number_that_no_column_holds_is_one_that_there_is_not(policies: Policies) -> None:
    made = await policies.draft(forum(0.1), actor="a")

    assert await policies.revisions("forum", before=1 << 80) == [made]
    with pytest.raises(NotFound, match="no revision"):
        await policies.revision("forum", 1 << 53)


async def test_who_asks_while_a_change_is_read_waits_for_it(
    installation: Installation, policies: Policies
) -> None:
    other = installation.open()
    await policies.fetch(None)
    await other.draft(forum(0.1, "default"), actor="a")
    await other.activate("default", 1, actor="a")

    assert policies.peek(None) is None
    found = await asyncio.gather(*(policies.fetch(f"key_{number}") for number in range(20)))

    assert {review_of(judge) for judge in found} == {0.1}
    assert policies.peek(None) is policies.of("key_1") is found[0]


async def test_what_a_key_is_given_again_is_seen_also_without_being_told(
    installation: Installation, policies: Policies
) -> None:
    """Neither the number of keys nor of policies differs then."""
    deaf = installation.open(hub=LocalHub())
    for name, review in (("forum", 0.1), ("chat", 0.2)):
        await policies.draft(forum(review, name), actor="a")
        await policies.activate(name, 1, actor="a")
    await policies.assign("forum", "key_1", actor="a")
    before = await deaf.fetch("key_1")
    installation.clock.advance(0.5)
    await policies.assign("chat", "key_1", actor="a")

    installation.clock.advance(LOOK_SECONDS)

    assert (review_of(before), review_of(await deaf.fetch("key_1"))) == (0.1, 0.2)


async def test_every_change_is_audited_and_told(
    installation: Installation, policies: Policies
) -> None:
    await policies.draft(forum(0.1), actor="a")
    await policies.activate("forum", 1, actor="b")
    await policies.draft(forum(0.2), actor="a")
    await policies.activate("forum", 2, actor="b")
    await policies.assign("forum", "key_1", actor="c")
    await policies.unassign("forum", "key_1", actor="c")
    await policies.roll_back("forum", actor="d")

    actions = ["drafted", "activated", "drafted", "activated", "assigned", "unassigned"]
    actions.append("rolled_back")
    assert [action for _, action, _ in await installation.audited()] == [
        f"policy.{action}" for action in actions
    ]
    assert [change.action for change in installation.heard] == actions
    last = installation.heard[-1]
    assert (last.actor, last.revision, last.previous) == ("d", 1, 2)


async def test_a_judge_that_still_holds_is_kept_with_what_it_remembers(
    policies: Policies,
) -> None:
    await policies.draft(forum(0.1), actor="a")
    await policies.activate("forum", 1, actor="a")
    await policies.assign("forum", "key_1", actor="a")
    before = await policies.fetch("key_1")

    await policies.assign("forum", "key_2", actor="a")

    assert await policies.fetch("key_1") is await policies.fetch("key_2") is before


async def test_what_the_hub_did_not_tell_is_seen_a_little_later(
    installation: Installation, policies: Policies
) -> None:
    deaf = installation.open(hub=LocalHub())
    await deaf.fetch(None)
    await policies.draft(forum(0.1, "default"), actor="a")
    await policies.activate("default", 1, actor="a")

    unseen = await deaf.fetch(None)
    installation.clock.advance(LOOK_SECONDS)

    assert unseen.version == Judge(Policy()).version
    assert review_of(await deaf.fetch(None)) == 0.1


async def test_while_storage_fails_what_is_known_holds(
    installation: Installation, policies: Policies, caplog: pytest.LogCaptureFixture
) -> None:
    await policies.draft(forum(0.1, "default"), actor="a")
    await policies.activate("default", 1, actor="a")
    known = await policies.fetch(None)
    await installation.database.aclose()

    LocalHub(installation.folder).bump("moderation_policies")

    assert [await policies.fetch(None) for _ in range(3)] == [known] * 3
    installation.clock.advance(60)
    assert await policies.fetch("key_1") is known
    told = [each for each in caplog.records if "policies_unreadable" in each.getMessage()]
    assert len(told) == 1


async def test_a_revision_of_another_version_leaves_what_held(
    installation: Installation, policies: Policies
) -> None:
    await policies.draft(forum(0.1, "default"), actor="a")
    await policies.activate("default", 1, actor="a")
    unreadable = b'{"moods": 3}'
    await installation.database.write(
        ("UPDATE moderation_policies SET document = ?", (unreadable,))
    )

    fresh = installation.open()

    assert (await fresh.fetch(None)).version == Judge(Policy()).version
    with pytest.raises(Conflict, match="another version"):
        await fresh.judge("default", 1)


@pytest.mark.parametrize("id", ["", "a b", "-x", "x" * 65, "a/b", "ü"])
async def test_an_id_that_is_no_name_is_refused(policies: Policies, id: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await policies.draft(forum(0.1, id), actor="a")

    assert caught.value.fields["errors"][0]["pointer"] == "/policy/id"  # type: ignore[index]


async def test_the_number_of_policies_and_revisions_is_bounded(
    policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_POLICIES", 1)
    monkeypatch.setattr(limits, "MAX_REVISIONS", 1)
    await policies.draft(forum(0.1), actor="a")

    with pytest.raises(Conflict, match="that is the most"):
        await policies.draft(forum(0.2), actor="a")
    with pytest.raises(Conflict, match="that is the most"):
        await policies.draft(forum(0.2, "other"), actor="a")


HATE = {"thresholds": {"hate": {}}}


@pytest.mark.parametrize(
    ("document", "pointer", "told"),
    [
        (3, "", "a policy is an object"),
        ({"thresholds": {"hatred": {}}}, "/thresholds/hatred", "no category is called"),
        ({"thresholds": {"self-harm/intent": 3}}, "/thresholds/self-harm~1intent", "Expected"),
        ({"thresholds": {"hate": {"review": 2}}}, "/thresholds/hate/review", "<= 1.0"),
        ({"thresholds": {"hate": {"reviw": 0.1}}}, "/thresholds/hate", "reviw"),
        ({"thresholds": {"hate": 3}}, "/thresholds/hate", "Expected `object`"),
        ({"thresholds": {"hate": {"review": 1, "reject": 0}}}, "/thresholds/hate/review", "lower"),
        ({"thresholds": {"hate": {"flag": float("nan")}}}, "/thresholds/hate/flag", "float"),
        ({"thresholds": []}, "/thresholds", "Expected `object`"),
        ({"thresholds": {}}, "/thresholds", "names no category"),
        ({}, "/thresholds", "names no category"),
        ({**HATE, "stages": ["oracle"]}, "/stages/0", "oracle"),
        ({**HATE, "stages": []}, "/stages", "no stage reads"),
        ({**HATE, "stages": ["local", "local"]}, "/stages", "names a stage twice"),
        ({**HATE, "stages": ["local"] * 4}, "/stages", "length <= 3"),
        ({**HATE, "lifetimes": {"approved": -1}}, "/lifetimes/approved", ""),
        ({**HATE, "lifetimes": {"rejected": 0.5}}, "/lifetimes/rejected", ">= 1"),
        ({"thresholds": {f"{number}": {} for number in range(99_999)}}, "", "larger than any"),
        ({**HATE, "stages": ["local"] * 99_999}, "", "larger than any"),
        ({**HATE, "id": "x" * 99_999}, "", "larger than any"),
        ({**HATE, "lifetimes": [[[{"x": "y" * 99_999}]]]}, "", "larger than any"),
        ({**HATE, "review": {"sla_seconds": float("inf")}}, "/review/sla_seconds", "<="),
        ({**HATE, "colour": "red"}, "", "colour"),
    ],
)  # fmt: skip
def test_a_document_that_is_no_policy_is_refused_with_the_place(
    document: object, pointer: str, told: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_policy(document, pointer="/policy")

    error = caught.value.fields["errors"][0]  # type: ignore[index]
    assert error["pointer"] == "/policy" + pointer
    assert told in error["detail"]


def test_what_is_told_of_a_document_is_short() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_policy({"thresholds": {"hate": {"x" * 9_999: 1}}, "on_provider_failure": "y" * 5_000})

    assert len(str(caught.value.fields)) < 2_000


def test_all_faults_of_a_document_are_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_policy({"thresholds": {"hate": {"review": 2}, "spam": {"flag": "x"}}, "stages": 3})

    places = [error["pointer"] for error in caught.value.fields["errors"]]  # type: ignore[attr-defined]
    assert sorted(places) == ["/stages", "/thresholds/hate/review", "/thresholds/spam/flag"]
