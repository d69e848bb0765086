"""Perspective's paths over HTTP, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from penstock.services.moderation.attributes import ATTRIBUTES
from penstock.services.moderation.calibration import Curve, Fit
from tests.conftest import ADMIN
from tests.server.conftest import SHARED, App, Start

pytestmark = SHARED

ANALYZE = "/v1alpha1/comments:analyze"
SUGGEST = "/v1alpha1/comments:suggestscore"
OLDER = "penstock-moderation-1+06589f2a"
INSULT = "You are a stupid idiot."
KIND = "Thank you all for the lovely evening."
GERMAN = "Ich habe heute leider keine Zeit für dich."
SAME = Curve((0.0, 1.0), (0.25, 0.75), Fit(100, 0.0, 0.0, 1.0, ()))


def asked(*names: str) -> dict[str, Any]:
    return {name: {} for name in names or ("TOXICITY",)}


async def analyze(client: httpx.AsyncClient, text: str, **fields: Any) -> dict[str, Any]:
    body = {"comment": {"text": text}, "requestedAttributes": asked(), **fields}
    reply = await client.post(ANALYZE, json=body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def refused(client: httpx.AsyncClient, body: Any, path: str = ANALYZE) -> dict[str, Any]:
    """Google's error object, which every refusal carries."""
    reply = await client.post(path, json=body)
    assert reply.status_code == 400, reply.text
    assert reply.headers["content-type"].startswith("application/json")
    error: dict[str, Any] = reply.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    return error


def value(answer: dict[str, Any], name: str = "TOXICITY") -> float:
    found: float = answer["attributeScores"][name]["summaryScore"]["value"]
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def client(shared: App) -> AsyncIterator[httpx.AsyncClient]:
    yield shared.client


async def test_a_comment_is_scored_on_every_attribute(client: httpx.AsyncClient) -> None:
    insult = await analyze(client, INSULT, requestedAttributes=asked(*ATTRIBUTES))
    kind = await analyze(client, KIND, requestedAttributes=asked(*ATTRIBUTES))

    assert list(insult["attributeScores"]) == list(ATTRIBUTES)
    assert value(insult) > 0.9 > value(insult, "SEVERE_TOXICITY")
    assert value(insult, "INSULT") > 0.9 > value(insult, "THREAT")
    assert all(value(kind, name) < 0.3 for name in ATTRIBUTES)


async def test_the_answer_has_perspective_s_shape(client: httpx.AsyncClient) -> None:
    answer = await analyze(client, INSULT, clientToken="c-1", languages=["en"])

    (span,) = answer["attributeScores"]["TOXICITY"]["spanScores"]
    assert span == {
        "begin": 0,
        "end": len(INSULT),
        "score": answer["attributeScores"]["TOXICITY"]["summaryScore"],
    }
    assert answer["attributeScores"]["TOXICITY"]["summaryScore"]["type"] == "PROBABILITY"
    assert (answer["languages"], answer["detectedLanguages"]) == (["en"], ["en"])
    assert answer["clientToken"] == "c-1"


async def test_without_a_token_none_comes_back(client: httpx.AsyncClient) -> None:
    assert "clientToken" not in await analyze(client, KIND)


async def test_every_sentence_is_scored_by_itself(client: httpx.AsyncClient) -> None:
    text = f"😀 {KIND} {INSULT}"

    answer = await analyze(client, text, spanAnnotations=True)

    spans = answer["attributeScores"]["TOXICITY"]["spanScores"]
    units = text.encode("utf-16-le")
    read = [units[2 * s["begin"] : 2 * s["end"]].decode("utf-16-le") for s in spans]
    assert read == [f"😀 {KIND}", INSULT]
    assert spans[0]["score"]["value"] < 0.3 < 0.9 < spans[1]["score"]["value"]


async def test_of_html_what_is_seen_is_scored(client: httpx.AsyncClient) -> None:
    html = {"text": "<p>You are a stu<b>pid</b> idiot.</p>", "type": "HTML"}

    answer = await analyze(client, "", comment=html, spanAnnotations=True)

    (span,) = answer["attributeScores"]["TOXICITY"]["spanScores"]
    assert value(answer) > 0.9
    assert html["text"][span["begin"] : span["end"]] == "You are a stu<b>pid</b> idiot."


