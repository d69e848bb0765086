"""Any endpoint that speaks OpenAI's protocol, through the official SDK.

Two ways of asking: its moderation endpoint (`ModerationsProvider`), or a chat model that is given
a prompt and answers in strict JSON (`ChatProvider`). Either sees images if its model does. A call
is repeated, once, only where a whole answer came but cannot be read. Retries after failures,
breaker and fallback are `resilience.py`.

The SDK costs most of a second to import: `factory.py` imports this module on the first call, in a
thread. Answers are decoded here and not by the SDK, which hands on whatever shape arrives.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import msgspec
import openai

from penstock.clock import Clock
from penstock.errors import (
    ProviderError,
    ProviderGarbage,
    ProviderRefused,
    ProviderThrottled,
    ProviderTimeout,
    ProviderUnavailable,
)
from penstock.observe.metrics import Metrics
from penstock.providers.provider import CATEGORIES, ImagePrompt, Prompt, Scores
from penstock.providers.terms import Prices, Timeouts

_MAX_ANSWER_TOKENS = 700  # 14 scores, a rationale and a handful of spans fit into 400
_ERROR_CODE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class ChatProvider:
    """A chat model that is told the policy and answers in JSON."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        model: str,
        prompt: Prompt,
        image_prompt: ImagePrompt | None = None,
    ) -> None:
        self.name = endpoint.name
        self.models = {model: prompt.version}
        self.endpoint = endpoint
        self.sees = image_prompt is not None
        self.sights = {model: image_prompt.version} if image_prompt else {}
        self._model = model
        self._prompt = prompt
        self._image_prompt = image_prompt
        # OpenAI's newer models refuse the name that everyone else's servers know.
        official = endpoint.name == "api.openai.com"
        limit = "max_completion_tokens" if official else "max_tokens"
        self._options: dict[str, Any] = {
            "model": model,
            "temperature": 0,
            limit: _MAX_ANSWER_TOKENS,
            "response_format": _strict(prompt),
        }

    async def moderate(self, text: str, *, deadline: float | None = None) -> Scores:
        create = self.endpoint.client.chat.completions.with_raw_response.create

        def ask() -> Awaitable[_RawAnswer]:
            messages = cast(Any, self._prompt.messages(_encodable(text)))
            return create(messages=messages, **self._options)

        def read(data: bytes, spent: _Spent) -> Scores:
            said, model = self._said(data, spent)
            scores = self._prompt.read(said, text=text)
            return msgspec.structs.replace(scores, models={model: self._prompt.version})

        return await self.endpoint.call(ask, read=read, deadline=deadline)

    async def look(
        self, picture: bytes, media_type: str, *, deadline: float | None = None
    ) -> Scores:
        prompt = self._image_prompt
        assert prompt is not None, "a provider that does not see was shown an image"
        create = self.endpoint.client.chat.completions.with_raw_response.create
        messages = cast(Any, prompt.messages(_data_url(picture, media_type)))
        options = {**self._options, "response_format": _strict(prompt)}

        def ask() -> Awaitable[_RawAnswer]:
            return create(messages=messages, **options)

        def read(data: bytes, spent: _Spent) -> Scores:
            said, model = self._said(data, spent)
            return msgspec.structs.replace(prompt.read(said), models={model: prompt.version})

        return await self.endpoint.call(ask, read=read, deadline=deadline)

    async def aclose(self) -> None:
        await self.endpoint.client.close()

    def _said(self, data: bytes, spent: _Spent) -> tuple[str, str]:
        """What the model said, and its name; or the error that it is to say nothing."""
        answer = _decode(data, _Completion)
        spent.add(answer.usage)
        if len(answer.choices) != 1:
            raise ProviderGarbage(f"{self.name} sent {len(answer.choices)} answers to one question")
        choice = answer.choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            raise ProviderRefused(f"the model at {self.name} declines to judge")
        spent.cut = choice.finish_reason == "length"
        return choice.message.content or "", answer.model or self._model


