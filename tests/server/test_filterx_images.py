from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from benchmarks.rigs.upstream import COLOURS, Upstream, failing
from tests.server.conftest import App, Start

LOOK = {"analyzeImages": True}
CLEAN = "The weather is lovely in the mountains today."


def picture(colour: str, *, side: int = 64, format: str = "PNG") -> str:
    """Base64 of an image of one colour."""
    sink = io.BytesIO()
    Image.new("RGB", (side, side), COLOURS[colour][0]).save(sink, format)
    return base64.b64encode(sink.getvalue()).decode("ascii")


@pytest.fixture
def seeing(behind: Start) -> Start:
    """Like `start`, with the rig as a provider that looks at images."""
    return lambda **changes: behind(provider_vision="on", **changes)


async def filtered(client: httpx.AsyncClient, path: str = "/v1/filter", **body: Any) -> Any:
    reply = await client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize(
    ("colour", "flags"),
    [("red", ["violence"]), ("blue", ["nsfw"]), ("green", []), ("grey", [])],
)
async def test_images_are_flagged_by_what_is_seen(seeing: Start, colour: str, flags: list[str]):
    async with seeing() as app:
        bare = await filtered(app.client, "/v1/filter/image", image=picture(colour))
        url = f"data:image/png;base64,{picture(colour)}"
        whole = await filtered(app.client, image=url, config=LOOK)

    assert (bare["flags"], bare["blocked"]) == (flags, bool(flags))
    assert whole == bare


async def test_what_is_only_suspected_in_an_image_passes_and_says_why(seeing: Start):
    async with seeing() as app:
        reply = await app.client.post("/v1/filter/image", json={"image": picture("green")})

    told = "Passed; left to a human to review: self-harm beyond the review threshold (0.55)"
    assert reply.json()["reason"] == told


async def test_an_answer_about_both_names_both_verdicts(seeing: Start):
    async with seeing() as app:
        body = {"text": CLEAN, "image": picture("grey"), "config": LOOK}
        reply = await app.client.post("/v1/filter", json=body)
        known = [
            await app.runtime.moderation.find(id, owner="admin")
            for id in reply.headers["x-penstock-verdict"].split(", ")
        ]

    assert len({found.id for found in known}) == 2


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_the_type_of_bare_base64_is_found_out(seeing: Start, format: str):
    lines = base64.encodebytes(base64.b64decode(picture("red", format=format))).decode()

    async with seeing() as app:
        answer = await filtered(app.client, "/v1/filter/image", image=lines)

    assert answer["flags"] == ["violence"]


async def test_text_and_image_are_looked_at_side_by_side(seeing: Start, upstream: Upstream):
    """X-18."""
    upstream.hold_until(2)

    async with seeing() as app:
        answer = await filtered(
            app.client, text="a hateful line", image=picture("red"), config=LOOK
        )

    assert answer["flags"] == ["abusive_language", "violence"]
    assert upstream.most_at_once == 2


async def test_a_clean_image_does_not_clear_a_text_nor_the_reverse(seeing: Start):
    async with seeing() as app:
        text = await filtered(
            app.client, text="ring 212-555-0134", image=picture("grey"), config=LOOK
        )
        image = await filtered(app.client, text=CLEAN, image=picture("red"), config=LOOK)

    assert text["flags"] == ["phone_number"]
    assert image["flags"] == ["violence"]


async def test_images_with_equal_headers_have_answers_of_their_own(
    seeing: Start, upstream: Upstream
):
    """O-07: FilterX's key is made of an encoded image's beginning."""
    red, grey = picture("red", format="GIF"), picture("grey", format="GIF")

    async with seeing() as app:
        first = await filtered(app.client, "/v1/filter/image", image=grey)
        second = await filtered(app.client, "/v1/filter/image", image=red)
        again = await filtered(app.client, "/v1/filter/image", image=grey)

    assert grey[:12] == red[:12]
    assert [first["flags"], second["flags"], again["flags"]] == [[], ["violence"], []]
    assert upstream.calls == 2