async def test_scores_below_a_threshold_are_left_out(client: httpx.AsyncClient) -> None:
    wanted = {"TOXICITY": {"scoreThreshold": 0.5}, "THREAT": {"scoreThreshold": 0.5}}

    answer = await analyze(
        client, f"{KIND} {INSULT}", requestedAttributes=wanted, spanAnnotations=True
    )

    assert list(answer["attributeScores"]) == ["TOXICITY"]
    assert len(answer["attributeScores"]["TOXICITY"]["spanScores"]) == 1


async def test_a_rule_s_certain_finding_leaves_no_attribute_unknown(
    client: httpx.AsyncClient,
) -> None:
    """There the model is not asked by moderation; an answer has all attributes nevertheless."""
    answer = await analyze(client, "kill all muslims", requestedAttributes=asked(*ATTRIBUTES))

    assert value(answer, "THREAT") == 1.0
    assert 0.0 < value(answer, "PROFANITY") < 0.5


async def test_names_with_underscores_null_and_numbers_in_quotes_are_read(
    client: httpx.AsyncClient,
) -> None:
    """As the JSON form of protocol buffers has it."""
    body = {
        "comment": {"text": INSULT, "type": None},
        "requested_attributes": {"TOXICITY": {"score_threshold": "0.5"}, "THREAT": None},
        "span_annotations": True,
        "do_not_store": True,
        "client_token": "c",
        "languages": None,
    }
    body["requested_attributes"].pop("THREAT")  # type: ignore[attr-defined]

    reply = await client.post(ANALYZE, json=body)

    assert reply.status_code == 200, reply.text
    assert reply.json()["clientToken"] == "c"


async def test_a_variant_of_english_is_english(client: httpx.AsyncClient) -> None:
    assert (await analyze(client, KIND, languages=["en-GB"]))["languages"] == ["en-GB"]


async def test_another_language_is_refused_as_perspective_did(client: httpx.AsyncClient) -> None:
    wanted = {"comment": {"text": GERMAN}, "requestedAttributes": asked("INSULT")}

    error = await refused(client, wanted)

    assert error["message"] == "Attribute INSULT does not support request languages: de"
    assert error["details"] == [
        {
            "@type": "type.googleapis.com/google.commentanalyzer.v1alpha1.Error",
            "errorType": "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
            "languageNotSupportedByAttributeError": {
                "attribute": "INSULT",
                "detectedLanguages": ["de"],
            },
        }
    ]


async def test_a_named_language_that_is_not_served_is_refused(client: httpx.AsyncClient) -> None:
    wanted = {
        "comment": {"text": KIND},
        "requestedAttributes": asked(),
        "languages": ["en", "fr"],
    }

    error = await refused(client, wanted)

    told = error["details"][0]["languageNotSupportedByAttributeError"]
    assert told == {"attribute": "TOXICITY", "requestedLanguages": ["fr"]}


async def test_a_comment_that_is_called_english_is_scored(client: httpx.AsyncClient) -> None:
    answer = await analyze(client, GERMAN, languages=["en"])

    assert answer["languages"] == ["en"]
    assert answer["detectedLanguages"] == ["de"]
    assert value(answer) >= 0.0


async def test_a_language_that_nobody_knows_is_an_error(client: httpx.AsyncClient) -> None:
    error = await refused(
        client, {"comment": {"text": "мой friend друг"}, "requestedAttributes": asked()}
    )

    assert error["details"][0]["errorType"] == "LANGUAGE_DETECTION_FAILED"