class ModerationsProvider:
    """The moderation endpoint: no prompt, no price at OpenAI, no profanity and no reasons."""

    def __init__(self, endpoint: Endpoint, *, model: str, sees: bool = False) -> None:
        self.name = endpoint.name
        self.models = {model: "moderations"}
        self.endpoint = endpoint
        self.sees = sees
        self.sights = {model: "moderations"} if sees else {}
        self._model = model

    async def moderate(self, text: str, *, deadline: float | None = None) -> Scores:
        return await self._ask(_encodable(text), applied="text", deadline=deadline)

    async def look(
        self, picture: bytes, media_type: str, *, deadline: float | None = None
    ) -> Scores:
        assert self.sees, "a provider that does not see was shown an image"
        part = {"type": "image_url", "image_url": {"url": _data_url(picture, media_type)}}
        return await self._ask([part], applied="image", deadline=deadline)

    async def aclose(self) -> None:
        await self.endpoint.client.close()

    async def _ask(self, input: Any, *, applied: str, deadline: float | None) -> Scores:
        create = self.endpoint.client.moderations.with_raw_response.create

        def ask() -> Awaitable[_RawAnswer]:
            return create(model=self._model, input=input)

        def read(data: bytes, spent: _Spent) -> Scores:
            return self._read(data, spent, applied)

        return await self.endpoint.call(ask, read=read, deadline=deadline)

    def _read(self, data: bytes, spent: _Spent, applied: str) -> Scores:
        answer = _decode(data, _Moderations)
        spent.add(answer.usage)
        if len(answer.results) != 1:
            raise ProviderGarbage(f"{self.name} sent {len(answer.results)} results for one input")
        result = answer.results[0]
        given = result.category_scores
        # OpenAI judges images in a few categories and sends a 0 for each of the others.
        types = result.category_applied_input_types if applied == "image" else None
        judged = [name for name in CATEGORIES if types is None or applied in types.get(name, ())]
        scores = {name: score for name in judged if (score := given.get(name)) is not None}
        if not scores:
            raise ProviderGarbage(f"{self.name} sent no score of a known category")
        return Scores(scores=scores, models={answer.model or self._model: "moderations"})


