from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from benchmarks.rigs.upstream import Upstream, failing
from penstock.clock import ManualClock
from penstock.errors import ConfigurationError
from penstock.providers.factory import open_provider
from penstock.providers.local import LocalProvider
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
        ("https://host/v1?key=abc", "parameters api and model"),
        ("https://host/v1#abc", "parameters api and model"),
        ("https://user:abc@host/v1", "no user or password"),
        ("https://host/v1", "no model is named for the chat provider at host"),
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
