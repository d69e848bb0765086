"""/v1/lists: who may do what, files in and out, and what a list does to requests."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import secrets
from typing import Any

import httpx
import pytest
from PIL import Image

from penstock.lists import quotas
from penstock.server.app import Server
from penstock.settings import Settings
from tests.conftest import ADMIN, Live, connect

TEXT = "a friendly sentence about gardening"


async def key(client: httpx.AsyncClient, role: str, **fields: Any) -> dict[str, Any]:
    reply = await client.post("/v1/keys", json={"name": role, "role": role, **fields})
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def made(client: httpx.AsyncClient, *phrases: str, **fields: Any) -> str:
    asked = {"name": f"words {secrets.token_hex(4)}", "kind": "block", **fields}
    reply = await client.post("/v1/lists", json=asked)
    assert reply.status_code == 201, reply.text
    list_id = str(reply.json()["id"])
    if phrases:
        body = {"entries": [{"value": phrase} for phrase in phrases]}
        reply = await client.post(f"/v1/lists/{list_id}/entries", json=body)
        assert reply.status_code == 201, reply.text
    return list_id


def noise() -> bytes:
    """A picture with enough in it to be told from others."""
    sink = io.BytesIO()
    blocks = Image.frombytes("L", (8, 8), random.Random(1).randbytes(64))
    blocks.resize((128, 128), Image.Resampling.BICUBIC).save(sink, "PNG")
    return sink.getvalue()


async def verdict(client: httpx.AsyncClient, text: str = TEXT) -> dict[str, Any]:
    reply = await client.post("/v1/moderations", json={"input": text})
    assert reply.status_code == 200, reply.text
    result: dict[str, Any] = reply.json()["results"][0]["penstock"]
    return result


async def test_a_new_word_refuses_a_hot_cached_text_at_once(client: httpx.AsyncClient) -> None:
    await verdict(client)
    before = await verdict(client)
    list_id = await made(client)

    await client.post(f"/v1/lists/{list_id}/entries", json={"entries": [{"value": "gardening"}]})
    after = await verdict(client)

    assert before["decision"] == "approved"
    assert before["receipt"]["source"] == after["receipt"]["source"] == "memory"
    assert after["decision"] == "rejected"


async def test_an_allowed_phrase_takes_the_words_inside_it_out_of_the_count(
    client: httpx.AsyncClient,
) -> None:
    await made(client, "gardening")

    assert (await verdict(client))["decision"] == "rejected"
    await made(client, "about gardening", kind="allow")
    assert (await verdict(client))["decision"] == "approved"


async def test_a_review_word_leaves_a_text_to_people(client: httpx.AsyncClient) -> None:
    await made(client, "gardening", kind="review")

    assert (await verdict(client))["decision"] == "review"


async def test_a_list_of_one_key_is_for_that_key(client: httpx.AsyncClient, server: Server) -> None:
    mine = await key(client, "operator")
    async with connect(server, mine["token"]) as own:
        list_id = await made(own, "gardening", key_id=mine["id"])

        assert (await verdict(own))["decision"] == "rejected"
        assert (await own.get(f"/v1/lists/{list_id}")).json()["entries"] == 1
    assert (await verdict(client))["decision"] == "approved"


async def test_a_list_is_made_read_changed_and_deleted(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/lists", json={"name": "words", "kind": "block"})
    shown, etag = reply.json(), reply.headers["etag"]
    url = reply.headers["location"]

    assert shown["disguises"]
    assert not shown["managed"]
    assert (await client.get(url)).json() == shown
    assert [each["id"] for each in (await client.get("/v1/lists")).json()["items"]] == [shown["id"]]

    changed = await client.patch(url, json={"name": "new"}, headers={"If-Match": etag})
    late = await client.patch(url, json={"name": "late"}, headers={"If-Match": etag})
    assert (changed.status_code, changed.json()["name"]) == (200, "new")
    assert late.status_code == 409

    assert (await client.delete(url)).status_code == 204
    assert (await client.get(url)).status_code == 404
    assert (await client.delete(url)).status_code == 404


async def test_entries_are_paged_and_removed(client: httpx.AsyncClient) -> None:
    list_id = await made(client, "one", "two", "three")
    url = f"/v1/lists/{list_id}/entries"

    first = (await client.get(url, params={"limit": 2})).json()
    second = (await client.get(url, params={"limit": 2, "cursor": first["next"]})).json()
    removed = await client.delete(f"{url}/{first['items'][0]['id']}")
    again = await client.delete(f"{url}/{first['items'][0]['id']}")

    assert [each["value"] for each in first["items"] + second["items"]] == ["one", "two", "three"]
    assert second["next"] is None
    assert (removed.status_code, again.status_code) == (204, 404)
    assert [e["value"] for e in (await client.get(url)).json()["items"]] == ["two", "three"]


@pytest.mark.parametrize(
    ("entry", "detail"),
    [
        ({"value": ""}, "is empty"),
        ({"value": "a" * 1001}, "at most 1000"),
        ({"kind": "regex", "value": "ok(a"}, "missing )"),
        ({"kind": "regex", "value": "x*"}, "empty text"),
        ({"kind": "wildcard", "value": "*"}, "fewer than 2"),
        ({"kind": "pdq", "value": "12"}, "64 hex digits"),
        ({"value": "\u200b"}, "no letter"),
        ({"value": "known"}, "in the list already"),
    ],
)
async def test_an_entry_that_cannot_be_is_refused_with_its_place(
    client: httpx.AsyncClient, entry: dict[str, str], detail: str
) -> None:
    list_id = await made(client, "known")

    reply = await client.post(
        f"/v1/lists/{list_id}/entries", json={"entries": [{"value": "fine"}, entry]}
    )

    assert reply.status_code == 422
    error = reply.json()["errors"][0]
    assert error["pointer"].startswith("/entries/1")
    assert detail in error["detail"]


async def test_a_file_comes_in_and_goes_out(client: httpx.AsyncClient) -> None:
    list_id = await made(client)
    url = f"/v1/lists/{list_id}"

    text = await client.post(
        f"{url}/import", content="# words\ngardening\n", headers={"content-type": "text/plain"}
    )
    table = await client.post(
        f"{url}/import",
        content="kind,value,note\nregex,\\d+,digits\nphrase,gardening,\n",
        headers={"content-type": "text/csv; charset=utf-8"},
    )
    out = await client.get(f"{url}/export")
    lines = await client.get(f"{url}/export", params={"format": "text", "kind": "regex"})

    assert text.json() == {"taken": 1, "skipped": 0, "refused": 0, "refusals": []}
    assert table.json()["skipped"] == 1
    assert out.text == "kind,value,note\nphrase,gardening,\nregex,\\d+,digits\n"
    assert out.headers["content-type"].startswith("text/csv")
    assert lines.text == "\\d+\n"


async def test_a_file_larger_than_other_bodies_is_taken(client: httpx.AsyncClient) -> None:
    list_id = await made(client)
    content = "".join(f"{'word' * 60}{number}\n" for number in range(5_000))

    reply = await client.post(
        f"/v1/lists/{list_id}/import", content=content, headers={"content-type": "text/plain"}
    )

    assert len(content) > 1 << 20
    assert reply.json()["taken"] == 5_000


async def test_a_file_with_a_fault_is_refused_with_the_line(client: httpx.AsyncClient) -> None:
    list_id = await made(client)
    content = "kind,value,note\nphrase,fine,\nregex,(,\n"
    send = {"content": content, "headers": {"content-type": "text/csv"}}

    refused = await client.post(f"/v1/lists/{list_id}/import", **send)  # type: ignore[arg-type]
    partly = await client.post(f"/v1/lists/{list_id}/import?partial=true", **send)  # type: ignore[arg-type]

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/lines/3"
    assert partly.json()["taken"] == 1
    assert partly.json()["refusals"] == refused.json()["errors"]


async def test_a_file_of_another_type_is_refused(client: httpx.AsyncClient) -> None:
    list_id = await made(client)

    reply = await client.post(f"/v1/lists/{list_id}/import", json=["word"])

    assert reply.status_code == 415


async def test_trying_a_text_says_what_matches_and_where(client: httpx.AsyncClient) -> None:
    list_id = await made(client, "gardening")

    reply = await client.post("/v1/lists/test", json={"text": "my g4rdening!"})

    shown = reply.json()
    assert shown["decision"] == "rejected"
    assert shown["hits"] == [
        {
            "list_id": list_id,
            "list_name": shown["hits"][0]["list_name"],
            "list_kind": "block",
            "entry_id": 1,
            "start": 3,
            "end": 12,
        }
    ]


async def test_roles_say_who_sees_and_changes_which_list(
    client: httpx.AsyncClient, server: Server
) -> None:
    one, two = await key(client, "operator"), await key(client, "viewer")
    everyones = await made(client, "word")
    others = await made(client, "word", key_id=two["id"])
    entries = {"entries": [{"value": "more"}]}

    async with connect(server, one["token"]) as operator, connect(server, two["token"]) as viewer:
        own = await made(operator, key_id=one["id"])
        seen = (await operator.get("/v1/lists")).json()["items"]
        refused = [
            await operator.post(f"/v1/lists/{everyones}/entries", json=entries),
            await operator.patch(f"/v1/lists/{everyones}", json={"enabled": False}),
            await operator.post("/v1/lists", json={"name": "mine", "kind": "allow"}),
            await operator.post("/v1/lists/test", json={"text": "a", "key_id": two["id"]}),
            await viewer.post(f"/v1/lists/{others}/entries", json=entries),
        ]
        hidden = [
            await operator.get(f"/v1/lists/{others}"),
            await operator.get(f"/v1/lists/{others}/entries"),
            await operator.get(f"/v1/lists/{others}/export"),
            await operator.delete(f"/v1/lists/{others}"),
        ]
        read = await viewer.get(f"/v1/lists/{others}/entries")

    assert {each["id"] for each in seen} == {everyones, own}
    assert [reply.status_code for reply in refused] == [403] * 5
    assert [reply.status_code for reply in hidden] == [404] * 4
    assert read.status_code == 200


async def test_an_operator_cannot_exempt_its_own_key(
    client: httpx.AsyncClient, server: Server
) -> None:
    one = await key(client, "operator")
    await made(client, "gardening")
    exempting = await made(client, "friendly", kind="allow", key_id=one["id"])
    url = f"/v1/lists/{exempting}"
    entries = {"entries": [{"value": TEXT}]}

    async with connect(server, one["token"]) as own:
        blocking = await made(own, "gardening", key_id=one["id"])
        refused = [
            await own.post("/v1/lists", json={"name": "a", "kind": "allow", "key_id": one["id"]}),
            await own.patch(f"/v1/lists/{blocking}", json={"kind": "allow"}),
            await own.patch(url, json={"enabled": True}),
            await own.post(f"{url}/entries", json=entries),
            await own.post(f"{url}/import", content=TEXT, headers={"content-type": "text/plain"}),
            await own.delete(f"{url}/entries/2"),
            await own.delete(url),
        ]
        seen = await own.get(url)
        decision = (await verdict(own))["decision"]
        await client.post(f"{url}/entries", json=entries)
        allowed = (await verdict(own))["decision"]

    assert [reply.status_code for reply in refused] == [403] * 7
    assert "only admins" in refused[0].json()["detail"]
    assert seen.status_code == 200
    assert (decision, allowed) == ("rejected", "approved")


async def test_an_operator_takes_back_what_people_decided_for_its_key(
    client: httpx.AsyncClient, server: Server
) -> None:
    one = await key(client, "operator")
    lists = server.runtime.lists  # type: ignore[attr-defined]
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    await lists.decide(digest, decision="approved", key_ids=[one["id"]], actor="a")

    async with connect(server, one["token"]) as own:
        managed = (await own.get("/v1/lists")).json()["items"][0]["id"]
        entry = (await own.get(f"/v1/lists/{managed}/entries")).json()["items"][0]["id"]
        gone = await own.delete(f"/v1/lists/{managed}/entries/{entry}")

    assert gone.status_code == 204


async def test_a_name_that_is_taken_is_refused(client: httpx.AsyncClient) -> None:
    first = await made(client, name="words")

    again = await client.post("/v1/lists", json={"name": "words", "kind": "review"})

    assert again.status_code == 409
    assert first in again.json()["detail"]


async def test_a_key_has_its_own_quota(
    client: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "KEYS", quotas.KEYS._replace(lists=1))
    one = await key(client, "operator")

    async with connect(server, one["token"]) as own:
        await made(own, key_id=one["id"])
        refused = await own.post(
            "/v1/lists", json={"name": "a", "kind": "block", "key_id": one["id"]}
        )

    assert refused.status_code == 409
    assert f"the lists for the key {one['id']} are 1" in refused.json()["detail"]
    assert await made(client)


async def test_trying_an_image_says_what_it_hashes_to_and_what_matches(
    client: httpx.AsyncClient,
) -> None:
    url = f"data:image/png;base64,{base64.b64encode(noise()).decode()}"
    list_id = await made(client)

    before = (await client.post("/v1/lists/test", json={"image": url})).json()
    entry = {"kind": "pdq", "value": before["image"]["pdq"]}
    await client.post(f"/v1/lists/{list_id}/entries", json={"entries": [entry]})
    after = (await client.post("/v1/lists/test", json={"image": url})).json()

    assert before["decision"] is None
    assert before["image"]["sha256"] == hashlib.sha256(noise()).hexdigest()
    assert before["image"]["quality"] >= 50
    assert (after["decision"], after["hits"][0]["list_id"]) == ("rejected", list_id)


@pytest.mark.parametrize(
    ("asked", "status", "pointer"),
    [
        ({}, 422, "/text"),
        ({"text": "a", "image": "data:image/png;base64,AAAA"}, 422, "/text"),
        ({"image": "https://example.org/a.png"}, 422, "/image"),
        ({"image": "data:image/png;base64,A"}, 422, "/image"),
        ({"image": "data:image/png;base64,AAAA"}, 422, "/image"),
        ({"text": "a", "key_id": "key_nope"}, 404, None),
    ],
)
async def test_what_cannot_be_tried_is_refused(
    client: httpx.AsyncClient, asked: dict[str, str], status: int, pointer: str | None
) -> None:
    reply = await client.post("/v1/lists/test", json=asked)

    assert reply.status_code == status
    if pointer:
        assert reply.json()["errors"][0]["pointer"] == pointer


async def test_a_list_for_an_unknown_key_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/lists", json={"name": "a", "kind": "block", "key_id": "key_0"})

    assert reply.status_code == 404


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101])
async def test_a_bad_name_is_refused(client: httpx.AsyncClient, name: str) -> None:
    reply = await client.post("/v1/lists", json={"name": name, "kind": "block"})

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/name"


async def test_what_people_decided_is_shown_and_stands(
    client: httpx.AsyncClient, server: Server
) -> None:
    lists = server.runtime.lists  # type: ignore[attr-defined]
    digest = hashlib.sha256(TEXT.encode()).hexdigest()

    await lists.decide(digest, decision="rejected", key_ids=["env"], actor="a", note="case_1")

    assert (await verdict(client))["decision"] == "rejected"
    shown = (await client.get("/v1/lists")).json()["items"][0]
    assert (shown["managed"], shown["kind"], shown["entries"]) == (True, "block", 1)


@pytest.mark.slow
async def test_a_new_word_refuses_a_hot_text_on_a_second_process_too(
    live_server: Live, settings: Settings
) -> None:
    here = Server(settings.model_copy(update={"home": live_server.home}))
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with (
        here.running(),
        connect(here, ADMIN) as client,
        httpx.AsyncClient(base_url=live_server.url, headers=headers) as there,
    ):
        list_id = await made(client)
        for _ in range(2):
            before = [await verdict(client), await verdict(there)]

        await client.post(
            f"/v1/lists/{list_id}/entries", json={"entries": [{"value": "gardening"}]}
        )
        after = [await verdict(there), await verdict(client)]

    assert [each["decision"] for each in before] == ["approved"] * 2
    assert [each["decision"] for each in after] == ["rejected"] * 2
    assert {each["receipt"]["source"] for each in before + after} == {"memory"}
