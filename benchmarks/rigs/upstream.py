"""A model provider on loopback: OpenAI's protocol, scripted latency and faults, calls counted.

    with Upstream(latency=(0.8, 1.2)) as upstream:      # rig U800
        upstream.script([throttled(2.0), failing(500)])
        ... # a client of upstream.url
        assert upstream.calls == 3

It speaks `/v1/moderations`, `/v1/chat/completions` and `/v1/models`. Scores follow from the words
of the text (`WORDS`) and the colour of the image (`COLOURS`) alone, so a test knows them
beforehand, however often an image was scaled and compressed on its way. It runs in a thread with a
loop of its own: the loop of the system under test is not disturbed by it.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import re
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Literal

import uvicorn

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
WORDS: dict[str, dict[str, float]] = {
    "bad": {"harassment": 0.97},
    "rude": {"harassment": 0.55},
    "hateful": {"hate": 0.96, "harassment": 0.8},
    "violent": {"violence": 0.95},
    "swearing": {"profanity": 0.9},
}
COLOURS: dict[str, tuple[tuple[int, int, int], dict[str, float]]] = {
    "red": ((200, 30, 30), {"violence": 0.95}),
    "blue": ((30, 30, 200), {"sexual": 0.9}),
    "green": ((30, 200, 30), {"self-harm": 0.55}),
    "grey": ((128, 128, 128), {}),
}
SEEN = ("self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "violence")
"""What the moderation endpoint judges in images, like OpenAI's; it says 0 for the others."""
IMAGE_TOKENS = 85
PATIENCE = 30.0  # seconds for what was sent to be read
QUIET = 0.01  # the score of a category that no word speaks for

Kind = Literal[
    "answer", "status", "garbage", "schema", "drip", "cut", "hang", "reply", "decline", "raw"
]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Turn:
    """How one call is answered; made by the functions below."""

    kind: Kind = "answer"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    pause: float = 0.0
    text: str = ""
    code: str = "scripted"


@dataclass
class Call:
    """One call as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)


def answering() -> Turn:
    """The ordinary answer."""
    return Turn()


def throttled(retry_after: float | str | None = None) -> Turn:
    """429, with Retry-After in seconds (or as a date) where given."""
    headers = () if retry_after is None else (("retry-after", str(retry_after)),)
    return Turn("status", status=429, headers=headers)


def failing(status: int = 500, text: str = "", code: str = "scripted") -> Turn:
    """An error status with OpenAI's error object; `text` becomes its message."""
    return Turn("status", status=status, text=text, code=code)


def garbage() -> Turn:
    """Status 200, type JSON, and bytes that are not."""
    return Turn("garbage")


def wrong_schema() -> Turn:
    """Status 200 and JSON of another shape."""
    return Turn("schema")


def drip(pause: float = 0.01) -> Turn:
    """The right answer, one byte every `pause` seconds."""
    return Turn("drip", pause=pause)


def cut() -> Turn:
    """The connection ends in the middle of the body."""
    return Turn("cut")


def hang() -> Turn:
    """No byte until the client leaves."""
    return Turn("hang")


def reply(text: str) -> Turn:
    """A chat completion in which the model says `text`, whatever was asked."""
    return Turn("reply", text=text)


def sending(body: str, *, headers: tuple[tuple[str, str], ...] = ()) -> Turn:
    """Status 200 and this body."""
    return Turn("raw", text=body, headers=headers)


def declining() -> Turn:
    """A chat completion in which the model refuses."""
    return Turn("decline", text="I cannot help with that.")


