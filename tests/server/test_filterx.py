from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.rigs.upstream import failing
from penstock.errors import StorageUnavailable
from penstock.services.moderation import filtering
from tests.server.asking import assert_problem
from tests.server.conftest import SHARED, App, Start

PHONE, EMAIL = "ring 212-555-0134", "write to john.doe@example.com"
ABUSE = "you are a fucking idiot"
FLAGS = {
    "allowAbuse": (ABUSE, "abusive_language"),
    "allowPhone": (PHONE, "phone_number"),
    "allowEmail": (EMAIL, "email_address"),
    "allowPhysicalInformation": ("find it at 10 Downing Street", "physical_address"),
    "allowSocialInformation": ("see https://instagram.com/johnny.doe", "social_media_link"),
}
PAIRS = [(one, other) for one in FLAGS for other in FLAGS if one != other]
PASSED = {"blocked": False, "flags": [], "reason": "Content passed all moderation checks"}


async def filtered(client: httpx.AsyncClient, path: str = "/v1/filter", **body: Any) -> Any:
    reply = await client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


@SHARED
async def test_a_text_with_a_phone_number_and_an_address_is_blocked_and_masked(shared: App):
    text = "Hey, call me at 212-555-0134 or email john@test.com"

    answer = await filtered(shared.client, text=text, config={"returnFilteredMessage": True})

    assert answer == {
        "blocked": True,
        "flags": ["phone_number", "email_address"],
        "reason": "Contains phone number and email address",
        "filteredMessage": "Hey, call me at ************ or email *************",
    }


@SHARED
async def test_clean_text_passes_without_a_filtered_message_unless_asked(shared: App):
    text = "The weather is lovely in the mountains today."

    plain = await filtered(shared.client, text=text)
    asked = await filtered(shared.client, text=text, config={"returnFilteredMessage": True})

    assert plain == PASSED
    assert asked == {**PASSED, "filteredMessage": text}


@pytest.mark.parametrize(("one", "other"), PAIRS)
@SHARED
async def test_one_allowed_flag_lets_no_other_through(shared: App, one: str, other: str):
    """O-06, over HTTP, with scores that are cached across configurations."""
    text = f"{FLAGS[one][0]}, {FLAGS[other][0]}"

    answer = await filtered(shared.client, text=text, config={one: True})
    both = await filtered(shared.client, text=text, config={one: True, other: True})

    assert (answer["blocked"], answer["flags"]) == (True, [FLAGS[other][1]])
    assert (both["blocked"], both["flags"]) == (False, [])


@pytest.mark.parametrize(
    ("value", "blocked"),
    [
        *((True, False), ("true", False), (1, False), ("1", False)),
        *((False, True), ("false", True), (0, True), ("yes", True), (None, True), ("", True)),
    ],
)
@SHARED
async def test_a_flag_is_set_by_what_sets_it_in_filterx(shared: App, value: Any, blocked: bool):
    answer = await filtered(shared.client, text=EMAIL, config={"allowEmail": value})

    assert answer["blocked"] is blocked


@pytest.mark.parametrize("config", [None, {}, {"allowEverything": True}])
@SHARED
async def test_without_flags_everything_is_forbidden(shared: App, config: Any):
    answer = await filtered(shared.client, text=EMAIL, config=config, unknown=1)

    assert answer["flags"] == ["email_address"]


@pytest.mark.parametrize("text", ["fuck", "a@b.com", "2125550134"])
@SHARED
async def test_short_texts_are_read_too(shared: App, text: str):
    assert (await filtered(shared.client, text=text))["blocked"]


@pytest.mark.parametrize("old", [["call me on", "212 555"], [{"text": "call me on 212 555"}]])
@SHARED
async def test_a_number_split_over_messages_is_found(shared: App, old: list[Any]):
    answer = await filtered(shared.client, text="0134", oldMessages=old)

    assert "phone_number" in answer["flags"]


@SHARED
async def test_a_long_text_is_masked_to_its_end(shared: App):
    text = f"{'The committee met on Tuesday. ' * 600}ring 212-555-0134"

    answer = await filtered(shared.client, text=text, config={"returnFilteredMessage": True})

    assert answer["flags"] == ["phone_number"]
    assert answer["filteredMessage"] == f"{text[:-12]}************"


@SHARED
async def test_more_old_messages_than_are_read_are_taken(shared: App):
    answer = await filtered(shared.client, text="hello again", oldMessages=["well"] * 40)

    assert not answer["blocked"]