class Endpoint:
    """One address and its key: calls, their time-outs, errors and costs."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None,
        clock: Clock,
        timeouts: Timeouts,
        prices: Prices,
        metrics: Metrics,
    ) -> None:
        self.name = urlsplit(url).netloc
        self._key = key
        self._clock = clock
        self._total = timeouts.total
        self._prices = prices
        self._metrics = metrics
        self.client = openai.AsyncOpenAI(
            base_url=url,
            api_key=key or "none",  # the SDK insists on one, servers at home do not
            max_retries=0,
            timeout=openai.Timeout(timeouts.total, connect=timeouts.connect, read=timeouts.read),
        )

    async def call(
        self,
        ask: Callable[[], Awaitable[_RawAnswer]],
        *,
        read: Callable[[bytes, _Spent], Scores],
        deadline: float | None,
    ) -> Scores:
        """Ask and read the answer; once more if it is whole and cannot be read. Seconds."""
        within = self._total if deadline is None else min(deadline, self._total)
        spent = _Spent()
        try:
            scores = await self._read(ask, read, spent, within=within)
        except ProviderError as error:
            error.tokens_in, error.tokens_out = spent.tokens
            error.cost_micros = self._prices.of(*spent.tokens)
            error.currency = self._prices.currency
            raise
        finally:
            cost = self._account(spent)
        return msgspec.structs.replace(
            scores,
            tokens_in=spent.tokens_in,
            tokens_out=spent.tokens_out,
            cost_micros=cost,
            currency=self._prices.currency,
            provider=self.name,
        )

    async def _read(
        self,
        ask: Callable[[], Awaitable[_RawAnswer]],
        read: Callable[[bytes, _Spent], Scores],
        spent: _Spent,
        *,
        within: float,
    ) -> Scores:
        try:
            async with asyncio.timeout(within):
                try:
                    return read(await self._answer(ask), spent)
                except ProviderGarbage:
                    if spent.cut:
                        raise  # a text that makes the model ramble would do so again
                    return read(await self._answer(ask), spent)
        except TimeoutError as error:
            raise ProviderTimeout(f"{self.name} did not answer within {within:.3g} s") from error

    async def _answer(self, ask: Callable[[], Awaitable[_RawAnswer]]) -> bytes:
        try:
            return (await ask()).content
        except openai.APIStatusError as error:
            raise self._from_status(error) from self._scrubbed(error)
        except openai.APIConnectionError as error:
            raise self._from_connection(error) from error
        except openai.OpenAIError as error:
            detail = f"the SDK cannot read the answer of {self.name}"
            raise ProviderGarbage(detail) from self._scrubbed(error)

    def _from_status(self, error: openai.APIStatusError) -> ProviderError:
        status = error.status_code
        # The message may repeat the key or the text; the code is one of the provider's words.
        code = error.code if error.code and _ERROR_CODE.fullmatch(error.code) else ""
        if self._key and self._key in code:
            code = ""
        detail = f"{self.name} answered {status}{code and f' ({code})'}"
        after = _retry_after(error.response.headers, now=self._clock.now())
        if status == 429:
            return ProviderThrottled(detail, retry_after=after)
        if status in (408, 504):
            return ProviderTimeout(detail, retry_after=after)
        if status >= 500:
            return ProviderUnavailable(detail, retry_after=after)
        return ProviderRefused(f"{detail}: check the key, the model name and the address")

    def _from_connection(self, error: openai.APIConnectionError) -> ProviderError:
        reason = type(error.__cause__).__name__ if error.__cause__ else "no connection"
        if isinstance(error, openai.APITimeoutError) and reason != "ConnectTimeout":
            return ProviderTimeout(f"{self.name} kept silent for too long ({reason})")
        return ProviderUnavailable(f"{self.name} cannot be reached ({reason})")

    def _scrubbed(self, error: openai.OpenAIError) -> openai.OpenAIError:
        """Take the key out of a foreign error: as the cause of ours it comes into the logs."""
        if self._key and self._key in str(error):
            error.args = ("(the message repeats the API key and is left out)",)
            if isinstance(error, openai.APIError):
                error.message = error.args[0]
                error.body = None
        return error

    def _account(self, spent: _Spent) -> int:
        """Count what was spent, on unreadable answers too; returns micro-units of money."""
        cost = self._prices.of(*spent.tokens)
        tokens = "penstock_provider_tokens_total"
        self._metrics.count(tokens, spent.tokens_in, provider=self.name, direction="in")
        self._metrics.count(tokens, spent.tokens_out, provider=self.name, direction="out")
        self._metrics.count("penstock_provider_cost_micros_total", cost, provider=self.name)
        return cost


class _RawAnswer(Protocol):
    """What the SDK returns where it does not decode."""

    @property
    def content(self) -> bytes: ...


@dataclass
class _Spent:
    """The tokens of one or two answers."""

    tokens_in: int = 0
    tokens_out: int = 0
    cut: bool = False  # the last one ended for want of tokens

    @property
    def tokens(self) -> tuple[int, int]:
        """In and out."""
        return self.tokens_in, self.tokens_out

    def add(self, usage: _Usage | None) -> None:
        if usage is not None:
            self.tokens_in += usage.prompt_tokens
            self.tokens_out += usage.completion_tokens


_Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Result(msgspec.Struct):
    category_scores: dict[str, _Probability | None]
    category_applied_input_types: dict[str, list[str]] | None = None


class _Moderations(msgspec.Struct):
    results: list[_Result]
    model: str | None = None
    usage: _Usage | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    model: str | None = None
    usage: _Usage | None = None


def _decode(data: bytes, kind: type[_Struct]) -> _Struct:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProviderGarbage("the provider's answer is not the JSON that was asked for") from error


def _strict(prompt: Prompt | ImagePrompt) -> dict[str, Any]:
    """The form of the answer, to be kept to the letter."""
    schema = {"name": "moderation", "strict": True, "schema": dict(prompt.schema)}
    return {"type": "json_schema", "json_schema": schema}


def _data_url(picture: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(picture).decode('ascii')}"


def _encodable(text: str) -> str:
    """The text with lone surrogates, which no HTTP body can carry, replaced one for one."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds from `retry-after-ms` (OpenAI's), or Retry-After, a number or a date (RFC 9110)."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        if "retry-after" not in headers:
            return None
        value = headers["retry-after"]
        if value.replace(".", "", 1).isdigit():
            return float(value)
        return max(0.0, parsedate_to_datetime(value).replace(tzinfo=UTC).timestamp() - now)
    except ValueError:
        return None  # unreadable: as if it were not there
