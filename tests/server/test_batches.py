"""/v1/batches and /v1/files: OpenAI's batches, and requests in the body."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from benchmarks.rigs.upstream import Upstream, hang
from penstock.settings import Settings
from penstock.web.pages import encode_cursor
from tests.conftest import ADMIN, Live
from tests.server.asking import assert_problem
from tests.server.conftest import SHARED, App, Start

PATH = "/v1/batches"
ENDPOINT = "/v1/moderations"
KIND = "Thank you all for the lovely evening."
THREAT = "I will kill you tomorrow morning."
FINAL = {"completed", "failed", "expired", "cancelled"}
SOON = 60.0


def requests(*texts: Any) -> list[dict[str, Any]]:
    return [{"custom_id": f"r{n}", "body": {"input": text}} for n, text in enumerate(texts)]


def lines(*texts: Any, url: str = ENDPOINT) -> bytes:
    form = {"method": "POST", "url": url}
    return "".join(json.dumps({**one, **form}) + "\n" for one in requests(*texts)).encode()


async def create(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    reply = await client.post(PATH, json={"endpoint": ENDPOINT, **body})
    assert reply.status_code == 202, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def ended(app: App, batch_id: str) -> dict[str, Any]:
    async with asyncio.timeout(SOON):
        async for _ in app.runtime.batches.watch(batch_id, owner=None):
            pass
    found: dict[str, Any] = (await app.client.get(f"{PATH}/{batch_id}")).json()
    return found


async def first_results(app: App, batch_id: str) -> dict[str, Any]:
    """The first page of results that is not empty."""
    async with asyncio.timeout(SOON):
        async for _ in app.runtime.batches.watch(batch_id, owner=None):
            page: dict[str, Any] = (await app.client.get(f"{PATH}/{batch_id}/results")).json()
            if page["items"]:
                return page
    raise AssertionError("the batch ended without results")


async def upload(client: httpx.AsyncClient, content: bytes, purpose: str = "batch") -> Any:
    files = {"file": ("in.jsonl", content)}
    return await client.post("/v1/files", data={"purpose": purpose}, files=files)


@SHARED
async def test_inline_requests_are_answered_in_order(emptied: App):
    batch = await create(emptied.client, requests=requests(KIND, THREAT, ""))
    end = await ended(emptied, batch["id"])
    page = (await emptied.client.get(f"{PATH}/{batch['id']}/results")).json()

    assert (end["status"], end["request_counts"]) == (
        "completed",
        {"total": 3, "completed": 2, "failed": 1},
    )
    assert [item["custom_id"] for item in page["items"]] == ["r0", "r1", "r2"]
    bodies = [item["response"]["body"] for item in page["items"]]
    assert [body["results"][0]["flagged"] for body in bodies[:2]] == [False, True]
    assert page["items"][2]["response"]["status_code"] == 422
    assert bodies[2]["error"]["code"] == "invalid_input"
    assert page["next"] is None


@SHARED
async def test_a_batch_tells_its_progress_in_both_forms(emptied: App):
    batch = await create(emptied.client, requests=requests(KIND, KIND), metadata={"for": "test"})

    end = await ended(emptied, batch["id"])

    assert end["object"] == "batch"
    assert end["metadata"] == {"for": "test"}
    assert end["completed_at"] >= end["in_progress_at"] >= end["created_at"]
    assert end["penstock"]["job_id"].startswith("job_")
    assert end["penstock"]["progress"] == {
        "done": 2,
        "total": 2,
        "failed": 0,
        "cached": 1,
        "percent": 100.0,
        "rate_per_second": 0.0,
        "eta_seconds": 0.0,
    }


@SHARED
async def test_results_come_in_pages(emptied: App):
    batch = await create(emptied.client, requests=requests(*[f"parcel {n}" for n in range(7)]))
    await ended(emptied, batch["id"])
    seen, cursor = [], None
    while True:
        params = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = (await emptied.client.get(f"{PATH}/{batch['id']}/results", params=params)).json()
        seen.append([item["custom_id"] for item in page["items"]])
        cursor = page["next"]
        if cursor is None:
            break

    assert seen == [["r0", "r1", "r2"], ["r3", "r4", "r5"], ["r6"]]


@SHARED
async def test_the_pages_of_an_ended_batch_end_whatever_it_should_have_had(emptied: App):
    batch = await create(emptied.client, requests=requests("parcel", "letter"))
    await ended(emptied, batch["id"])
    await emptied.runtime.database.write(
        ("UPDATE batch_batches SET total = 9 WHERE id = ?", (batch["id"],))
    )

    url = f"{PATH}/{batch['id']}/results"
    whole = (await emptied.client.get(url)).json()
    exact = (await emptied.client.get(url, params={"limit": 2})).json()

    assert len(whole["items"]) == len(exact["items"]) == 2
    assert whole["next"] is exact["next"] is None


@SHARED
@pytest.mark.parametrize("place", [2**63, 2**64 - 1, -1, True, "x"])
async def test_a_cursor_that_no_page_gave_is_refused(emptied: App, place: object):
    batch = await create(emptied.client, requests=requests("parcel"))

    reply = await emptied.client.get(
        f"{PATH}/{batch['id']}/results", params={"cursor": encode_cursor(place)}
    )

    assert_problem(reply, 422)


async def test_while_a_batch_runs_its_pages_stop_where_it_is_and_lead_on(
    behind: Start, upstream: Upstream
):
    async with behind(batch_concurrency=1) as app:
        await app.client.post(ENDPOINT, json={"input": "parcel 0"})
        upstream.always(hang())
        batch = await create(app.client, requests=requests("parcel 0", "parcel 1"))
        page = await first_results(app, batch["id"])
        cancelled = await app.client.post(f"{PATH}/{batch['id']}/cancel")
        end = await ended(app, batch["id"])
        params = {"cursor": page["next"]}
        rest = (await app.client.get(f"{PATH}/{batch['id']}/results", params=params)).json()

    assert [item["custom_id"] for item in page["items"]] == ["r0"]
    assert cancelled.json()["status"] in ("cancelling", "cancelled")
    assert end["status"] == "cancelled"
    assert rest["items"][0]["error"]["code"] == "batch_cancelled"
    assert rest["next"] is None


async def test_the_events_of_a_batch_end_with_its_end(app: App):
    batch = await create(app.client, requests=requests(KIND))
    events: list[tuple[str, dict[str, Any]]] = []

    async with asyncio.timeout(SOON):
        reply = await app.client.get(f"{PATH}/{batch['id']}/events")
    for block in reply.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((fields["event"], json.loads(fields["data"])))
    again = await app.client.get(
        f"{PATH}/{batch['id']}/events", headers={"Last-Event-ID": fields["id"]}
    )

    assert {name for name, _ in events} == {"batch"}
    assert events[-1][1]["status"] == "completed"
    assert again.status_code == 204


@SHARED
async def test_batches_are_listed_newest_first(emptied: App):
    client = await emptied.key("operator", owner="lister")
    made = [(await create(client, requests=requests(KIND)))["id"] for _ in range(3)]

    first = (await client.get(PATH, params={"limit": 2})).json()
    second = (await client.get(PATH, params={"limit": 2, "after": first["last_id"]})).json()

    listed = [batch["id"] for page in (first, second) for batch in page["data"]]
    assert sorted(listed) == sorted(made)
    assert (first["has_more"], second["has_more"]) == (True, False)


@SHARED
async def test_a_batch_that_has_ended_cannot_be_cancelled(emptied: App):
    batch = await create(emptied.client, requests=requests(KIND))
    await ended(emptied, batch["id"])

    reply = await emptied.client.post(f"{PATH}/{batch['id']}/cancel")

    assert "completed" in assert_problem(reply, 409)["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"requests": []}, "/requests"),
        ({}, "/input_file_id"),
        ({"requests": requests(KIND), "input_file_id": "file-x"}, "/input_file_id"),
        ({"requests": requests(KIND), "endpoint": "/v1/none"}, "/endpoint"),
        ({"requests": requests(KIND), "endpoint": "/api/moderate"}, "/endpoint"),
        ({"requests": requests(KIND), "completion_window": "90d"}, "/completion_window"),
        ({"requests": requests(KIND) * 2}, "/requests/1/custom_id"),
        ({"requests": [{"body": {}, "url": "/v1/x"}]}, "/requests/0/url"),
        ({"requests": [{"custom_id": "a"}]}, "/requests/0"),
        ({"requests": requests(KIND), "metadata": {"k": 5}}, "/metadata"),
    ],
)
@SHARED
async def test_a_wrong_batch_is_refused_with_its_place(shared: App, body: Any, pointer: str):
    reply = await shared.client.post(PATH, json={"endpoint": ENDPOINT, **body})

    problem = assert_problem(reply, 422)
    assert problem["errors"][0]["pointer"].startswith(pointer)
    assert problem["error"]["message"]


@SHARED
async def test_more_requests_than_the_setting_are_too_large(shared: App):
    body = {"endpoint": ENDPOINT, "requests": [{"body": {}}] * 50_001}

    assert_problem(await shared.client.post(PATH, json=body), 413)


@SHARED
async def test_requests_that_are_too_many_for_a_body_are_to_be_sent_as_a_file(shared: App):
    huge = requests("x" * (8 << 20))
    tiny = b'{"endpoint":"/v1/moderations","requests":[' + b'{ "body":1},' * 100_001
    headers = {"Content-Type": "application/json"}

    too_long = await shared.client.post(PATH, json={"endpoint": ENDPOINT, "requests": huge})
    too_many = await shared.client.post(PATH, content=tiny + b"{}]}", headers=headers)

    for reply in (too_long, too_many):
        assert "to /v1/files instead" in assert_problem(reply, 413)["detail"]


@SHARED
async def test_metadata_is_bounded_before_it_is_read(shared: App):
    metadata = {str(number): "" for number in range(50_000)}

    body = {"endpoint": ENDPOINT, "requests": requests(KIND), "metadata": metadata}

    problem = assert_problem(await shared.client.post(PATH, json=body), 422)
    assert problem["errors"][0]["pointer"] == "/metadata"
    assert "bytes" in problem["errors"][0]["detail"]


@SHARED
async def test_what_a_body_names_twice_is_not_read_twice(shared: App):
    huge = ",".join(f'"{number}":""' for number in range(50_000))
    body = f'{{"endpoint":"{ENDPOINT}","metadata":{{{huge}}},"metadata":{{"a":"b"}},"requests":[]}}'
    headers = {"Content-Type": "application/json"}

    problem = assert_problem(await shared.client.post(PATH, content=body, headers=headers), 422)

    assert problem["errors"][0]["pointer"] == "/requests"


@SHARED
async def test_a_request_in_a_body_is_no_longer_than_a_line_of_a_file(shared: App):
    body = {"endpoint": ENDPOINT, "requests": requests(KIND, "x" * (1 << 20))}

    problem = assert_problem(await shared.client.post(PATH, json=body), 422)

    assert problem["errors"][0]["pointer"] == "/requests/1/body"


@SHARED
async def test_batches_and_files_are_their_owner_s(emptied: App):
    owner = await emptied.key("operator", owner="team")
    stranger = await emptied.key("operator", owner="other")
    batch = await create(owner, requests=requests(KIND))
    file = (await upload(owner, lines(KIND))).json()

    for path in (f"{PATH}/{batch['id']}", f"{PATH}/{batch['id']}/results"):
        assert_problem(await stranger.get(path), 403)
    assert_problem(await stranger.post(f"{PATH}/{batch['id']}/cancel"), 403)
    assert_problem(await stranger.get(f"/v1/files/{file['id']}/content"), 403)
    assert_problem(await stranger.delete(f"/v1/files/{file['id']}"), 403)
    body = {"endpoint": ENDPOINT, "input_file_id": file["id"]}
    assert_problem(await stranger.post(PATH, json=body), 403)
    assert (await stranger.get(PATH)).json()["data"] == []
    assert (await stranger.get("/v1/files")).json()["data"] == []


@SHARED
async def test_a_request_sent_again_with_its_key_is_one_batch(emptied: App):
    headers = {"Idempotency-Key": "k1"}
    body = {"endpoint": ENDPOINT, "requests": requests(KIND)}

    first, second, other = [
        await emptied.client.post(PATH, json=sent, headers=headers)
        for sent in (body, body, {**body, "requests": requests(THREAT)})
    ]

    assert first.json()["id"] == second.json()["id"]
    assert_problem(other, 422)


@SHARED
async def test_a_file_is_kept_as_it_was_sent_until_it_is_deleted(emptied: App):
    content = lines(KIND, THREAT) * 4000  # several pieces

    file = (await upload(emptied.client, content)).json()
    read = (await emptied.client.get(f"/v1/files/{file['id']}/content")).content
    deleted = (await emptied.client.delete(f"/v1/files/{file['id']}")).json()

    assert (file["bytes"], file["filename"], file["purpose"]) == (len(content), "in.jsonl", "batch")
    assert read == content
    assert deleted == {"id": file["id"], "object": "file", "deleted": True}
    assert_problem(await emptied.client.get(f"/v1/files/{file['id']}"), 404)


@SHARED
async def test_an_upload_for_another_purpose_is_refused_and_not_kept(emptied: App):
    client = await emptied.key("operator", owner="uploader")

    reply = await upload(client, lines(KIND), purpose="fine-tune")

    assert_problem(reply, 422)
    assert (await client.get("/v1/files")).json()["data"] == []


@SHARED
async def test_what_is_no_upload_is_refused(shared: App):
    assert_problem(await shared.client.post("/v1/files", json={"file": "x"}), 415)
    assert_problem(await shared.client.post("/v1/files", files={"file": ("a", b"x")}), 422)
    assert_problem(
        await shared.client.post("/v1/files", data={"purpose": "batch"}, files={"x": b"y"}), 422
    )


async def test_a_file_beyond_the_limit_is_refused_and_larger_ones_than_bodies_are_not(start: Start):
    async with start(max_file_bytes=3 << 20) as app:
        larger = await upload(app.client, lines(KIND) * 15_000)
        beyond = await upload(app.client, lines(KIND) * 40_000)

    assert larger.status_code == 200
    assert_problem(beyond, 413)


@SHARED
async def test_a_file_with_wrong_lines_fails_its_batch_and_names_them(emptied: App):
    content = lines(KIND) + b"{broken\n" + lines(KIND, url="/v1/other")
    file = (await upload(emptied.client, content)).json()
    batch = await create(emptied.client, input_file_id=file["id"])

    end = await ended(emptied, batch["id"])

    assert end["status"] == "failed"
    assert end["failed_at"]
    assert [error["line"] for error in end["errors"]["data"]] == [2, 3, 3]


async def test_a_batch_of_a_job_that_somebody_cancelled_is_cancelled(
    behind: Start, upstream: Upstream
):
    upstream.always(hang())

    async with behind() as app:
        batch = await create(app.client, requests=requests(KIND))
        await app.client.post(f"/v1/jobs/{batch['penstock']['job_id']}/cancel")
        end = await ended(app, batch["id"])

    assert end["status"] == "cancelled"


async def test_a_batch_stops_where_its_key_s_budget_ends(behind: Start, upstream: Upstream):
    async with behind(provider=(upstream.url,), batch_concurrency=2) as app:
        key = await app.key("operator", budget_tokens=1)
        made = await create(key, requests=requests(*(f"a parcel, {n}" for n in range(40))))
        end = await ended(app, made["id"])
        page = (await key.get(f"{PATH}/{made['id']}/results", params={"limit": 100})).json()
        retried = await key.post(f"/v1/jobs/{made['id']}/retry")

    counts = end["request_counts"]
    assert 1 <= counts["completed"] == upstream.calls <= 2  # at once, before the first was known
    assert counts["completed"] + counts["failed"] == 40
    refused = [item["response"] for item in page["items"][counts["completed"] :]]
    told = {(one["status_code"], one["body"]["error"]["code"]) for one in refused}
    assert told == {(429, "budget_exhausted")}
    assert_problem(retried, 429)


async def test_a_batch_goes_on_after_a_restart(settings: Settings, start: Start, upstream):
    asked = {"provider": (f"{upstream.url}?api=moderations",), "model": "stub"}
    texts = [f"parcel {n}" for n in range(6)]
    async with start(**asked, batch_concurrency=1) as app:
        await app.client.post(ENDPOINT, json={"input": texts[0]})
        upstream.always(hang())
        batch = await create(app.client, requests=requests(*texts))
        await first_results(app, batch["id"])
        await app.runtime.jobs.stop(grace=0.0)
    upstream.reset()

    async with start(**asked) as app:
        end = await ended(app, batch["id"])

    assert end["status"] == "completed"
    assert upstream.calls == 5


@pytest.mark.slow
async def test_the_official_sdk_s_batch_calls_work(shared_server: Live):
    sdk = openai.AsyncOpenAI(base_url=f"{shared_server.url}/v1", api_key=ADMIN, max_retries=0)
    async with sdk, asyncio.timeout(SOON):
        file = await sdk.files.create(
            file=("in.jsonl", io.BytesIO(lines(KIND, THREAT, ""))), purpose="batch"
        )
        batch = await sdk.batches.create(
            input_file_id=file.id,
            endpoint="/v1/moderations",
            completion_window="24h",
            metadata={"for": "test"},
        )
        while batch.status not in FINAL:
            batch = await sdk.batches.retrieve(batch.id)
        assert batch.output_file_id
        assert batch.error_file_id
        output = (await sdk.files.content(batch.output_file_id)).text
        errors = (await sdk.files.content(batch.error_file_id)).text
        info = await sdk.files.retrieve(batch.output_file_id)
        listed = [one.id async for one in sdk.batches.list()]
        with pytest.raises(openai.ConflictError):
            await sdk.batches.cancel(batch.id)
        await sdk.files.delete(file.id)
        with pytest.raises(openai.NotFoundError):
            await sdk.files.retrieve(file.id)

    answers = [json.loads(line) for line in output.splitlines()]
    assert [answer["custom_id"] for answer in answers] == ["r0", "r1"]
    assert answers[1]["response"]["body"]["results"][0]["flagged"] is True
    assert json.loads(errors)["response"]["status_code"] == 422
    assert batch.request_counts
    assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 1)
    assert (info.bytes, info.purpose) == (len(output.encode()), "batch_output")
    assert batch.id in listed


@pytest.mark.slow
def test_after_kill_9_every_item_is_answered_once_in_order(serve, tmp_path: Path):
    home = tmp_path / "home"
    texts = [f"note {n}: the parcel has arrived" for n in range(2000)]
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with serve(home=home) as live, httpx.Client(base_url=live.url, headers=headers) as client:
        made = client.post(PATH, json={"endpoint": ENDPOINT, "requests": requests(*texts)}).json()
        while client.get(f"{PATH}/{made['id']}").json()["request_counts"]["completed"] < 200:
            pass
        live.process.kill()
        live.process.wait()

    with serve(home=home) as live, httpx.Client(base_url=live.url, headers=headers) as client:
        before = client.get(f"{PATH}/{made['id']}").json()
        while (batch := client.get(f"{PATH}/{made['id']}").json())["status"] not in FINAL:
            pass
        content = client.get(f"/v1/files/{batch['output_file_id']}/content").text

    answers = [json.loads(line) for line in content.splitlines()]
    assert before["request_counts"]["completed"] >= 200
    assert batch["request_counts"] == {"total": 2000, "completed": 2000, "failed": 0}
    assert [answer["custom_id"] for answer in answers] == [f"r{n}" for n in range(2000)]
