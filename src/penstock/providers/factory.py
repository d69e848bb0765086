"""Opens providers by URL; the only module that imports one.

    local://                          the model that ships with the package
    https://host/v1                   a chat model behind OpenAI's protocol (`?api=chat`)
    https://host/v1?api=moderations   the moderation endpoint behind it

`&model=name` in a URL wins over the model handed in, and so do `&timeout=5`, `&connect_timeout=1`
and `&read_timeout=3` over the time-outs, in seconds, and `&vision=yes` or `no` over what the
model's name says of its sight. Providers over HTTP come wrapped in `Resilient`; several URLs are a
list of fallbacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from penstock.clock import Clock
from penstock.errors import ConfigurationError
from penstock.hub.hub import Hub
from penstock.observe.metrics import Metrics
from penstock.providers.provider import ImagePrompt, Prompt, Provider, Scores, Seer
from penstock.providers.resilience import Limits, Resilient, Told
from penstock.providers.terms import Prices, Timeouts, take_timeouts
from penstock.providers.vision import sees_by_name

if TYPE_CHECKING:
    from penstock.providers.local import TextModel

LOCAL = "local://"
_KNOWN = "local://, https://host/v1, https://host/v1?api=moderations"
_MODERATIONS_MODEL = "omni-moderation-latest"


def open_provider(
    urls: str | Sequence[str],
    *,
    clock: Clock,
    key: str | None = None,
    model: str | None = None,
    prompt: Prompt | None = None,
    image_prompt: ImagePrompt | None = None,
    vision: bool | None = None,
    metrics: Metrics | None = None,
    deadline: float = 20.0,
    connect_timeout: float = 2.0,
    read_timeout: float = 10.0,
    retries: int = 2,
    concurrency: int = 16,
    price_in: float = 0.0,
    price_out: float = 0.0,
    hub: Hub | None = None,
    told: Told | None = None,
) -> Provider:
    """Return the provider behind a URL; of several URLs the first is asked first.

    Times in seconds, `deadline` for everything; prices in USD for a million tokens; `concurrency`
    is the most calls at once, over all servers that share a `hub`. `vision` says whether the models
    see images, None goes by their names; a chat model needs an `image_prompt` to see. With URLs of
    different hosts, `key` holds one key for each HTTP URL, separated by commas: a key goes to no
    host that it was not given for. `told` hears of every call.
    Opens no connection. Raises ConfigurationError.
    """
    places = [_parse(url) for url in ([urls] if isinstance(urls, str) else urls)]
    keys = iter(_keys(key, [place for place in places if place is not None]))
    metrics = metrics or Metrics()
    timeouts = Timeouts(connect=connect_timeout, read=read_timeout, total=deadline)
    prices = Prices(input_micros=round(price_in * 1e6), output_micros=round(price_out * 1e6))
    providers: list[Provider] = []
    for place in places:
        if place is None:
            providers.append(_open_local(clock))
            continue
        settings = _Settings(
            place=place,
            key=next(keys),
            model=_model(place, model),
            prompt=_prompt(place, prompt),
            image_prompt=image_prompt,
            vision=vision,
            timeouts=timeouts.override(place.timeouts),
            prices=prices,
        )
        providers.append(_OnFirstCall(settings, clock=clock, metrics=metrics))
    if places == [None]:
        return providers[0]  # nothing on the way to it can fail
    # A URL that allows one call longer than all was to take means it.
    longest = max([deadline, *(place.timeouts.get("total", 0.0) for place in places if place)])
    limits = Limits(deadline=longest, retries=retries, concurrency=concurrency)
    return Resilient(*providers, clock=clock, limits=limits, metrics=metrics, hub=hub, told=told)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a provider over HTTP is, and how it is asked."""

    url: str
    host: str
    api: str
    model: str | None
    vision: bool | None
    timeouts: Mapping[str, float]  # the fields of `Timeouts` that are its own


@dataclass(frozen=True, slots=True)
class _Settings:
    """All that one provider over HTTP needs to be opened."""

    place: _Place
    key: str | None = field(repr=False)
    model: str
    prompt: Prompt | None  # None for api=moderations
    image_prompt: ImagePrompt | None
    vision: bool | None
    timeouts: Timeouts
    prices: Prices

    @property
    def eyes(self) -> str:
        """The version of what is asked about an image; "" if the provider does not see."""
        said = self.vision if self.place.vision is None else self.place.vision
        if not (sees_by_name(self.model) if said is None else said):
            return ""
        if self.prompt is None:
            return self.place.api
        return self.image_prompt.version if self.image_prompt else ""


class _Remote(Provider, Seer, Protocol):
    """A provider over HTTP: asked about images only if it sees."""