async def test_what_cannot_be_scored_is_dropped_where_that_is_asked(
    client: httpx.AsyncClient,
) -> None:
    wanted = asked("TOXICITY", "FLIRTATION")

    english = await analyze(
        client, KIND, requestedAttributes=wanted, dropUnsupportedAttributes=True
    )
    german = await analyze(
        client, GERMAN, requestedAttributes=wanted, dropUnsupportedAttributes=True
    )

    assert list(english["attributeScores"]) == ["TOXICITY"]
    assert (german["attributeScores"], german["languages"]) == ({}, ["de"])


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        ({"requestedAttributes": asked()}, "COMMENT_EMPTY", "must be non-empty"),
        ({"comment": {"text": " \n"}, "requestedAttributes": asked()}, "COMMENT_EMPTY", ""),
        (
            {"comment": {"text": "<br>", "type": "HTML"}, "requestedAttributes": asked()},
            "COMMENT_EMPTY",
            "",
        ),
        (
            {"comment": {"text": "é" * 10_241}, "requestedAttributes": asked()},
            "COMMENT_TOO_LONG",
            "20480",
        ),
        ({"comment": {"text": KIND}}, "NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes"),
        (
            {"comment": {"text": KIND}, "requestedAttributes": asked("FLIRTATION")},
            "INVALID_REQUEST",
            "Unknown requested attribute: FLIRTATION. It is not served here",
        ),
        (
            {"comment": {"text": KIND}, "requestedAttributes": asked("NICENESS")},
            "INVALID_REQUEST",
            "It is no attribute",
        ),
        (
            {"comment": {"text": KIND, "type": "MARKDOWN"}, "requestedAttributes": asked()},
            "INVALID_REQUEST",
            "Unknown text type",
        ),
        (
            {
                "comment": {"text": KIND},
                "requestedAttributes": {"THREAT": {"scoreType": "STD_DEV"}},
            },
            "INVALID_REQUEST",
            "Requested score type STD_DEV is not supported by attribute THREAT",
        ),
        ({"comment": {"text": "a\x00b"}, "requestedAttributes": asked()}, "INVALID_REQUEST", ""),
        ({"comment": {"text": 3}, "requestedAttributes": asked()}, "INVALID_REQUEST", "/comment"),
        ({"comment": KIND, "requestedAttributes": asked()}, "INVALID_REQUEST", "/comment"),
        ({"remark": {}}, "INVALID_REQUEST", "unknown field `remark`"),
        ([], "INVALID_REQUEST", ""),
        (
            {"comment": {"text": KIND}, "requestedAttributes": asked(), "model": "gpt-9"},
            "INVALID_REQUEST",
            f"no model version 'gpt-9' is here; known: penstock-moderation-1+0451dbd5, {OLDER}",
        ),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(
    client: httpx.AsyncClient, body: Any, kind: str, told: str
) -> None:
    error = await refused(client, body)

    assert error["details"][0]["errorType"] == kind
    assert told in error["message"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"comment": {"text": "\\ud800"}}', b"[" * 9_999])