@SHARED
async def test_a_batch_answers_in_order_under_the_flags_of_each(shared: App):
    items = [
        {"text": PHONE, "config": {"allowPhone": True}},
        {"text": EMAIL, "config": {"allowPhone": True}},
        {"text": ABUSE, "model": "fast"},
    ]

    answer = await filtered(shared.client, "/v1/filter/batch", items=items)

    found = [result["flags"] for result in answer["results"]]
    assert found == [[], ["email_address"], ["abusive_language"]]


@SHARED
async def test_every_answer_says_how_long_it_took(shared: App):
    reply = await shared.client.post("/v1/filter/text", json={"text": "hello"})

    assert reply.headers["x-processing-time"].removesuffix("ms").isdigit()


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/filter", {}, "/text"),
        ("/v1/filter", {"text": "  "}, "/text"),
        ("/v1/filter", {"text": "a\x00b"}, "/text"),
        ("/v1/filter", {"text": 5}, "/text"),
        ("/v1/filter", {"text": "a", "model": "ultra"}, "/model"),
        ("/v1/filter", {"text": "a", "model": 5}, "/model"),
        ("/v1/filter/batch", {"items": [{"text": "a"}, {"model": ""}]}, "/items/1/model"),
        ("/v1/filter", {"text": "a", "config": []}, "/config"),
        ("/v1/filter", {"text": "a", "config": {"allowPhone": {}}}, "/config/allowPhone"),
        ("/v1/filter", {"text": "a", "oldMessages": "b"}, "/oldMessages"),
        ("/v1/filter", {"text": "a", "oldMessages": [7]}, "/oldMessages/0"),
        ("/v1/filter/text", {"image": "aGk="}, "/text"),
        ("/v1/filter/image", {"text": "hello"}, "/image"),
        ("/v1/filter/image", {"image": "no base64 at all!"}, "/image"),
        ("/v1/filter/image", {"image": "https://example.com/a.png"}, "/image"),
        ("/v1/filter/image", {"image": "data:text/html;base64,aGk="}, "/image"),
        ("/v1/filter/batch", {}, ""),
        ("/v1/filter/batch", {"items": []}, "/items"),
        ("/v1/filter/batch", {"items": [{"text": "a"}] * 11}, "/items"),
        ("/v1/filter/batch", {"items": [{"text": "a"}, {}]}, "/items/1/text"),
    ],
)
@SHARED
async def test_bad_input_is_a_problem_with_its_place(
    shared: App, path: str, body: Any, pointer: str
):
    problem = assert_problem(await shared.client.post(path, json=body), 422)

    assert problem["errors"][0]["pointer"] == pointer


@SHARED
async def test_an_unknown_model_is_told_which_there_are(shared: App):
    reply = await shared.client.post("/v1/filter", json={"text": "a", "model": "ultra"})

    detail = assert_problem(reply, 422)["detail"]
    assert detail == "no model is called 'ultra'; known: fast, normal, pro"


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/filter", {"text": "a" * 100_001}, "/text"),
        ("/v1/filter/batch", {"items": [{"text": "a"}, {"text": "a" * 100_001}]}, "/items/1/text"),
    ],
)
@SHARED
async def test_a_text_that_is_no_message_is_too_large(
    shared: App, path: str, body: Any, pointer: str
):
    problem = assert_problem(await shared.client.post(path, json=body), 413)

    assert problem["errors"][0]["pointer"] == pointer
    assert "/v1/moderations" in problem["detail"]


@SHARED
async def test_the_longest_text_is_filtered(shared: App):
    text = ("The committee met on Tuesday. " * 3_400)[:99_980] + " ring 212-555-0134  "

    answer = await filtered(shared.client, text=text, config={"returnFilteredMessage": True})

    assert len(text) == 100_000
    assert answer["filteredMessage"] == f"{text[:-14]}************  "


@SHARED
async def test_an_answer_names_the_verdict_on_record(shared: App):
    reply = await shared.client.post("/v1/filter", json={"text": f"{PHONE}, named"})
    batch = await filtered(
        shared.client, "/v1/filter/batch", items=[{"text": f"{PHONE}, named"}, {"text": "hello"}]
    )

    id = reply.headers["x-penstock-verdict"]
    found = await shared.runtime.moderation.find(id, owner="admin")
    assert found.id == id
    assert "verdicts" not in reply.json()
    assert [one["verdicts"] for one in batch["results"]] == [
        [id],
        [batch["results"][1]["verdicts"][0]],
    ]


