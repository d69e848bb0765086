from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from PIL import Image

from penstock.audit import AuditLog
from penstock.cache import Cache, MemoryStore
from penstock.clock import SystemClock
from penstock.db.engine import open_database
from penstock.errors import InvalidInput, NotFound, ProviderUnavailable
from penstock.hub import LocalHub
from penstock.lists.lists import Lists
from penstock.net.dial import Dialler
from penstock.net.guard import Guard
from penstock.observe.metrics import Metrics
from penstock.pipeline import Pipeline
from penstock.providers.provider import CATEGORIES, Finding, Scores
from penstock.services.moderation.evidence import Evidence
from penstock.services.moderation.excerpt import ExcerptRule
from penstock.services.moderation.looking import Looker
from penstock.services.moderation.policies import Policies
from penstock.services.moderation.policy import Policy, Threshold
from penstock.services.moderation.reading import Reader
from penstock.services.moderation.referral import Referral
from penstock.services.moderation.rules import Rules
from penstock.services.moderation.service import ModerationService
from penstock.services.moderation.store import VerdictStore
from penstock.usage import Usage
from penstock.words.lexicon import Lexicon, Term
from penstock.words.prescreen import Prescreen
from tests.fakes import FakeProvider

TERMS = [
    Term("gadzooks", "profanity", 0.3, "profanity.001"),
    Term("begone foul thing", "harassment", 1.0, "harassment.001"),
]
CLEAN = Scores({"hate": 0.01, "harassment": 0.02})
Make = Callable[..., ModerationService]


class Desk:
    """Where people find what is referred to them."""

    def __init__(self) -> None:
        self.referrals: list[Referral] = []

    async def refer(self, referral: Referral) -> None:
        self.referrals.append(referral)


