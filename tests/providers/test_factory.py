from __future__ import annotations

import asyncio
import subprocess
import sys
from inspect import getclosurevars

import pytest

from benchmarks.rigs.upstream import Upstream, failing, hang
from penstock.clock import ManualClock
from penstock.errors import ConfigurationError, ProviderTimeout
from penstock.providers.factory import open_provider
from penstock.providers.local import LocalProvider
from penstock.providers.terms import Timeouts
from tests.providers.scripted import KEY, PlainPrompt, SkippingClock


def open_(urls: str | list[str], **options: object) -> object:
    return open_provider(urls, clock=ManualClock(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://localhost", "URL with redis; known: local://"),
        ("localhost:8000/v1", "known: local://"),
        ("", "no scheme"),
        ("https:///v1", "known"),
        ("local://model", "local:// takes nothing"),
        ("https://host/v1?api=images", "api in a provider URL is"),
        ("https://host/v1?key=abc", "parameters api, model, timeout,"),
        ("https://host/v1#abc", "parameters api, model, timeout,"),
        ("https://host/v1?timeout=abc", "^timeout in a provider URL is a number of seconds"),
        ("https://host/v1?timeout=", "number of seconds above 0"),
        ("https://host/v1?timeout=0", "number of seconds above 0"),
        ("https://host/v1?timeout=inf", "number of seconds above 0"),
        ("https://host/v1?read_timeout=-3", "^read_timeout in a provider URL is"),
        ("https://host/v1?connect_timeout=nan", "^connect_timeout in a provider URL is"),
        ("https://user:abc@host/v1", "no user or password"),
        ("https://host/v1", "no model is named for the chat provider at host: set PENSTOCK_MODEL"),
        ("https://host/v1?api=chat", "end its URL with .api=chat&model=name"),
        ("https://host:x/v1", "unreadable host or port"),
        ("https://[host/v1", "unreadable host or port"),
    ],
)
def test_an_address_that_is_no_provider_is_refused_with_a_reason(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        open_(url, prompt=PlainPrompt())

    assert "abc" not in caught.value.detail


def test_a_chat_provider_needs_a_prompt() -> None:
    with pytest.raises(ConfigurationError, match="needs a prompt"):
        open_("https://host/v1", model="stub")


def test_two_hosts_do_not_share_a_key() -> None:
    urls = ["https://one/v1?api=moderations", "https://two/v1?api=moderations"]

    with pytest.raises(ConfigurationError, match="1 keys for 2 provider URLs"):
        open_(urls, key=KEY)


async def test_each_host_gets_its_own_key_and_model(upstream: Upstream) -> None:
    with Upstream() as other:
        upstream.always(failing(500))
        urls = [f"{upstream.url}?api=moderations&model=large", f"{other.url}?api=moderations"]
        provider = open_provider(urls, clock=ManualClock(), key="one, two", model="m", retries=0)

        scores = await provider.moderate("bad")
        await provider.aclose()

        assert scores.scores["harassment"] == 0.97
        for rig, key, model in ((upstream, "one", "large"), (other, "two", "m")):
            assert rig.seen[0].headers["authorization"] == f"Bearer {key}"
            assert rig.seen[0].body["model"] == model


@pytest.mark.parametrize(
    ("own", "reason"),
    [("timeout=0.05", r"within 0\.05 s"), ("read_timeout=0.05", "kept silent for too long")],
)
async def test_a_url_has_time_outs_of_its_own(own: str, reason: str, upstream: Upstream) -> None:
    upstream.always(hang())
    provider = open_provider(
        f"{upstream.url}?api=moderations&{own}", clock=SkippingClock(), retries=0
    )

    with pytest.raises(ProviderTimeout, match=reason):
        await provider.moderate("text")
    await provider.aclose()


def test_a_time_out_of_a_url_is_for_that_url_alone() -> None:
    urls = ["https://one/v1?timeout=5&connect_timeout=1&read_timeout=3", "https://two/v1"]

    provider = open_(urls, model="stub", prompt=PlainPrompt(), read_timeout=4.0)

    opens = [lane.provider._open for lane in provider._lanes]  # type: ignore[attr-defined]
    first, second = (getclosurevars(each).nonlocals["settings"].timeouts for each in opens)
    assert first == Timeouts(connect=1.0, read=3.0, total=5.0)
    assert second == Timeouts(connect=2.0, read=4.0, total=20.0)


@pytest.mark.parametrize(("own", "deadline"), [("timeout=60", 60.0), ("timeout=5", 20.0)])
def test_a_time_out_beyond_that_of_the_whole_answer_extends_it(own: str, deadline: float) -> None:
    provider = open_(["local://", f"https://host/v1?api=moderations&{own}"])

    assert provider._limits.deadline == deadline  # type: ignore[attr-defined]


async def test_the_local_model_answers_when_the_upstream_cannot(upstream: Upstream) -> None:
    upstream.always(failing(500))
    urls = [upstream.url, "local://"]
    provider = open_provider(
        urls, clock=SkippingClock(), key=KEY, model="stub", prompt=PlainPrompt()
    )

    scores = await provider.moderate("You are an idiot.")
    await provider.aclose()

    assert scores.provider == "local"
    assert scores.scores["harassment"] > 0.5
    assert upstream.calls == 3


async def test_the_local_model_alone_is_not_wrapped() -> None:
    assert isinstance(open_("local://"), LocalProvider)


async def test_first_calls_at_once_open_one_client(upstream: Upstream) -> None:
    provider = open_provider(upstream.url, clock=ManualClock(), model="stub", prompt=PlainPrompt())

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(provider.moderate("text"))
    await provider.aclose()

    assert upstream.calls == 10


async def test_closing_what_was_never_called_is_fine() -> None:
    provider = open_provider("https://host/v1?api=moderations", clock=ManualClock())

    await provider.aclose()


@pytest.mark.parametrize(
    ("query", "path", "models"),
    [
        ("", "/v1/chat/completions", {"stub": "plain-1"}),
        ("?api=chat", "/v1/chat/completions", {"stub": "plain-1"}),
        ("?api=moderations", "/v1/moderations", {"stub": "moderations"}),
    ],
)
async def test_the_url_chooses_how_the_upstream_is_asked(
    query: str, path: str, models: dict[str, str], upstream: Upstream
) -> None:
    provider = open_provider(
        upstream.url + query, clock=ManualClock(), model="stub", prompt=PlainPrompt()
    )

    scores = await provider.moderate("bad")
    await provider.aclose()

    assert upstream.per_path == {path: 1}
    assert provider.models == scores.models == models
    assert scores.provider == provider.name == f"127.0.0.1:{upstream.port}"


def test_no_repr_on_the_way_shows_the_key() -> None:
    provider = open_("https://host/v1?api=moderations", key=KEY)

    settings = provider._lanes[0].provider._open.__closure__  # type: ignore[attr-defined]
    assert KEY not in repr([cell.cell_contents for cell in settings])


def test_opening_a_remote_provider_imports_no_sdk() -> None:
    program = (
        "import sys; from penstock.clock import SystemClock;"
        "from penstock.providers.factory import open_provider;"
        "open_provider('https://host/v1?api=moderations', clock=SystemClock());"
        "assert not {'openai', 'httpx', 'pydantic', 'numpy'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
