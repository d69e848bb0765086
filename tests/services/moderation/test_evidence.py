"""What is decided about items whose parts are known, missing, listed or decided by people."""

from __future__ import annotations

import hashlib

import pytest

from penstock.lists import Lists
from penstock.runtime import Runtime, open_runtime
from penstock.services.moderation.policy import Policy, Threshold
from penstock.services.review.schemas import Filter, Reviewer
from penstock.settings import Settings
from tests.images.made import data_url, encoded, photo, plain

TEXT = "You are a pathetic worthless idiot, mail bob@example.com or anna@example.com."
THREAT = "I will murder you tonight."
ADMIN = Reviewer("key_of_an_admin")


async def allow(lists: Lists, value: str, *, kind: str = "phrase", key: str | None = None) -> None:
    found = await lists.create(f"allowed {value[:20]}", kind="allow", key_id=key, actor="test")
    await lists.add(found.id, [(kind, value, "")], actor="test")


async def only(runtime: Runtime, key: str, *stages: str) -> None:
    """Give a key a policy with these stages."""
    policy = Policy(id="-".join(stages), stages=stages, thresholds={"hate": Threshold()})
    revision = await runtime.policies.draft(policy, actor="test")
    await runtime.policies.activate(policy.id, revision.number, actor="test")
    await runtime.policies.assign(policy.id, key, actor="test")


async def test_a_key_whose_rules_are_exempted_leaves_nothing_in_the_cache_of_others(
    runtime: Runtime,
):
    await only(runtime, "key_b", "prescreen")
    await allow(runtime.lists, "[a-z]+@example.com", kind="regex", key="key_b")

    await runtime.moderation.moderate(TEXT, owner="b", key="key_b")
    verdict = await runtime.moderation.moderate(TEXT, owner="a", key="key_a")

    assert verdict.decision == "rejected"


async def test_what_no_stage_can_read_is_left_to_a_human(runtime: Runtime):
    await only(runtime, "key_b", "provider")

    verdict = await runtime.moderation.moderate(THREAT, owner="b", key="key_b")

    assert verdict.decision == "review"
    assert verdict.degraded
    assert verdict.degraded.code == "not-judged"


async def test_an_exemption_among_many_findings_hides_no_other(runtime: Runtime):
    await allow(runtime.lists, "bob@example.com")
    mails = "Thank you, the notes are with anna{}@gmail.com and we look forward to it. "
    text = "Mail bob@example.com too. " + "".join(map(mails.format, range(70))) + "child porn"

    verdict = await runtime.moderation.moderate(text, owner="a")

    assert verdict.decision == "rejected"


async def test_an_allowed_phrase_does_not_count_and_the_rest_does(runtime: Runtime):
    await allow(runtime.lists, "kill you")
    alone = await runtime.moderation.moderate("Kill you!", owner="a")

    more = await runtime.moderation.moderate("Kill you! child porn", owner="a")

    assert alone.judgement.findings == ()
    assert more.decision == "rejected"


async def decide(runtime: Runtime, verdict_id: str, decision: str, key: str) -> None:
    """What people decide about exactly that content."""
    found = await runtime.moderation.find(verdict_id, owner=None)
    await runtime.lists.decide(
        found.content_hash, decision=decision, key_ids=[key], actor="test", note="case"
    )


async def test_a_decision_on_a_text_of_hashes_says_nothing_of_the_item_they_name(
    runtime: Runtime,
):
    data = encoded(plain(), "PNG")
    image = data_url(data)
    text = "".join(hashlib.sha256(part).hexdigest() for part in (THREAT.encode(), data))

    gibberish = await runtime.moderation.moderate(text, owner="a", key="k")
    await decide(runtime, gibberish.id, "approved", "k")
    again = await runtime.moderation.moderate(THREAT, owner="a", key="k", images=[image])

    assert again.decision == "rejected"


async def test_people_decide_about_a_text_and_its_image_as_one(runtime: Runtime):
    image = data_url(encoded(plain(), "PNG"))
    first = await runtime.moderation.moderate("Look.", owner="a", key="k", images=[image])
    await decide(runtime, first.id, "approved", "k")

    together = await runtime.moderation.moderate("Look.", owner="a", key="k", images=[image])
    apart = await runtime.moderation.moderate("", owner="a", key="k", images=[image])

    assert (first.decision, together.decision, apart.decision) == ("review", "approved", "review")


async def test_an_image_nobody_could_fetch_is_never_approved_by_its_address(
    settings: Settings,
):
    url = "http://127.0.0.1:9/cat.png"
    allowed = settings.model_copy(update={"allow_private": ("127.0.0.1:9",)})
    async with open_runtime(allowed) as runtime:
        words = await runtime.moderation.moderate(url, owner="a", key="k")
        await decide(runtime, words.id, "approved", "k")

        image = await runtime.moderation.moderate("", owner="a", key="k", images=[url])

    assert image.decision == "review"
    assert image.degraded
    assert image.degraded.code == "image-unreachable"


async def test_a_new_image_hash_acts_on_the_next_image_in_another_process(settings: Settings):
    image = data_url(encoded(photo(), "PNG"))
    async with open_runtime(settings) as one, open_runtime(settings, workers=0) as other:
        before = await one.moderation.moderate("", owner="a", images=[image])
        blocked = await other.lists.create("bad pictures", kind="block", actor="test")
        row = await one.moderation.find(before.id, owner=None)
        await other.lists.add(blocked.id, [("sha256", row.content_hash, "")], actor="test")

        after = await one.moderation.moderate("", owner="a", images=[image])

    assert (before.decision, after.decision) == ("review", "rejected")


async def test_a_verdict_names_the_entries_that_were_found(client, runtime: Runtime):
    blocked = await runtime.lists.create("slurs", kind="block", actor="test")
    await runtime.lists.add(blocked.id, [("phrase", "gadzooks", "")], actor="test")

    reply = await client.post("/v1/moderations", json={"input": "Oh gadzooks, no."})

    listed = reply.json()["results"][0]["penstock"]["listed"]
    (hit,) = listed["hits"]
    assert listed["decision"] == "rejected"
    assert (hit["list_id"], hit["list_name"]) == (blocked.id, "slurs")
    assert (hit["start"], hit["end"]) == (3, 11)


@pytest.mark.parametrize("again", ["same key", "another key"])
async def test_every_review_has_a_live_case(runtime: Runtime, again: str):
    text = "Сегодня прекрасная погода, и мы с друзьями идём гулять в парк."
    first = await runtime.moderation.moderate(text, owner="a", key="k1")
    (case,) = (await runtime.review.page(Filter(), who=ADMIN)).cases
    await runtime.review.claim(case.id, who=ADMIN)
    await runtime.review.decide(case.id, "rejected", who=ADMIN)

    key = "k1" if again == "same key" else "k2"
    second = await runtime.moderation.moderate(text, owner="a", key=key)

    live = (await runtime.review.page(Filter(), who=ADMIN)).cases
    assert first.decision == "review"
    assert len(live) == (1 if second.decision == "review" else 0)
