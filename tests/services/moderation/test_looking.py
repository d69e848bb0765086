"""Looking at images: where they come from, what is remembered, and what failure looks like."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.rigs.upstream import Upstream, failing
from penstock.cache import Cache, MemoryStore
from penstock.clock import SystemClock
from penstock.errors import (
    BlockedAddress,
    FetchFailed,
    InvalidInput,
    PenstockError,
    ProviderUnavailable,
    TooLarge,
)
from penstock.hub import LocalHub
from penstock.images import Limits
from penstock.net.dial import Dialler
from penstock.net.guard import Guard
from penstock.observe.metrics import Metrics
from penstock.pipeline import Pipeline
from penstock.providers.factory import open_provider
from penstock.providers.provider import CATEGORIES, Scores, seer
from penstock.services.moderation import image_sources, looking
from penstock.services.moderation.looking import Looker, LookFailed, Sight
from penstock.services.moderation.prompts import image_prompt, moderation_prompt
from tests.images.made import (
    BLUE,
    GREEN,
    GREY,
    RED,
    animated,
    data_url,
    distance,
    encoded,
    photo,
    plain,
    png_header,
)
from tests.providers.scripted import SeeingProvider

AT = "/input/1/image_url/url"
Make = Callable[..., Looker]


class WaitingProvider(SeeingProvider):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self._came = asyncio.Condition()

    async def look(
        self, picture: bytes, media_type: str, *, deadline: float | None = None
    ) -> Scores:
        async with self._came:
            scores = await super().look(picture, media_type, deadline=deadline)
            self._came.notify_all()
        await self.go.wait()
        return scores

    async def asked(self, times: int) -> None:
        """Wait until it was shown so many pictures."""
        async with asyncio.timeout(60), self._came:
            await self._came.wait_for(lambda: len(self.shown) == times)


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    clock, metrics = SystemClock(), Metrics()
    hub = LocalHub()
    cache = Cache([MemoryStore()], hub=hub, clock=clock, metrics=metrics, max_ttl=1e9)

    def build(
        provider: object = None, *, allow: tuple[str, ...] = (), limits: Limits | None = None
    ) -> Looker:
        return Looker(
            pipeline=Pipeline(cache=cache, metrics=metrics, clock=clock),
            dialler=Dialler(Guard(allow=allow)),
            provider=seer(provider),
            metrics=metrics,
            limits=limits or Limits(),
        )

    yield build
    await cache.aclose()
    hub.close()


@pytest.fixture(params=["chat", "moderations"])
async def remote(request: pytest.FixtureRequest, upstream: Upstream) -> AsyncIterator[object]:
    provider = open_provider(
        f"{upstream.url}?api={request.param}&model=stub&vision=yes&timeout=10",
        clock=SystemClock(),
        prompt=moderation_prompt(),
        image_prompt=image_prompt(),
        retries=0,
    )
    yield provider
    await provider.aclose()


@asynccontextmanager
async def site(*answers: bytes) -> AsyncIterator[str]:
    """A web server that gives these answers in turn, the last one for ever; yields host:port."""
    told = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(told.pop(0) if len(told) > 1 else told[0])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def answer(body: bytes, *, status: str = "200 OK", head: str = "Content-Type: image/png") -> bytes:
    return f"HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def score(sight: Sight, category: str) -> float | None:
    return sight.scores[CATEGORIES.index(category)]


def told(error: PenstockError) -> tuple[str, str]:
    """Where an error says that the fault is, and what it is."""
    (entry,) = error.fields["errors"]  # type: ignore[misc]
    return entry["pointer"], entry["detail"]


async def test_without_a_provider_an_image_has_hashes_and_no_scores(make: Make) -> None:
    data = encoded(photo(), "PNG")

    seen = await make().look(data_url(data), pointer=AT)

    sight = seen.value
    assert not sight.available
    assert set(sight.scores) == {None}
    assert sight.sha256 == hashlib.sha256(data).hexdigest()
    assert (sight.format, sight.width, sight.height, sight.frames) == ("png", 640, 480, 1)
    assert (len(sight.pdq), len(sight.phash)) == (8, 8)
    assert seen.receipt.source == sight.source == "local"


async def test_a_provider_that_sees_scores_the_image(make: Make, remote: object) -> None:
    seen = await make(remote).look(data_url(encoded(plain(RED), "PNG")), pointer=AT)

    assert seen.value.available
    assert score(seen.value, "violence") == 0.95
    assert score(seen.value, "pii/email") is None
    assert seen.receipt.source == "provider"
    assert set(seen.value.models) == {"penstock-images", "stub"}


async def test_what_an_animation_shows_behind_its_first_frame_is_seen(
    make: Make, upstream: Upstream, remote: object
) -> None:
    frames = [plain(each, (200, 200)) for each in (GREY, BLUE, BLUE)]
    frames[2].putpixel((0, 0), GREEN)  # equal neighbours would be merged

    seen = await make(remote).look(data_url(animated(*frames), "image/gif"), pointer=AT)

    assert score(seen.value, "sexual") == 0.9


async def test_an_image_is_looked_at_once(make: Make, upstream: Upstream, remote: object) -> None:
    looker = make(remote)
    url = data_url(encoded(plain(RED), "PNG"))

    await asyncio.gather(*(looker.look(url, pointer=f"/input/{at}") for at in range(20)))
    again = await looker.look(url, pointer=AT)

    assert upstream.calls == 1
    assert again.from_cache
    assert again.receipt.source == "memory"


async def test_two_images_with_equal_headers_are_two(make: Make) -> None:
    one = encoded(plain(GREEN, (256, 256)), "BMP")
    first, second = (encoded(plain(each, (256, 256)), "PNG") for each in (RED, BLUE))
    assert base64.b64encode(first)[:40] == base64.b64encode(second)[:40] != one[:40]
    looker = make()

    sights = [(await looker.look(data_url(data), pointer=AT)).value for data in (first, second)]

    assert sights[0].sha256 != sights[1].sha256
    assert looker.key(sights[0].sha256) != looker.key(sights[1].sha256)


async def test_who_looks_is_part_of_the_key(make: Make) -> None:
    blind, one, other = make(), make(SeeingProvider("one")), make(SeeingProvider("other"))

    keys = {looker.key("a" * 64) for looker in (blind, one, other)}

    assert len(keys) == 3
    assert one.key("a" * 64, ask=False) == blind.key("a" * 64)
    assert one.sees
    assert not blind.sees


async def test_a_policy_without_a_provider_gets_no_look(make: Make) -> None:
    provider = SeeingProvider()

    seen = await make(provider).look(data_url(encoded(plain(), "PNG")), pointer=AT, ask=False)

    assert not seen.value.available
    assert provider.shown == []


async def test_the_provider_is_shown_pixels_and_not_what_the_sender_wrote(make: Make) -> None:
    provider = SeeingProvider()
    data = encoded(photo(), "JPEG", comment=b"a secret name")

    await make(provider).look(data_url(data, "image/jpeg"), pointer=AT)

    ((picture, media_type),) = provider.shown
    assert media_type == "image/jpeg"
    assert b"secret" in data
    assert b"secret" not in picture


async def test_a_failed_look_is_remembered_by_nobody_and_keeps_what_is_known(
    make: Make, upstream: Upstream, remote: object
) -> None:
    looker = make(remote)
    url = data_url(encoded(photo(), "PNG"))
    upstream.script([failing(500)])

    with pytest.raises(LookFailed) as failed:
        await looker.look(url, pointer=AT)
    after = await looker.look(url, pointer=AT)

    assert isinstance(failed.value.cause, ProviderUnavailable)
    assert len(failed.value.sight.pdq) == 8
    assert not failed.value.sight.available
    assert after.value.available
    assert upstream.calls == 2


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("data:image/png;base64,$$$$", "not strict base64"),
        ("data:image/png;base64,iVBORw0KGg", "not strict base64"),
        ("data:image/png;base64,iVBO Rw0K", "not strict base64"),
        ("data:image/png;base64,iVBORw0Kß===", "not strict base64"),
        ("data:image/png;base64,", "no bytes"),
        ("data:image/png;base64,aGVsbG8gd29ybGQ=", "not those of an image"),
        ("data:text/html;base64,aGVsbG8=", "no type of image"),
        ("data:image/png,hello", "http(s) address"),
        ("data:;base64,aGVsbG8=", "http(s) address"),
        ("iVBORw0KGgo=", "http(s) address"),
        ("ftp://example.com/a.png", "http(s) address"),
        ("file:///etc/passwd", "http(s) address"),
        ("", "http(s) address"),
    ],
)
async def test_what_is_no_image_is_refused_where_it_stands(
    url: str, detail: str, make: Make
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await make().look(url, pointer=AT)

    pointer, said = told(refused.value)
    assert pointer == AT
    assert detail in said


@pytest.mark.parametrize(
    ("data", "declared", "detail"),
    [
        (encoded(plain()), "image/png", "declared as 'image/png'"),
        (encoded(photo())[:4000], "image/jpeg", "damaged"),
        (png_header(10_000, 10_000), "image/png", "10000 x 10000 pixels"),
    ],
    ids=["another type", "truncated", "bomb"],
)
async def test_an_image_that_lies_is_refused_before_anyone_sees_it(
    data: bytes, declared: str, detail: str, make: Make
) -> None:
    provider = SeeingProvider()

    with pytest.raises(InvalidInput) as refused:
        await make(provider).look(data_url(data, declared), pointer=AT)

    assert told(refused.value)[0] == AT
    assert detail in told(refused.value)[1]
    assert provider.shown == []


async def test_a_lie_about_the_type_is_one_although_the_bytes_are_known(make: Make) -> None:
    looker, data = make(), encoded(plain())
    await looker.look(data_url(data, "image/jpeg"), pointer=AT)

    with pytest.raises(InvalidInput, match="declared as"):
        await looker.look(data_url(data, "image/webp"), pointer=AT)


async def test_those_who_wait_for_one_damaged_image_hear_each_where_theirs_is(make: Make) -> None:
    looker, url = make(), data_url(encoded(photo())[:4000], "image/jpeg")

    outcomes = await asyncio.gather(
        *(looker.look(url, pointer=f"/input/{at}") for at in range(5)), return_exceptions=True
    )

    pointers = [told(error)[0] for error in outcomes if isinstance(error, InvalidInput)]
    assert pointers == [f"/input/{at}" for at in range(5)]


async def test_those_who_wait_for_one_failing_provider_hear_each_for_themselves(
    make: Make, upstream: Upstream, remote: object
) -> None:
    looker, url = make(remote), data_url(encoded(plain(RED), "PNG"))
    upstream.script([failing(500)] * 3)

    outcomes = await asyncio.gather(
        *(looker.look(url, pointer=f"/input/{at}") for at in range(3)), return_exceptions=True
    )

    failures = [each for each in outcomes if isinstance(each, LookFailed)]
    assert len({id(each) for each in failures}) == 3
    assert len({each.sight for each in failures}) == 1


async def test_of_several_images_each_hears_of_its_own_fault(make: Make) -> None:
    looker = make()
    places = looker.places()
    urls = [
        data_url(encoded(photo(), "PNG")),
        "data:image/png;base64,$$$$",
        data_url(encoded(photo())[:4000], "image/jpeg"),
        "http://127.0.0.1/a.png",
        data_url(encoded(photo())[:4000], "image/jpeg"),
        data_url(encoded(photo(), "PNG")),
    ]

    outcomes = await asyncio.gather(
        *(looker.look(url, pointer=f"/{at}", places=places) for at, url in enumerate(urls)),
        return_exceptions=True,
    )

    faults = [told(each)[0] for each in outcomes if isinstance(each, PenstockError)]
    assert faults == ["/1", "/2", "/3", "/4"]


async def test_a_scan_bomb_is_refused_where_it_stands(make: Make) -> None:
    whole = encoded(plain(), "JPEG", progressive=True)
    bomb = whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * 300 + whole[-2:]

    with pytest.raises(InvalidInput) as refused:
        await make().look(data_url(bomb, "image/jpeg"), pointer=AT)

    assert told(refused.value)[0] == AT
    assert "over 32 scans" in told(refused.value)[1]


async def test_a_slow_provider_keeps_nobody_from_fetching(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_sources, "FETCHING", 1)
    provider = WaitingProvider()
    bodies = [answer(encoded(plain(each), "PNG")) for each in (RED, BLUE)]
    async with site(*bodies) as place, asyncio.TaskGroup() as group:
        looker = make(provider, allow=(place,))
        looks = [group.create_task(looker.look(f"http://{place}/", pointer=AT)) for _ in range(2)]

        await provider.asked(2)  # the second was fetched although the first waits for its model
        provider.go.set()

    assert all(look.result().value.available for look in looks)


async def test_one_request_asks_for_a_few_images_at_a_time(make: Make) -> None:
    provider = WaitingProvider()
    looker = make(provider)
    places = looker.places()
    urls = [data_url(encoded(photo(seed, (40, 30)), "PNG")) for seed in range(9)]
    async with asyncio.TaskGroup() as group:
        for at, url in enumerate(urls):
            group.create_task(looker.look(url, pointer=f"/{at}", places=places))
        await provider.asked(image_sources.PLACES)

        stranger = data_url(encoded(plain(BLUE), "PNG"))
        waiting = group.create_task(looker.look(stranger, pointer=AT, places=looker.places()))
        await provider.asked(image_sources.PLACES + 1)
        provider.go.set()

    assert len(provider.shown) == len(urls) + 1
    assert waiting.result().value.available


async def test_a_data_url_that_is_too_long_is_refused_before_it_is_decoded(make: Make) -> None:
    with pytest.raises(TooLarge, match="at most 1000 are read") as refused:
        await make(limits=Limits(bytes=1000)).look(
            f"data:image/png;base64,{'$' * 4000}", pointer=AT
        )

    assert told(refused.value)[0] == AT


async def test_a_large_image_is_unpacked_beside_the_loop(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    unpacked = image_sources.unpacked

    def noted(url: str, start: int) -> bytes:
        threads.append(threading.get_ident())
        return unpacked(url, start)

    monkeypatch.setattr(image_sources, "unpacked", noted)
    small, large = encoded(plain(), "PNG"), encoded(photo(), "PNG")
    assert len(large) > image_sources.INLINE_BYTES > len(small)

    for data in (small, large):
        await make().look(data_url(data), pointer=AT)

    assert threads[0] == threading.get_ident() != threads[1]


async def test_no_more_images_are_decoded_at_once_than_there_is_memory_for(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most, lock = 0, 0, threading.Lock()
    read = looking._read

    def counted(*given: object, **options: object) -> object:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            return read(*given, **options)  # type: ignore[arg-type]
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(looking, "_read", counted)
    looker = make()
    urls = [data_url(encoded(photo(seed, (200, 150)), "PNG")) for seed in range(8)]

    await asyncio.gather(*(looker.look(url, pointer=AT) for url in urls))

    assert 1 <= most <= looking.DECODING


async def test_a_remote_image_is_fetched_and_looked_at(make: Make, remote: object) -> None:
    async with site(answer(encoded(plain(RED), "PNG"), head="Content-Type: text/plain")) as place:
        seen = await make(remote, allow=(place,)).look(f"http://{place}/a.png", pointer=AT)

    assert score(seen.value, "violence") == 0.95


async def test_a_remote_image_that_changes_is_another(make: Make) -> None:
    bodies = [answer(encoded(plain(each), "PNG")) for each in (RED, BLUE)]
    async with site(*bodies) as place:
        looker = make(allow=(place,))
        first, second = [await looker.look(f"http://{place}/", pointer=AT) for _ in range(2)]

    assert first.value.sha256 != second.value.sha256


async def test_the_same_bytes_are_one_image_wherever_they_come_from(make: Make) -> None:
    data = encoded(plain(RED), "PNG")
    async with site(answer(data)) as place:
        looker = make(allow=(place,))
        await looker.look(f"http://{place}/", pointer=AT)

        assert (await looker.look(data_url(data), pointer=AT)).from_cache


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a.png", "http://169.254.169.254/latest", "https://[::1]/", "http://0/"],
)
async def test_a_private_address_is_not_dialled(url: str, make: Make) -> None:
    with pytest.raises(BlockedAddress) as refused:
        await make().look(url, pointer=AT)

    assert told(refused.value)[0] == AT


async def test_a_redirect_to_a_private_address_is_not_followed(make: Make) -> None:
    away = answer(b"", status="302 Found", head="Location: http://127.0.0.1:8080/a.png")
    async with site(away) as place:
        with pytest.raises(BlockedAddress) as refused:
            await make(allow=(place,)).look(f"http://{place}/", pointer=AT)

    assert told(refused.value)[0] == AT


async def test_a_remote_image_that_is_too_large_is_not_read_to_its_end(make: Make) -> None:
    async with site(answer(b"\x89PNG\r\n\x1a\n" + b"\0" * 5000)) as place:
        with pytest.raises(TooLarge) as refused:
            await make(allow=(place,), limits=Limits(bytes=1000)).look(
                f"http://{place}/", pointer=AT
            )

    assert told(refused.value)[0] == AT


@pytest.mark.parametrize(
    ("status", "kind"),
    [("404 Not Found", InvalidInput), ("204 No Content", InvalidInput), ("500 No", FetchFailed)],
)
async def test_an_address_without_an_image_is_told_with_its_status(
    status: str, kind: type[PenstockError], make: Make
) -> None:
    async with site(answer(b"", status=status)) as place:
        with pytest.raises(kind, match=status[:3]) as refused:
            await make(allow=(place,)).look(f"http://{place}/", pointer=AT)

    assert told(refused.value)[0] == AT


async def test_a_page_behind_an_image_address_is_no_image(make: Make) -> None:
    async with site(answer(b"<html>hello</html>")) as place:
        with pytest.raises(InvalidInput, match="not those of an image"):
            await make(allow=(place,)).look(f"http://{place}/", pointer=AT)


async def test_an_embedded_image_is_known_the_second_time(make: Make) -> None:
    url = data_url(encoded(photo(), "WEBP"), "image/webp")
    looker = make()

    first = await looker.look(url, pointer=AT)
    again = await looker.look(url, pointer=AT)

    assert first.value.format == "webp"
    assert again.from_cache


async def test_the_hashes_are_alike_with_and_without_a_provider(make: Make) -> None:
    url = data_url(encoded(photo(2), "JPEG"), "image/jpeg")

    alone = (await make().look(url, pointer=AT)).value
    shown = (await make(SeeingProvider()).look(url, pointer=AT)).value

    assert distance(alone.pdq[0], shown.pdq[0]) <= 4
    assert distance(alone.phash[0], shown.phash[0]) <= 2


async def test_one_pixel_has_no_likeness_and_may_still_be_judged(
    make: Make, remote: object
) -> None:
    seen = await make(remote).look(data_url(encoded(plain(RED, (1, 1)), "PNG")), pointer=AT)

    assert seen.value.pdq == seen.value.phash == ()
    assert seen.value.pdq_quality == 0
    assert score(seen.value, "violence") == 0.95