async def test_a_body_that_is_no_json_is_refused(client: httpx.AsyncClient, content: bytes) -> None:
    reply = await client.post(
        ANALYZE, content=content, headers={"content-type": "application/json"}
    )

    assert reply.status_code == 400
    assert reply.json()["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_pinned_older_model_still_answers(client: httpx.AsyncClient) -> None:
    text = "Women won the vote a hundred years ago."
    wanted = {"requestedAttributes": asked("IDENTITY_ATTACK")}

    today = await analyze(client, text, **wanted)
    older = await analyze(client, text, model=OLDER, **wanted)
    again = await analyze(client, text, model=OLDER, **wanted)

    assert today["modelVersion"] == "penstock-moderation-1+0451dbd5"
    assert older["modelVersion"] == older["models"]["penstock-local"] == OLDER
    assert value(older, "IDENTITY_ATTACK") > 0.6 > value(today, "IDENTITY_ATTACK")
    assert older == again


async def test_a_model_is_named_in_the_query_or_a_header_too(client: httpx.AsyncClient) -> None:
    body = {"comment": {"text": KIND}, "requestedAttributes": asked()}

    by_query = await client.post(ANALYZE, json=body, params={"model": OLDER})
    by_header = await client.post(ANALYZE, json=body, headers={"X-Model-Version": OLDER})

    assert by_query.json()["modelVersion"] == by_header.json()["modelVersion"] == OLDER


async def test_a_curve_acts_at_once_and_the_answer_says_so(shared: App) -> None:
    before = await analyze(shared.client, INSULT, requestedAttributes=asked("TOXICITY", "INSULT"))
    perspective = shared.runtime.perspective

    await perspective.save({"TOXICITY": SAME}, version=before["modelVersion"], actor="cli")
    after = await analyze(shared.client, INSULT, requestedAttributes=asked("TOXICITY", "INSULT"))
    older = await analyze(shared.client, INSULT, model=OLDER)
    await perspective.forget(actor="cli")
    gone = await analyze(shared.client, INSULT, requestedAttributes=asked("TOXICITY", "INSULT"))

    assert value(after) == pytest.approx(0.25 + 0.5 * value(before), abs=1e-6)
    assert value(after, "INSULT") == value(before, "INSULT")
    assert after["attributeScores"]["TOXICITY"]["calibrated"] is True
    assert "calibrated" not in after["attributeScores"]["INSULT"]
    assert (after["calibrated"], older["calibrated"], gone["calibrated"]) == (False,) * 3
    assert gone == before


async def test_an_answer_whose_scores_are_all_mapped_is_calibrated(shared: App) -> None:
    version = (await analyze(shared.client, KIND))["modelVersion"]

    await shared.runtime.perspective.save({"TOXICITY": SAME}, version=version, actor="cli")
    answer = await analyze(shared.client, KIND, spanAnnotations=True)
    await shared.runtime.perspective.forget(actor="cli")

    assert answer["calibrated"] is True
    (span,) = answer["attributeScores"]["TOXICITY"]["spanScores"]
    assert span["score"]["value"] >= 0.25


async def test_a_suggested_score_is_kept_without_its_text(shared: App) -> None:
    body = {
        "comment": {"text": KIND},
        "attributeScores": {
            "TOXICITY": {"summaryScore": {"value": 0}},
            "INSULT": {"spanScores": [{"begin": 0, "end": 5, "score": {"value": 0.5}}]},
        },
        "communityId": "/forum/movies",
        "clientToken": "c-2",
    }

    reply = await shared.client.post(SUGGEST, json=body)

    assert reply.json() == {
        "clientToken": "c-2",
        "detectedLanguages": ["en"],
        "requestedLanguages": [],
    }
    (_, kept) = (await shared.runtime.perspective.suggestions(limit=1))[0]
    assert kept.scores == {"TOXICITY": 0.0, "INSULT": 0.5}
    assert (kept.community, kept.content, len(kept.content_hash)) == ("/forum/movies", None, 64)


@pytest.mark.parametrize(
    "scores",
    [{}, {"TOXICITY": {}}, {"TOXICITY": {"summaryScore": {"value": 2}}}, {"NICENESS": {}}],
)
async def test_a_suggestion_without_scores_is_refused(
    client: httpx.AsyncClient, scores: dict[str, Any]
) -> None:
    await refused(client, {"comment": {"text": KIND}, "attributeScores": scores}, SUGGEST)


async def test_the_key_is_taken_from_the_query_or_google_s_header(shared: App) -> None:
    body = {"comment": {"text": KIND}, "requestedAttributes": asked()}
    async with shared.connect(None) as stranger:
        in_query = await stranger.post(ANALYZE, json=body, params={"key": ADMIN, "alt": "json"})
        in_header = await stranger.post(ANALYZE, json=body, headers={"X-Goog-Api-Key": ADMIN})
        wrong = await stranger.post(ANALYZE, json=body, params={"key": "psk_wrong"})
        missing = await stranger.post(ANALYZE, json=body)

    assert (in_query.status_code, in_header.status_code) == (200, 200)
    for reply in (wrong, missing):
        assert reply.status_code == reply.json()["error"]["code"] == 401
        assert reply.json()["error"]["status"] == "UNAUTHENTICATED"


async def test_an_answer_counts_as_the_key_s_use(shared: App) -> None:
    async with await shared.key("operator") as operator:
        await analyze(operator, "How nice to meet you all today.")
        await shared.runtime.usage.flush()
        used = (await operator.get("/v1/usage")).json()

    assert [row["calls"] for row in used["items"]] == [1]


@pytest.mark.parametrize("path", ["/v1/moderations", "/v1alpha1x/y", "/v1/keys"])
async def test_a_key_in_the_query_opens_no_other_path(shared: App, path: str) -> None:
    async with shared.connect(None) as stranger:
        by_query = await stranger.post(path, params={"key": ADMIN}, json={"input": KIND})
        by_header = await stranger.post(path, headers={"X-Goog-Api-Key": ADMIN}, json={})

    assert (by_query.status_code, by_header.status_code) == (401, 401)


async def test_a_viewer_s_key_is_forbidden(shared: App) -> None:
    async with await shared.key("viewer") as viewer:
        reply = await viewer.post(ANALYZE, json={})

    assert reply.status_code == 403
    assert reply.json()["error"]["status"] == "PERMISSION_DENIED"


async def test_a_limit_that_is_used_up_is_google_s_429(shared: App) -> None:
    async with await shared.key("operator", rate_limit=1) as limited:
        await analyze(limited, KIND)
        reply = await limited.post(ANALYZE, json={})

    assert reply.status_code == 429
    assert reply.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert int(reply.headers["retry-after"]) >= 1


async def test_other_methods_and_paths_are_google_s_errors_too(client: httpx.AsyncClient) -> None:
    get = await client.get(ANALYZE)
    unknown = await client.post("/v1alpha1/comments:translate")

    assert (get.status_code, get.json()["error"]["status"]) == (405, "UNIMPLEMENTED")
    assert (unknown.status_code, unknown.json()["error"]["status"]) == (404, "NOT_FOUND")


async def test_discovery_needs_no_key_and_names_the_asker_s_address(shared: App) -> None:
    async with shared.connect(None) as stranger:
        reply = await stranger.get("/$discovery/rest", params={"version": "v1alpha1"})
        other = await stranger.get("/$discovery/rest", params={"version": "v9"})

    document = reply.json()
    assert document["rootUrl"] == document["baseUrl"] == "http://testserver/"
    assert set(document["resources"]["comments"]["methods"]) == {"analyze", "suggestscore"}
    assert reply.headers["cache-control"] == "no-store"
    assert other.status_code == 404


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("moderation.example:8443", "http://moderation.example:8443/"),
        ("[::1]:8000", "http://[::1]:8000/"),
        ('evil"><script>', "http://testserver/"),
        ("evil.example/path?x=", "http://testserver/"),
        ("user@evil.example", "http://testserver/"),
        ("", "http://testserver/"),
    ],
)
async def test_a_host_that_is_no_host_is_not_repeated(
    client: httpx.AsyncClient, host: str, base: str
) -> None:
    reply = await client.get("/$discovery/rest", headers={"Host": host})

    assert reply.json()["rootUrl"] == base