class Upstream:
    """The server; a context manager. `latency` is a range in seconds, drawn uniformly with `seed`.

    `calls` counts moderation and chat calls, whatever their outcome; `most_at_once` is how many
    were open at the same time at most. `seen` keeps the last thousand.
    """

    def __init__(self, *, latency: tuple[float, float] = (0.0, 0.0), seed: int = 1) -> None:
        self.latency = latency
        self.calls = 0
        self.most_at_once = 0
        self.per_path: Counter[str] = Counter()
        self.seen: deque[Call] = deque(maxlen=1000)
        self._random = random.Random(seed)
        self._script: deque[Turn] = deque()
        self._otherwise = Turn()
        self._open = 0
        self._together = 0
        self._met = asyncio.Event()
        self._ready = threading.Event()
        self._leave: asyncio.Event | None = None
        # The protocol is named so that asyncio sets TCP_NODELAY on what is accepted: without it,
        # an answer in two writes takes 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(2048)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        # No log_config and no level: they would change the logging of the process.
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)

    def script(self, turns: Iterable[Turn]) -> None:
        """Answer the next calls like this, one turn a call, in order."""
        self._script.extend(turns)

    def always(self, turn: Turn | None) -> None:
        """Answer every call without a scripted turn like this; None returns to ordinary answers."""
        self._otherwise = turn or Turn()

    def hold_until(self, together: int) -> None:
        """Answer nobody until so many calls were open at the same time."""
        self._together, self._met = together, asyncio.Event()

    def settle(self) -> None:
        """Return when every call was read that was sent until now, and none is open.

        One that its client gave up may still be on its way: it would count for the next test.
        """
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as line:
            end = time.monotonic() + PATIENCE
            while True:
                for _ in range(2):  # what came before the first is taken up before the second
                    line.request("GET", "/v1/models")
                    line.getresponse().read()
                if not self._open:
                    return
                assert time.monotonic() < end, "a client still waits for an answer"

    def reset(self) -> None:
        """Forget script, counts and calls seen."""
        self._script.clear()
        self._otherwise = Turn()
        self._together = 0
        self.calls = self.most_at_once = 0
        self.per_path.clear()
        self.seen.clear()

    def __enter__(self) -> Upstream:
        self._thread.start()
        self._ready.wait(timeout=10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._leave is not None
        self._server.should_exit = True
        # Hanging and dripping answers let go: the server waits for them.
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(timeout=10)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._leave = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._server.serve(sockets=[self._socket])

    async def _app(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/v1/models":
            models = [{"id": "stub", "object": "model", "created": 0, "owned_by": "rig"}]
            await _respond(send, {"object": "list", "data": models})
            return
        call = Call(path, {k.decode(): v.decode("latin-1") for k, v in scope["headers"]})
        call.body = await _read(receive)
        self.calls += 1
        self.per_path[path] += 1
        self.seen.append(call)
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            await self._answer(call, receive=receive, send=send)
        finally:
            self._open -= 1

    async def _answer(self, call: Call, *, receive: Receive, send: Send) -> None:
        turn = self._script.popleft() if self._script else self._otherwise
        if self._together:
            if self._open >= self._together:
                self._met.set()
            await self._unless_left(self._met.wait(), receive)
        if self.latency[1] > 0:
            await self._unless_left(asyncio.sleep(self._random.uniform(*self.latency)), receive)
        match turn.kind:
            case "status":
                error = {"message": turn.text, "type": "rig", "param": None, "code": turn.code}
                await _respond(send, {"error": error}, status=turn.status, headers=turn.headers)
            case "garbage":
                await _respond(send, b"\xff{not json")
            case "schema":
                await _respond(send, {"results": "none", "choices": 7})
            case "drip":
                await self._unless_left(_drip(send, _json(_result(call)), turn.pause), receive)
            case "cut":
                body = _json(_result(call))
                await _start(send, length=len(body))
                await send(_chunk(body[: len(body) // 2], more=True))
                # Returning with the body unfinished makes uvicorn close the connection.
            case "hang":
                await self._unless_left(asyncio.sleep(3600), receive)
            case "reply":
                await _respond(send, _completion(call, turn.text))
            case "raw":
                await _respond(send, turn.text.encode(), headers=turn.headers)
            case "decline":
                await _respond(send, _completion(call, None, refusal=turn.text))
            case "answer" if call.path in ("/v1/moderations", "/v1/chat/completions"):
                await _respond(send, _result(call))
            case _:
                await _respond(send, {"error": {"message": "no such path"}}, status=404)

    async def _unless_left(self, work: Awaitable[None], receive: Receive) -> None:
        """Do `work` until it ends, the client goes, or the server stops."""
        assert self._leave is not None
        parts = [asyncio.ensure_future(part) for part in (work, receive(), self._leave.wait())]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)


def scores_of(text: str, categories: Iterable[str] = CATEGORIES) -> dict[str, float]:
    """The score of each category: the highest among the words of the text that `WORDS` knows."""
    known = [WORDS[word] for word in re.findall(r"\w+", text.lower()) if word in WORDS]
    return {name: max([QUIET, *(word.get(name, 0.0) for word in known)]) for name in categories}


def tokens_of(text: str) -> int:
    """A token for every four characters begun."""
    return -(-len(text) // 4)


def colour_of(url: str) -> str:
    """Which of `COLOURS` is the nearest to the mean of the image in a data URL."""
    from PIL import Image, ImageStat

    data = base64.b64decode(url.partition(";base64,")[2], validate=True)
    with Image.open(io.BytesIO(data)) as image:
        mean = ImageStat.Stat(image.convert("RGB")).mean
    return min(
        COLOURS,
        key=lambda name: sum((a - b) ** 2 for a, b in zip(mean, COLOURS[name][0], strict=True)),
    )


def _result(call: Call) -> dict[str, Any]:
    if call.path == "/v1/moderations":
        given = call.body.get("input", "")
        inputs = given if isinstance(given, list) else [given]
        if inputs and isinstance(inputs[0], dict):
            inputs = [inputs]  # parts are one input
        return {
            "id": "modr-stub",
            "model": call.body.get("model", "stub"),
            "results": [_moderation(*_taken_apart(each)) for each in inputs],
        }
    schema = call.body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    asked = schema.get("properties", {}).get("scores", {}).get("properties", {}) or CATEGORIES
    text, urls = _taken_apart(call.body["messages"][-1]["content"])
    scores = scores_of(text, asked)
    for url in urls:
        _raise_to(scores, COLOURS[colour_of(url)][1])
    answer = {"scores": scores, "rationale": "words counted", "spans": []}
    return _completion(call, json.dumps(answer))


def _taken_apart(content: object) -> tuple[str, list[str]]:
    """The text and the image URLs of a message or an input, which may be in parts."""
    if not isinstance(content, list):
        return str(content), []
    texts = [str(part["text"]) for part in content if part["type"] == "text"]
    return " ".join(texts), [
        part["image_url"]["url"] for part in content if part["type"] == "image_url"
    ]


def _moderation(text: str, urls: list[str]) -> dict[str, Any]:
    scores = scores_of(text) if text or not urls else dict.fromkeys(CATEGORIES, 0.0)
    types = {name: ["text"] if text or not urls else [] for name in scores}
    for url in urls:
        _raise_to(scores, dict.fromkeys(SEEN, QUIET))
        _raise_to(scores, COLOURS[colour_of(url)][1])
    for name in SEEN if urls else ():
        types[name].append("image")
    categories = {name: score > 0.5 for name, score in scores.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": types,
    }


def _raise_to(scores: dict[str, float], others: dict[str, float]) -> None:
    for name in others.keys() & scores.keys():
        scores[name] = max(scores[name], others[name])


def _completion(call: Call, content: str | None, *, refusal: str | None = None) -> dict[str, Any]:
    contents = [_taken_apart(message["content"]) for message in call.body.get("messages", ())]
    asked = sum(tokens_of(text) + IMAGE_TOKENS * len(urls) for text, urls in contents)
    said = tokens_of(content or refusal or "")
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": 0,
        "model": call.body.get("model", "stub"),
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}],
        "usage": {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said},
    }


async def _read(receive: Receive) -> dict[str, Any]:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return dict(json.loads(body)) if body else {}


async def _respond(
    send: Send,
    body: dict[str, Any] | bytes,
    *,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = (),
) -> None:
    data = body if isinstance(body, bytes) else _json(body)
    await _start(send, status=status, headers=headers, length=len(data))
    await send(_chunk(data))


async def _drip(send: Send, body: bytes, pause: float) -> None:
    await _start(send, length=len(body))
    for index in range(len(body)):
        await send(_chunk(body[index : index + 1], more=index + 1 < len(body)))
        await asyncio.sleep(pause)


async def _start(
    send: Send, *, length: int, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> None:
    fields = (("content-type", "application/json"), ("content-length", str(length)), *headers)
    raw = [(name.encode(), value.encode()) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": raw})


def _chunk(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