class _OnFirstCall:
    """A provider over HTTP that imports the SDK when first called, in a thread.

    The import takes most of a second, which neither a start nor a cached answer should pay, and
    which must not hold up the event loop.
    """

    def __init__(self, settings: _Settings, *, clock: Clock, metrics: Metrics) -> None:
        prompt = settings.prompt
        self.name = settings.place.host
        self.models: Mapping[str, str] = {
            settings.model: prompt.version if prompt else settings.place.api
        }
        eyes = settings.eyes
        self.sees = bool(eyes)
        self.sights: Mapping[str, str] = {settings.model: eyes} if eyes else {}
        self._open: Callable[[], _Remote] = lambda: _open_remote(settings, clock, metrics)
        self._opening = asyncio.Lock()
        self._provider: _Remote | None = None

    async def moderate(self, text: str, *, deadline: float | None = None) -> Scores:
        provider = self._provider or await self._opened()
        return await provider.moderate(text, deadline=deadline)

    async def look(
        self, picture: bytes, media_type: str, *, deadline: float | None = None
    ) -> Scores:
        provider = self._provider or await self._opened()
        return await provider.look(picture, media_type, deadline=deadline)

    async def aclose(self) -> None:
        if self._provider is not None:
            await self._provider.aclose()

    async def _opened(self) -> _Remote:
        async with self._opening:
            if self._provider is None:
                self._provider = await asyncio.to_thread(self._open)
        return self._provider


def open_local(model: TextModel, *, clock: Clock) -> Provider:
    """The local provider with a given model: an older version beside the one that ships."""
    from penstock.providers.local import LocalProvider

    return LocalProvider(model, clock=clock)


def _open_local(clock: Clock) -> Provider:
    from penstock.models.linear import LinearModel

    return open_local(LinearModel.load(), clock=clock)


def _open_remote(settings: _Settings, clock: Clock, metrics: Metrics) -> _Remote:
    from penstock.providers.openai import ChatProvider, Endpoint, ModerationsProvider

    endpoint = Endpoint(
        settings.place.url,
        key=settings.key,
        clock=clock,
        timeouts=settings.timeouts,
        prices=settings.prices,
        metrics=metrics,
    )
    if settings.prompt is None:
        return ModerationsProvider(endpoint, model=settings.model, sees=bool(settings.eyes))
    image_prompt = settings.image_prompt if settings.eyes else None
    return ChatProvider(
        endpoint, model=settings.model, prompt=settings.prompt, image_prompt=image_prompt
    )


def _parse(url: str) -> _Place | None:
    """Read one URL; None is the local provider. Messages never repeat it: it may hold a secret."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigurationError("a provider URL has an unreadable host or port") from None
    if parts.scheme == "local":
        if url.rstrip("/") != "local:":
            raise ConfigurationError("local:// takes nothing after it")
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        scheme = parts.scheme or "no scheme"
        raise ConfigurationError(f"no provider is known for a URL with {scheme}; known: {_KNOWN}")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            "a provider URL holds no user or password: hand the key over apart"
        )
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    api = query.pop("api", "chat")
    model = query.pop("model", None)
    timeouts = take_timeouts(query)
    vision = query.pop("vision", None)
    if query or parts.fragment:
        raise ConfigurationError(
            "a provider URL knows the parameters api, model, timeout, connect_timeout, "
            "read_timeout and vision, and no others"
        )
    if api not in ("chat", "moderations"):
        raise ConfigurationError("api in a provider URL is chat or moderations")
    if vision not in (None, "yes", "no"):
        raise ConfigurationError("vision in a provider URL is yes or no")
    bare = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    return _Place(
        url=bare,
        host=parts.netloc,
        api=api,
        model=model,
        vision=None if vision is None else vision == "yes",
        timeouts=timeouts,
    )


def _keys(key: str | None, places: list[_Place]) -> list[str | None]:
    keys: list[str | None] = [part.strip() for part in (key or "").split(",") if part.strip()]
    if len(keys) == len(places):
        return keys
    hosts = {place.host for place in places}
    if len(keys) > 1 or (keys and len(hosts) > 1):
        raise ConfigurationError(
            f"{len(keys)} keys for {len(places)} provider URLs: "
            "give one for each, with commas between"
        )
    return (keys or [None]) * len(places)


def _model(place: _Place, model: str | None) -> str:
    if place.model or (place.api == "chat" and model):
        return place.model or model or ""
    if place.api == "moderations":
        return model or _MODERATIONS_MODEL
    raise ConfigurationError(
        f"no model is named for the chat provider at {place.host}: "
        "set PENSTOCK_MODEL, or end its URL with ?api=chat&model=name"
    )


def _prompt(place: _Place, prompt: Prompt | None) -> Prompt | None:
    if place.api == "moderations":
        return None
    if prompt is None:
        raise ConfigurationError(f"the chat provider at {place.host} needs a prompt")
    return prompt