@SHARED
async def test_a_verdict_that_is_not_on_record_is_not_named(
    shared: App, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: Any) -> bool:
        raise StorageUnavailable

    monkeypatch.setattr(shared.runtime.moderation._store, "save", fail)

    reply = await shared.client.post("/v1/filter", json={"text": "never seen nor recorded"})

    assert reply.json() == PASSED
    assert "x-penstock-verdict" not in reply.headers


@SHARED
async def test_others_are_served_between_the_items_of_a_batch(
    shared: App, monkeypatch: pytest.MonkeyPatch
):
    """A batch that is known already waits for nothing: it has to give way by itself."""
    items = [{"text": f"item {n}, {PHONE}"} for n in range(10)]
    await filtered(shared.client, "/v1/filter/batch", items=items)
    turn, turns = 0, []
    real = filtering.sift

    def sift(*args: Any, **words: Any) -> Any:
        turns.append(turn)
        return real(*args, **words)

    async def tick() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    monkeypatch.setattr("penstock.services.moderation.filtering.sift", sift)
    ticking = asyncio.ensure_future(tick())
    try:
        await filtered(shared.client, "/v1/filter/batch", items=items)
    finally:
        ticking.cancel()

    assert len(turns) == len(set(turns)) == 10


@SHARED
async def test_nobody_filters_without_a_key_or_with_too_weak_a_one(shared: App):
    """O-05: nothing is answered before the key was looked at."""
    await filtered(shared.client, text=PHONE)
    viewer = await shared.key("viewer")

    assert_problem(await shared.connect(None).post("/v1/filter", json={"text": PHONE}), 401)
    assert_problem(await viewer.post("/v1/filter", json={"text": PHONE}), 403)


@SHARED
async def test_nobody_is_handed_a_key(shared: App):
    reply = await shared.connect(None).get("/v1/apikey")

    assert reply.status_code in {401, 404}


@SHARED
async def test_flags_and_outcomes_are_counted(shared: App):
    metrics = shared.runtime.metrics
    before = metrics.total("penstock_filterx_flags_total", flag="phone_number")

    await filtered(shared.client, text=PHONE)

    assert metrics.total("penstock_filterx_flags_total", flag="phone_number") == before + 1
    assert metrics.total("penstock_filterx_requests_total", content="text", outcome="blocked") > 0


@SHARED
async def test_a_word_of_a_block_list_is_a_critical_term_at_once(shared: App):
    text = "have you tried the new sparkleberry"
    assert not (await filtered(shared.client, text=text))["blocked"]
    made = await shared.client.post("/v1/lists", json={"name": "words", "kind": "block"})
    entries = f"/v1/lists/{made.json()['id']}/entries"
    added = await shared.client.post(
        entries, json={"entries": [{"kind": "phrase", "value": "sparkleberry"}]}
    )
    assert added.is_success, added.text

    answer = await filtered(
        shared.client, text=text, config={"returnFilteredMessage": True, "allowAbuse": True}
    )

    assert answer["flags"] == ["critical_term"]
    assert answer["filteredMessage"] == "have you tried the new ************"


@pytest.mark.parametrize("normalise", [False, True])
async def test_a_listed_word_is_masked_in_the_text_as_it_was_sent(start: Start, normalise: bool):
    text = "  \n cafe\u0301 sparkleberry  "

    async with start(normalise_texts=normalise) as app:
        made = await app.client.post("/v1/lists", json={"name": "words", "kind": "block"})
        entry = {"kind": "phrase", "value": "sparkleberry"}
        entries = f"/v1/lists/{made.json()['id']}/entries"
        await app.client.post(entries, json={"entries": [entry]})
        answer = await filtered(app.client, text=text, config={"returnFilteredMessage": True})

    assert answer["filteredMessage"] == text.replace("sparkleberry", "*" * 12)


@SHARED
async def test_what_an_allow_list_holds_is_not_masked(shared: App):
    made = await shared.client.post("/v1/lists", json={"name": "ours", "kind": "allow"})
    entries = f"/v1/lists/{made.json()['id']}/entries"
    entry = {"kind": "phrase", "value": "desk@example.org"}
    added = await shared.client.post(entries, json={"entries": [entry]})
    assert added.is_success, added.text

    ours = await filtered(shared.client, text="write to desk@example.org please")
    others = await filtered(shared.client, text="write to desk@example.org or me@example.org")

    assert ours["flags"] == []
    assert others["flags"] == ["email_address"]


@SHARED
async def test_what_a_model_only_suspects_passes_and_says_why(shared: App):
    text = "great goal last night"

    answer = await filtered(shared.client, text=text, config={"returnFilteredMessage": True})

    assert answer == {
        "blocked": False,
        "flags": [],
        "reason": "Passed; left to a human to review: sexual beyond the review threshold (0.60)",
        "filteredMessage": text,
    }


