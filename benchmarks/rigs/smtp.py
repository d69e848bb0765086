"""An SMTP server on loopback that keeps what it is sent and answers as it is told to.

    async with SmtpSink(tls=certificate, users={"ann": "secret"}) as sink:
        sink.script("DATA", "451 not now")      # its next answer to DATA; then as usual again
        ...                                     # a client of sink.port
        (letter,) = await sink.until(1)
        assert letter.message["Subject"] == "..."

It speaks EHLO, STARTTLS, AUTH PLAIN and LOGIN, MAIL, RCPT, DATA, NOOP, RSET, QUIT; with `implicit`,
TLS from the first byte. With users it takes mail of nobody else, and a password over TLS alone.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Final

from benchmarks.rigs.certificates import Certificate

PATIENCE: Final = 60.0  # seconds until a test that waits in vain fails
LIMIT: Final = 1 << 20  # bytes of one line
HANG: Final = "hang"  # as an answer: none


@dataclass
class Letter:
    """One message that the server took."""

    sender: str
    to: list[str]
    data: bytes
    user: str | None
    secured: bool

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.data, policy=policy.default)


@dataclass
class _Session:
    """What is known of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    secured: bool
    user: str | None = None
    sender: str = ""
    to: list[str] = field(default_factory=list)

    async def line(self) -> str:
        told = await self.reader.readuntil(b"\n")
        return told.decode("utf-8", "replace").rstrip("\r\n")

    async def secure(self, context: ssl.SSLContext) -> None:
        """By hand: `StreamWriter.start_tls` falls over a client that leaves in the handshake."""
        loop, plain = asyncio.get_running_loop(), self.writer.transport
        protocol = plain.get_protocol()
        made = await loop.start_tls(plain, protocol, context, server_side=True)
        if made is None:
            raise ConnectionResetError
        self.writer = asyncio.StreamWriter(made, protocol, self.reader, loop)
        self.secured = True

    async def say(self, *lines: str) -> None:
        for line in lines:
            self.writer.write(f"{line}\r\n".encode())
        await self.writer.drain()


class SmtpSink:
    """The server. What clients said of themselves is in `commands`."""

    def __init__(
        self,
        *,
        tls: Certificate | None = None,
        implicit: bool = False,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.letters: list[Letter] = []
        self.commands: list[str] = []  # verbs, and CONNECT and BODY
        self.port = 0
        self._users = users
        self._implicit = implicit
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(tls.certificate, tls.key)
        self._scripts: defaultdict[str, deque[str]] = defaultdict(deque)
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._sessions: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def __aenter__(self) -> SmtpSink:
        self._server = await asyncio.start_server(
            self._serve,
            "127.0.0.1",
            self.port,
            limit=LIMIT,
            ssl=self._context if self._implicit else None,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._sessions.values():
            writer.transport.abort()
        await asyncio.gather(*filter(None, self._sessions))

    def script(self, verb: str, *answers: str) -> None:
        """Answer the next times so; `CONNECT` is the greeting, `BODY` what follows the message."""
        self._scripts[verb].extend(answers)

    async def until(self, count: int) -> list[Letter]:
        """Wait until so many messages were taken."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.letters) >= count)
        return self.letters

    async def until_said(self, verb: str, *, count: int = 1) -> None:
        """Wait until clients gave a command so often."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: self.commands.count(verb) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(reader, writer, secured=self._implicit)
        self._sessions[asyncio.current_task()] = writer
        try:
            await self._answer(session, "CONNECT", "220 sink ESMTP")
            while await self._one(session):
                pass
        except (OSError, asyncio.IncompleteReadError):  # ssl.SSLError is an OSError
            pass
        finally:
            session.writer.close()

    async def _answer(self, session: _Session, verb: str, *usual: str) -> bool:
        """Say what the script has, or the usual; whether it was a yes."""
        async with self._changed:
            self.commands.append(verb)
            self._changed.notify_all()
        told = (self._scripts[verb].popleft(),) if self._scripts[verb] else usual
        if told == (HANG,):
            await session.reader.read()
            raise ConnectionResetError
        await session.say(*told)
        return told[-1][0] in "23"

    async def _one(self, session: _Session) -> bool:
        verb, _, rest = (await session.line()).partition(" ")
        match verb.upper():
            case "EHLO":
                await self._answer(session, "EHLO", *self._offers(session))
            case "STARTTLS" if self._context is not None and not session.secured:
                if await self._answer(session, "STARTTLS", "220 go ahead"):
                    await session.secure(self._context)
            case "AUTH":
                await self._sign_in(session, rest)
            case "MAIL":
                refused = self._users is not None and session.user is None
                usual = "530 sign in first" if refused else "250 ok"
                session.sender, session.to = _address(rest), []
                await self._answer(session, "MAIL", usual)
            case "RCPT":
                if await self._answer(session, "RCPT", "250 ok"):
                    session.to.append(_address(rest))
            case "DATA":
                await self._take(session)
            case "NOOP" | "RSET":
                await self._answer(session, verb, "250 ok")
            case "QUIT":
                await self._answer(session, "QUIT", "221 bye")
                return False
            case _:
                await self._answer(session, verb, "500 what?")
        return True

    def _offers(self, session: _Session) -> list[str]:
        offers = ["sink", "PIPELINING"]
        if self._context is not None and not session.secured:
            offers.append("STARTTLS")
        if self._users is not None:
            offers.append("AUTH PLAIN LOGIN")
        return [*(f"250-{offer}" for offer in offers), "250 HELP"]

    async def _sign_in(self, session: _Session, rest: str) -> None:
        how, _, first = rest.partition(" ")
        if how.upper() == "LOGIN":
            words = [base64.b64decode(first).decode()] if first else []
            for ask in ("Username:", "Password:")[len(words) :]:
                await session.say(f"334 {base64.b64encode(ask.encode()).decode()}")
                words.append(base64.b64decode(await session.line()).decode())
            user, password = words
        else:
            _, user, password = base64.b64decode(first).decode().split("\0")
        right = (self._users or {}).get(user) == password
        if await self._answer(session, "AUTH", "235 welcome" if right else "535 who are you?"):
            session.user = user

    async def _take(self, session: _Session) -> None:
        if not await self._answer(session, "DATA", "354 go on"):
            return
        lines = []
        while (line := await session.reader.readuntil(b"\n")) not in (b".\r\n", b".\n"):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        letter = Letter(
            session.sender, session.to, b"".join(lines), session.user, secured=session.secured
        )
        if await self._answer(session, "BODY", "250 it is mine now"):
            async with self._changed:
                self.letters.append(letter)
                self._changed.notify_all()


def _address(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]
