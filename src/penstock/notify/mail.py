"""Events by e-mail, for who reads mail and no webhooks: whoever runs the installation.

    emit(event) ─► one of PENSTOCK_MAIL_EVENTS? ─► a job for each address ─► send ─► the SMTP server

    taken              done
    5xx                the job is failed at once: the server would say the same again
    anything else      again, as a webhook is (4xx, no connection, TLS); then the job is failed

A message carries what the event carries: ids and numbers, never a user's text. It is made of the
event alone, so that it is the same on every attempt, its Message-ID too: delivery is at least once,
and who gets it twice can see that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from penstock.clock import Clock
from penstock.errors import ConfigurationError, InvalidInput
from penstock.extras import extra
from penstock.notify.delivery import ATTEMPTS, wait_after
from penstock.notify.event import Event, check_patterns, meant
from penstock.notify.store import Delivery
from penstock.notify.turns import Later, Resting, Turns
from penstock.tasks import Retry, Task, TaskQueue, ctx
from penstock.tasks.task import declare

if TYPE_CHECKING:
    from penstock.notify.smtp import Server

TASK: Final = "penstock.mail.send"
RECEIVER: Final = "mailto:"  # how a `Delivery` for an address begins
NOBODY: Final = ""  # owner of the jobs: they are the installation's own
JOB_SECONDS: Final = 120.0
LONG: Final = 10.0  # seconds after which a server that took nothing rests
MOST_NAME: Final = 100  # characters
MOST_VALUE: Final = 500
MOST_BODY: Final = 8_000

_WHERE: Final = {
    "verdict": "GET /v1/verdicts/{}",
    "case": "GET /v1/cases/{}",
    "policy": "GET /v1/policies/{}",
    "alert": "penstock doctor, and GET /health",
}


class NotSent(Retry):
    """The server did not take it this time."""


class MailRefused(Exception):
    """The server will not take it."""

    retryable = False


def open_server(url: str) -> Server:
    """The server of SMTP_URL. Raises ConfigurationError and MissingExtra."""
    with extra("mail"):
        from penstock.notify.smtp import Server
    return Server(url)


class Mailer:
    """Sends the events of `events` (types, or patterns as `case.*`) to every address of `to`.

    Without a server or a sender, its jobs fail; without addresses nobody is told.
    """

    def __init__(
        self,
        server: Server | None,
        *,
        sender: str,
        to: Sequence[str],
        events: Sequence[str],
        queue: TaskQueue,
        clock: Clock,
    ) -> None:
        try:
            check_patterns(events)
        except InvalidInput as error:
            raise ConfigurationError(f"PENSTOCK_MAIL_EVENTS: {error.detail}") from error
        self._server = server
        self._sender = sender
        self._to = tuple(dict.fromkeys(to))
        self._types = frozenset().union(*map(meant, events)) if to else frozenset()
        self._queue = queue
        self._clock = clock
        self._turns = Turns(clock)
        self.task = self._declare()

    def wants(self, type: str) -> bool:
        """Whether somebody is told of such events."""
        return type in self._types

    def of(self, event: Event) -> list[Delivery]:
        """What is to be sent because of an event."""
        if event.type not in self._types:
            return []
        return [Delivery(f"{RECEIVER}{to}", NOBODY, event) for to in self._to]

    def _declare(self) -> Task[..., Any]:
        @declare(
            name=TASK,
            queue="notifications",
            retries=ATTEMPTS - 1,
            timeout=JOB_SECONDS,  # the server's own deadline is met long before
            keep="1d",
        )
        async def send(to: str, event: Event, tried: int = 0) -> dict[str, Any]:
            """Send one event to one address; `tried` counts the attempts of jobs before this."""
            return await self._send(to, event, tried)

        return send

    async def _send(self, to: str, event: Event, tried: int) -> dict[str, Any]:
        to = to.removeprefix(RECEIVER)
        if self._server is None:
            raise MailRefused(
                "this process does not know how to send mail; set SMTP_URL, PENSTOCK_MAIL_FROM and "
                "PENSTOCK_MAIL_TO alike for servers and workers, then: penstock tasks retry JOB"
            )
        if to not in self._to:
            return {"outcome": "dropped", "reason": "not in PENSTOCK_MAIL_TO"}
        attempt = tried + max(ctx.attempt, 1)
        place = self._server.place
        try:
            since = await self._turns.take(place, last=attempt >= ATTEMPTS)
        except Later as later:
            return await self._pass_on(to, event, attempt - 1, later.seconds)
        except Resting:
            raise NotSent(
                f"{place} was not asked: it did not answer a moment ago", after=wait_after(attempt)
            ) from None
        taken = False
        try:
            await self._hand_over(self._server, event, to, attempt)
            taken = True
        finally:
            soon = self._clock.monotonic() - since < LONG
            self._turns.give(place, since, answered=taken or soon)
        return {"outcome": "sent", "message_id": message_id(event, sender=self._sender, to=to)}

    async def _hand_over(self, server: Server, event: Event, to: str, attempt: int) -> None:
        from penstock.notify.smtp import Unsent

        letter = message(event, sender=self._sender, to=to)
        try:
            await server.send(letter.as_bytes(), sender=self._sender, to=to)
        except Unsent as error:
            if error.permanent:
                raise MailRefused(error.detail) from error
            raise NotSent(error.detail, after=wait_after(attempt)) from error

    async def _pass_on(self, to: str, event: Event, tried: int, seconds: float) -> dict[str, Any]:
        """Come back with a job of its own, since an attempt that was not made does not count."""
        job = await self._queue.enqueue(
            self.task,
            (to, event, tried),
            options={"delay": seconds, "retries": max(0, ATTEMPTS - tried - 1)},
        )
        return {"outcome": "postponed", "job_id": job.id}


def message_id(event: Event, *, sender: str, to: str) -> str:
    """The same for the same event and address, and different for any other."""
    whom = hashlib.sha256(to.encode()).hexdigest()[:16]
    return f"<{event.id}.{whom}@{sender.rpartition('@')[2]}>"


def message(event: Event, *, sender: str, to: str) -> EmailMessage:
    """What is sent: plain text, ASCII on the wire, no longer than its bounds."""
    found = EmailMessage(policy=WIRE)  # refuses line breaks in headers
    found["From"] = sender
    found["To"] = to
    found["Subject"] = _cut(f"[Penstock] {event.type}: {_about(event)}", 120)
    found["Date"] = format_datetime(datetime.fromtimestamp(event.at / 1000, UTC))
    found["Message-ID"] = message_id(event, sender=sender, to=to)
    found["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notes, please
    found.set_content(_body(event), cte="quoted-printable")
    return found


def _about(event: Event) -> str:
    status = event.data.get("status")
    return f"{event.subject} is {status}" if isinstance(status, str) else event.subject


def _body(event: Event) -> str:
    at = datetime.fromtimestamp(event.at / 1000, UTC).isoformat(timespec="seconds")
    where = _WHERE.get(event.type.partition(".")[0], "").format(event.subject)
    facts = [
        ("event", event.type),
        ("subject", event.subject),
        ("owner", event.owner),
        ("at", at),
        ("look it up", where),
        ("id", event.id),
    ]
    lines = [_line(name, told) for name, told in facts if told]
    if event.data:
        lines += ["", *(_line(name, told) for name, told in _flat(event.data).items())]
    return "\n".join(lines)[:MOST_BODY] + "\n"


def _line(name: str, told: object) -> str:
    plain = told if isinstance(told, str) else msgspec.json.encode(told).decode()
    return f"{_cut(name, MOST_NAME)}: {_cut(plain, MOST_VALUE)}"


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data, with what is in mappings beside the rest: `checks.redis`."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": told for inner, told in value.items()}
        else:
            flat[name] = value
    return flat


def _cut(text: str, most: int) -> str:
    """On one line, and no longer."""
    return "".join(each if each.isprintable() else " " for each in text[:most])
