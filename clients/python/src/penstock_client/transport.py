"""The only module that knows the HTTP library: two thin transports that do what a flow says.

It is imported when the first client is made, not with the package: it takes most of the time.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Generator
from contextlib import closing
from typing import Any, TypeVar

import httpx2

from penstock_client.clock import Clock
from penstock_client.config import Config, Secret
from penstock_client.errors import ConnectionError, InvalidAnswerError, TimeoutError
from penstock_client.flow import Flow, Outcome, Reply, Request, Send, Sleep, Step

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0  # of a longer time limit: a machine that is off does not answer at all


class Transport:
    """Runs flows in the caller's thread. One that nobody closes is closed when nobody holds it."""

    def __init__(self, config: Config, clock: Clock, http: httpx2.Client | None) -> None:
        self._http = httpx2.Client() if http is None else http
        self._closing = weakref.finalize(self, self._http.close) if http is None else None
        self._config = config
        self._auth = _auth(config.key)
        self._clock = clock

    def run(self, flow: Flow[T]) -> T:
        """Do what the flow says until it ends."""
        outcome: Outcome = None
        with closing(flow):
            while True:
                try:
                    step = flow.send(outcome)
                except StopIteration as end:
                    result: T = end.value
                    return result
                outcome = self._do(step)

    def close(self) -> None:
        """Give the connections back, if they are ours."""
        if self._closing is not None:
            self._closing()

    def _do(self, step: Step) -> Outcome:
        if isinstance(step, Sleep):
            self._clock.sleep(step.seconds)
        elif isinstance(step, Send):
            return self._send(step.request)
        else:
            step.to(step.what)
        return None

    def _send(self, request: Request) -> Outcome:
        try:
            sent = _built(self._http, request)
            response = self._http.send(sent, auth=self._auth, follow_redirects=False)
        except httpx2.RequestError as error:
            return _failure(error, request, self._config)
        return _reply(response)


class AsyncTransport:
    """Runs flows on the event loop."""

    def __init__(self, config: Config, clock: Clock, http: httpx2.AsyncClient | None) -> None:
        self._http = httpx2.AsyncClient() if http is None else http
        self._owned = http is None
        self._config = config
        self._auth = _auth(config.key)
        self._clock = clock

    async def run(self, flow: Flow[T]) -> T:
        """Do what the flow says until it ends."""
        outcome: Outcome = None
        with closing(flow):
            while True:
                try:
                    step = flow.send(outcome)
                except StopIteration as end:
                    result: T = end.value
                    return result
                outcome = await self._do(step)

    async def close(self) -> None:
        """Give the connections back, if they are ours."""
        if self._owned:
            await self._http.aclose()

    async def _do(self, step: Step) -> Outcome:
        if isinstance(step, Sleep):
            await self._clock.sleep_async(step.seconds)
        elif isinstance(step, Send):
            return await self._send(step.request)
        else:
            told = step.to(step.what)
            if inspect.isawaitable(told):
                await told
        return None

    async def _send(self, request: Request) -> Outcome:
        try:
            sent = _built(self._http, request)
            response = await self._http.send(sent, auth=self._auth, follow_redirects=False)
        except httpx2.RequestError as error:
            return _failure(error, request, self._config)
        return _reply(response)


class _Bearer(httpx2.Auth):
    """Adds the key last, so that no argument of any function holds it."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["authorization"] = f"Bearer {self._key.reveal()}"
        yield request


def _auth(key: Secret | None) -> Any:
    """The key's header; without a key, what a client of the caller's own does by itself."""
    return httpx2.USE_CLIENT_DEFAULT if key is None else _Bearer(key)


def _built(http: httpx2.Client | httpx2.AsyncClient, request: Request) -> httpx2.Request:
    limit = request.timeout
    return http.build_request(
        request.method,
        request.url,
        content=request.body,
        headers=request.headers,
        timeout=httpx2.Timeout(limit, connect=limit and min(limit, CONNECT_TIMEOUT)),
    )


def _reply(response: httpx2.Response) -> Reply:
    return Reply(response.status_code, response.headers, response.content)


def _failure(error: httpx2.RequestError, request: Request, config: Config) -> ConnectionError:
    """Our error, with the library's as its cause; raised here where trying again is no use."""
    ours: ConnectionError
    where = config.shown_url
    if isinstance(error, httpx2.ConnectTimeout):
        ours = TimeoutError(f"{where} cannot be reached: no connection in time")
    elif isinstance(error, httpx2.TimeoutException):
        ours = TimeoutError(f"no answer from {where} within {request.timeout:g} s")
    elif isinstance(error, (httpx2.NetworkError, httpx2.ProxyError)):
        ours = ConnectionError(f"{where} cannot be reached: {error}")
    elif isinstance(error, httpx2.RemoteProtocolError):
        ours = ConnectionError(f"{where} cut the connection: {error}")
    else:
        raise InvalidAnswerError(f"no call of {where} is possible: {error}") from error
    ours.__cause__ = error
    return ours