@SHARED
async def test_what_a_model_is_sure_of_is_blocked_and_masked_as_a_whole(shared: App):
    text = "nice tits"

    answer = await filtered(shared.client, text=text, config={"returnFilteredMessage": True})

    assert answer["flags"] == ["abusive_language"]
    assert answer["filteredMessage"] == "**** ****"


@SHARED
async def test_what_rules_find_is_blocked_and_masked_in_its_place(shared: App):
    text = "see you at five you fucking idiot"

    answer = await filtered(shared.client, text=text, config={"returnFilteredMessage": True})

    assert answer["flags"] == ["abusive_language"]
    assert answer["filteredMessage"] == "see you at five you ******* *****"


async def test_what_only_a_flag_threshold_minds_passes_and_is_told(
    start: Start, policy: Callable[[str], Path]
):
    path = policy("[thresholds.sexual]\nflag = 0.5\nreview = 0.9\nreject = 'never'\n")

    async with start(policy=path) as app:
        answer = await filtered(app.client, text="great goal last night")

    assert not answer["blocked"]
    assert answer["reason"] == "Passed; sexual beyond the flag threshold (0.60)"


async def test_a_policy_says_from_where_on_language_is_abusive(
    start: Start, policy: Callable[[str], Path]
):
    strict = policy("[thresholds.harassment]\nreview = 0.05\nreject = 0.05\n")
    text = "that was a rather silly thing to say, you silly goose"

    async with start() as app:
        lenient = await filtered(app.client, text=text)
    async with start(policy=strict) as app:
        blocked = await filtered(app.client, text=text)
        allowed = await filtered(app.client, text=text, config={"allowAbuse": True})

    assert not lenient["blocked"]
    assert blocked["flags"] == ["abusive_language"]
    assert not allowed["blocked"]


async def test_what_a_policy_rejects_is_blocked_although_no_flag_is_filterx_own(
    start: Start, policy: Callable[[str], Path]
):
    strict = policy("[thresholds.'pii/ip']\nreject = 0.5\nreview = 0.5\n")

    async with start(policy=strict) as app:
        answer = await filtered(
            app.client,
            text="ping 93.184.216.34 now",
            config={"returnFilteredMessage": True},
        )

    assert (answer["blocked"], answer["flags"]) == (True, ["ip_address"])
    assert answer["filteredMessage"] == "ping ************* now"


@pytest.mark.parametrize(
    ("model", "text", "calls"),
    [
        ("fast", "a plain sentence", 0),
        ("normal", "a plain sentence", 1),
        (None, "a plain sentence", 1),
        ("normal", "kill yourself you worthless piece of shit", 0),
        ("pro", "kill yourself you worthless piece of shit", 1),
    ],
)
async def test_a_model_says_who_is_asked(behind: Start, upstream, model: str, text: str, calls):
    async with behind() as app:
        await filtered(app.client, text=text, model=model)

    assert upstream.calls == calls


async def test_without_a_provider_every_model_is_local(start: Start):
    async with start() as app:
        answers = [
            await filtered(app.client, text=ABUSE, model=model)
            for model in ("fast", "normal", "pro")
        ]

    assert [answer["flags"] for answer in answers] == [["abusive_language"]] * 3


async def test_what_the_provider_says_without_a_place_is_masked_everywhere(behind: Start):
    async with behind() as app:
        answer = await filtered(
            app.client, text="this is a bad sentence", config={"returnFilteredMessage": True}
        )

    assert answer["flags"] == ["abusive_language"]
    assert answer["filteredMessage"] == "**** ** * *** ********"


@pytest.mark.parametrize(
    ("on_failure", "blocked", "flags"),
    [("open", False, []), ("review", True, ["error"]), ("closed", True, ["error"])],
)
async def test_a_provider_that_fails_passes_nothing_unless_the_policy_says_so(
    behind: Start,
    upstream,
    policy: Callable[[str], Path],
    on_failure: str,
    blocked: bool,
    flags: list[str],
):
    upstream.script([failing(500)] * 10)
    path = policy(f'on_provider_failure = "{on_failure}"\n')

    async with behind(policy=path) as app:
        answer = await filtered(app.client, text="The weather is lovely in the mountains today.")

    assert (answer["blocked"], answer["flags"]) == (blocked, flags)


async def test_where_filterx_is_not_served_its_paths_are_unknown(start: Start):
    async with start(compat=("fist",)) as app:
        reply = await app.client.post("/v1/filter", json={"text": "a"})

    assert reply.status_code == 404