async def test_without_a_model_that_sees_an_image_is_never_passed(start: Start):
    async with start() as app:
        answer = await filtered(app.client, "/v1/filter/image", image=picture("grey"))

    assert (answer["blocked"], answer["flags"]) == (True, ["error"])


@pytest.mark.parametrize("on_failure", ["open", "review", "closed"])
async def test_an_image_that_could_not_be_looked_at_is_never_passed(
    seeing: Start, upstream: Upstream, policy: Callable[[str], Path], on_failure: str
):
    upstream.script([failing(500)] * 10)
    path = policy(f'on_provider_failure = "{on_failure}"\n')

    async with seeing(policy=path) as app:
        answer = await filtered(app.client, "/v1/filter/image", image=picture("grey"))

    assert (answer["blocked"], answer["flags"]) == (True, ["error"])


async def test_a_failure_is_asked_again(seeing: Start, upstream: Upstream):
    upstream.script([failing(500)])

    async with seeing() as app:
        await filtered(app.client, "/v1/filter/image", image=picture("grey"))
        answer = await filtered(app.client, "/v1/filter/image", image=picture("grey"))

    assert not answer["blocked"]


async def test_an_image_that_nobody_wants_analyzed_is_said_to_be_unseen(
    seeing: Start, upstream: Upstream
):
    async with seeing() as app:
        answer = await filtered(app.client, text=CLEAN, image=picture("red"), model="fast")

    assert (answer["blocked"], answer["flags"]) == (False, [])
    told = "Passed; the image was not analyzed, since analyzeImages is not set"
    assert answer["reason"] == told
    assert upstream.calls == 0


@pytest.mark.parametrize("config", [LOOK, {}])
async def test_an_image_of_a_block_list_is_blocked_whoever_looks(app: App, config: Any):
    from hashlib import sha256

    image = picture("grey")
    made = await app.client.post("/v1/lists", json={"name": "known", "kind": "block"})
    digest = sha256(base64.b64decode(image)).hexdigest()
    entries = {"entries": [{"kind": "sha256", "value": digest}]}
    added = await app.client.post(f"/v1/lists/{made.json()['id']}/entries", json=entries)
    assert added.is_success, added.text

    answer = await filtered(app.client, text=CLEAN, image=image, config=config)

    assert (answer["blocked"], answer["flags"]) == (True, ["inappropriate"])


@pytest.mark.parametrize(("allow", "flags"), [(True, []), (False, ["abuse"])])
async def test_abuse_in_images_can_be_allowed(
    seeing: Start,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    allow: bool,
    flags: list[str],
):
    monkeypatch.setitem(COLOURS, "grey", ((128, 128, 128), {"harassment": 0.9}))

    async with seeing(provider=(upstream.url,)) as app:  # a chat model, which judges all
        answer = await filtered(
            app.client, image=picture("grey"), config={**LOOK, "allowAbuse": allow}
        )

    assert answer["flags"] == flags, answer


@pytest.mark.parametrize("bad", ["truncated", "text", "claims"])
async def test_an_image_that_is_none_is_refused(app: App, bad: str):
    image = {
        "truncated": picture("red")[:40],
        "text": base64.b64encode(b"hello, this is no image").decode(),
        "claims": f"data:image/jpeg;base64,{picture('red')}",
    }[bad]

    reply = await app.client.post("/v1/filter/image", json={"image": image})

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/image"


async def test_images_of_a_batch_are_told_apart(seeing: Start):
    items = [{"image": picture(colour), "config": LOOK} for colour in ("red", "grey", "blue")]

    async with seeing() as app:
        answer = await filtered(app.client, "/v1/filter/batch", items=items)

    assert [one["flags"] for one in answer["results"]] == [["violence"], [], ["nsfw"]]