def picture(colour: str) -> str:
    """A small image as a data URL."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def make(tmp_path: Path, desk: Desk) -> AsyncIterator[Make]:
    """Services that share one cache and one database; `local` and `provider` are scripted."""
    clock, metrics, hub = SystemClock(), Metrics(), LocalHub()
    async with AsyncExitStack() as stack:
        stack.callback(hub.close)
        database = open_database(folder=tmp_path, metrics=metrics)
        stack.push_async_callback(database.aclose)
        cache = Cache([MemoryStore()], hub=hub, clock=clock, metrics=metrics, max_ttl=1e9)
        stack.push_async_callback(cache.aclose)
        audit = AuditLog(database, clock=clock)
        lists = Lists(database, hub=hub, clock=clock, audit=audit, metrics=metrics)

        def build(
            local: FakeProvider | None = None,
            provider: FakeProvider | None = None,
            policy: Policy | None = None,
            *,
            store_text: bool = False,
            excerpt_rule: ExcerptRule | None = None,
        ) -> ModerationService:
            pipeline = Pipeline(cache=cache, metrics=metrics, clock=clock)
            reader = Reader(
                rules=Rules(Prescreen(Lexicon.from_terms(TERMS))),
                local=local or FakeProvider(CLEAN),
                provider=provider,
                metrics=metrics,
            )
            looker = Looker(
                pipeline=pipeline, dialler=Dialler(Guard()), provider=None, metrics=metrics
            )
            usage = Usage(database, clock=clock)
            return ModerationService(
                reader=reader,
                evidence=Evidence(
                    pipeline=pipeline,
                    reader=reader,
                    looker=looker,
                    lists=lists,
                    metrics=metrics,
                    usage=usage,
                ),
                policies=Policies(
                    database, hub=hub, clock=clock, audit=audit, base=policy or Policy()
                ),
                store=VerdictStore(database, hub=hub),
                referrals=desk,
                usage=usage,
                metrics=metrics,
                clock=clock,
                excerpt_rule=excerpt_rule or ExcerptRule(),
                store_text=store_text,
            )

        yield build


async def test_the_same_text_is_computed_once(make: Make):
    local = FakeProvider(CLEAN)
    service = make(local)

    first = await service.moderate("Good morning.", owner="team")
    second = await service.moderate("Good morning.", owner="team")

    assert local.texts == ["Good morning."]
    assert (first.receipt.source, second.receipt.source) == ("local", "memory")
    assert first.id == second.id


async def test_many_who_ask_at_once_share_one_computation(make: Make):
    provider = FakeProvider(CLEAN)
    service = make(provider=provider)

    verdicts = await asyncio.gather(
        *(service.moderate("Hello there.", owner=f"team{n}") for n in range(50))
    )

    assert len(provider.texts) == 1
    assert {verdict.decision for verdict in verdicts} == {"approved"}


async def test_another_policy_decides_anew_without_a_model_call(make: Make):
    local = FakeProvider(Scores({"hate": 0.5}))
    strict = Policy(thresholds={"hate": Threshold(review=0.1, reject=0.4)})

    before = await make(local).moderate("A doubtful text.", owner="team")
    after = await make(local, policy=strict).moderate("A doubtful text.", owner="team")

    assert (before.decision, after.decision) == ("review", "rejected")
    assert len(local.texts) == 1
    assert before.id != after.id


async def test_a_certain_finding_needs_no_model(make: Make):
    local, provider = FakeProvider(CLEAN), FakeProvider(CLEAN)
    service = make(local, provider)

    verdict = await service.moderate("I say: begone foul thing!", owner="team")

    assert verdict.decision == "rejected"
    assert verdict.receipt.source == "prescreen"
    assert local.texts == provider.texts == []


async def test_a_span_says_where_and_why_without_the_words(make: Make):
    verdict = await make().moderate("Well, gadzooks!", owner="team")

    (found,) = verdict.judgement.findings
    assert (found.start, found.end) == (6, 14)
    assert (found.category, found.stage, found.rule) == ("profanity", "prescreen", "profanity.001")


async def test_a_failing_provider_is_reported_and_not_remembered(make: Make):
    provider = FakeProvider(ProviderUnavailable(), CLEAN)
    service = make(provider=provider)

    during = await service.moderate("Good evening.", owner="team")
    after = await service.moderate("Good evening.", owner="team")

    assert during.decision == "review"
    assert during.degraded
    assert during.degraded.code == "provider-unavailable"
    assert after.decision == "approved"
    assert after.receipt.source == "provider"
    assert after.degraded is None


async def test_a_provider_has_the_last_word_over_the_local_model(make: Make):
    local, provider = FakeProvider(Scores({"hate": 0.9})), FakeProvider(Scores({"hate": 0.1}))

    verdict = await make(local, provider).moderate("A quoted insult.", owner="team")

    assert verdict.decision == "approved"


async def test_what_the_provider_does_not_judge_keeps_the_local_score(make: Make):
    local, provider = FakeProvider(Scores({"profanity": 0.4})), FakeProvider(Scores({"hate": 0.1}))

    verdict = await make(local, provider).moderate("Some text.", owner="team")

    scores = dict(zip(CATEGORIES, verdict.judgement.scores, strict=True))
    assert (scores["profanity"], scores["hate"], scores["sexual"]) == (0.4, 0.1, None)


async def test_a_hit_says_what_it_saved(make: Make):
    paid = Scores({"hate": 0.1}, tokens_in=90, tokens_out=10, cost_micros=42)
    service = make(provider=FakeProvider(paid))

    first = await service.moderate("Hello.", owner="team")
    second = await service.moderate("Hello.", owner="team")

    assert (first.receipt.cost.spent_micros, first.receipt.tokens.in_) == (42, 90)
    assert (second.receipt.cost.saved_micros, second.receipt.tokens.saved) == (42, 100)


async def test_a_long_text_is_sent_in_part_and_the_part_is_told(make: Make):
    provider = FakeProvider(CLEAN)
    service = make(provider=provider, excerpt_rule=ExcerptRule(max_words=100))

    verdict = await service.moderate("word " * 1000, owner="team")

    assert 50 <= len(provider.texts[0].split()) <= 150
    assert verdict.judgement.excerpt_share == pytest.approx(0.1, abs=0.05)


async def test_another_excerpt_is_another_question(make: Make):
    provider = FakeProvider(CLEAN)
    service = make(provider=provider)

    await service.moderate("Some words.", owner="team")
    await service.moderate("Some words.", owner="team", excerpt_rule=ExcerptRule(max_words=1))

    assert len(provider.texts) == 2


async def test_images_are_never_passed_silently(make: Make):
    verdict = await make().moderate("Nice.", owner="team", images=(picture("red"),))

    assert verdict.decision == "review"
    assert verdict.degraded
    assert verdict.degraded.code == "images-unavailable"


async def test_two_images_are_two_questions(make: Make):
    service = make()

    one = await service.moderate("", owner="team", images=(picture("red"),))
    other = await service.moderate("", owner="team", images=(picture("blue"),))

    assert one.id != other.id


async def test_texts_keep_their_order_and_equal_ones_are_computed_once(make: Make):
    local = FakeProvider(CLEAN)

    verdicts = await make(local).moderate_many(["one", "two", "one"], owner="team")

    assert sorted(local.texts) == ["one", "two"]
    assert verdicts[0].id == verdicts[2].id != verdicts[1].id


async def test_a_verdict_is_found_by_its_owner_only(make: Make):
    service = make()
    verdict = await service.moderate("Hello.", owner="team")

    assert (await service.find(verdict.id, owner="team")).decision == "approved"
    with pytest.raises(NotFound):
        await service.find(verdict.id, owner="others")


@pytest.mark.parametrize("kept", [True, False])
async def test_text_is_kept_only_when_asked(make: Make, kept: bool):
    service = make(store_text=kept)
    verdict = await service.moderate("A private message.", owner="team")

    record = await service.find(verdict.id, owner="team")

    assert record.content == ("A private message." if kept else None)


async def test_findings_are_bounded(make: Make):
    spans = tuple(Finding("hate", 0.5, at, at + 1, "r", "local") for at in range(500))

    verdict = await make(FakeProvider(Scores({"hate": 0.5}, spans))).moderate("x" * 600, owner="t")

    assert len(verdict.judgement.findings) == 64


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("a\x00b", "U\\+0000 at character 1"),
        ("ab\ud800", "surrogate pair at character 2"),
    ],
)
async def test_what_is_no_text_is_refused_with_its_place(make: Make, text: str, told: str):
    with pytest.raises(InvalidInput, match=told):
        await make().moderate(text, owner="team")


async def test_warming_makes_the_first_request_a_hit(make: Make):
    service = make()

    warmth = await service.warm(["Hello.", "Goodbye.", "Hello."], owner="team")
    verdict = await service.moderate("Hello.", owner="team")

    assert warmth == (2, 0, 0)
    assert verdict.receipt.source == "memory"