async def test_every_schema_that_discovery_refers_to_is_there(client: httpx.AsyncClient) -> None:
    document = (await client.get("/$discovery/rest")).json()

    def references(value: Any) -> set[str]:
        match value:
            case {"$ref": str(name), **rest}:
                return {name} | references(rest)
            case dict():
                return {name for item in value.values() for name in references(item)}
            case list():
                return {name for item in value for name in references(item)}
        return set()

    assert references(document) == set(document["schemas"])


async def test_discovery_and_the_routes_have_the_same_fields(
    client: httpx.AsyncClient,
) -> None:
    documents = (await client.get("/$discovery/rest")).json()["schemas"]
    described = (await client.get("/openapi.json")).json()["components"]["schemas"]

    for name, schema in documents.items():
        assert set(schema["properties"]) == set(described[name]["properties"]), name


@pytest.mark.asyncio(loop_scope="function")
async def test_texts_of_suggestions_are_kept_where_the_installation_keeps_texts(
    start: Start,
) -> None:
    body = {
        "comment": {"text": KIND},
        "attributeScores": {"TOXICITY": {"summaryScore": {"value": 0}}},
    }
    async with start(store_text=True) as app:
        await app.client.post(SUGGEST, json=body)
        await app.client.post(SUGGEST, json={**body, "doNotStore": True})
        newest, oldest = await app.runtime.perspective.suggestions()

    assert (oldest[1].content, newest[1].content) == (KIND, None)


@pytest.mark.asyncio(loop_scope="function")
async def test_the_pin_outlives_a_restart_and_is_moved_by_its_operator(start: Start) -> None:
    async with start() as app:
        assert (await analyze(app.client, KIND))["modelVersion"] != OLDER
        await app.runtime.perspective.use(OLDER, actor="cli")
        moved = await analyze(app.client, KIND)
    async with start() as app:
        again = await analyze(app.client, KIND)
        entries = await app.runtime.audit.page(action="perspective.model_pinned")

    assert moved["modelVersion"] == again["modelVersion"] == OLDER
    assert [entry.subject for entry in entries] == [OLDER]


@pytest.mark.asyncio(loop_scope="function")
async def test_a_pinned_model_that_is_gone_is_an_outage_and_no_other_score(start: Start) -> None:
    async with start() as app:
        folder = app.runtime.settings.home / "models"
        folder.mkdir()
        (folder / "PINNED").write_text("gone+00000000")
        body = {"comment": {"text": KIND}, "requestedAttributes": asked()}
        pinned = await app.client.post(ANALYZE, json=body)
        named = await app.client.post(ANALYZE, json={**body, "model": OLDER})

    assert (pinned.status_code, pinned.json()["error"]["status"]) == (503, "UNAVAILABLE")
    assert "gone+00000000" in pinned.json()["error"]["message"]
    assert named.status_code == 200


@pytest.mark.asyncio(loop_scope="function")
async def test_the_paths_can_be_switched_off(start: Start) -> None:
    async with start(compat=()) as app:
        replies = [
            await app.client.post(ANALYZE, json={}),
            await app.client.get("/$discovery/rest"),
        ]

    assert [reply.status_code for reply in replies] == [404, 404]
