"""One SMTP server of the installation's own, spoken to with aiosmtplib.

    smtp://user:password@mail.example:587      STARTTLS where the server offers it; with a password
                                               it must, unless it is on this machine
    smtps://user:password@mail.example:465     TLS from the first byte
    ?ssl_ca_certs=/path/ca.pem                 who signed the server's certificate
    ?ssl_certfile=...&ssl_keyfile=...          what is shown to a server that asks
    ?starttls=auto|required|off

Certificates are checked in any case. A connection serves one message: mail is rare, and a server
that was restarted meanwhile is nobody's surprise. What the server says is quoted cut and on one
line, and not at all where it was told the password.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from penstock.errors import ConfigurationError, PenstockError
from penstock.net.address import fault, shown
from penstock.net.tls import Spelling, Terms, context, explain

ATTEMPT_SECONDS: Final = 30.0  # from the first byte to the last; servers greet late on purpose
CHECK_SECONDS: Final = 10.0  # somebody is looking on
FAREWELL_SECONDS: Final = 2.0
QUOTED: Final = 200  # characters of what a server says
PORTS: Final = {"smtp": 587, "smtps": 465}
SPELLING: Final = Spelling("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "SMTP_URL")

_STARTTLS: Final = {"auto": None, "required": True, "off": False}
_EXAMPLE: Final = "smtp://user:password@mail.example:587"
_FAULTS: Final = (SMTPException, OSError, TimeoutError, ValueError)


class Unsent(PenstockError):
    """A server did not take a message, or cannot be used: `what is wrong; what to do`.

    `permanent`: it said so itself (5xx), and would say the same again.
    """

    def __init__(self, told: str, *, permanent: bool) -> None:
        self.permanent = permanent
        super().__init__(told)


class Server:
    """The server that a URL names. Raises ConfigurationError for one that cannot be read."""

    def __init__(self, url: str) -> None:
        if wrong := fault(url):
            raise ConfigurationError(f"SMTP_URL {shown(url)!r}: {wrong}")
        parts = urlsplit(url)
        several = "," in parts.netloc.rpartition("@")[2]
        self._host, usual = parts.hostname or "", PORTS.get(parts.scheme)
        if several or not self._host or usual is None or parts.path not in ("", "/"):
            raise ConfigurationError(f"SMTP_URL {shown(url)!r} cannot be used; write {_EXAMPLE}")
        self._port = parts.port or usual
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        if bool(self._user) != bool(self._password):
            raise ConfigurationError(
                f"SMTP_URL {shown(url)!r} has a user or a password alone; write {_EXAMPLE}"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._terms = Terms(
            authorities=options.pop("ssl_ca_certs", ""),
            certificate=options.pop("ssl_certfile", ""),
            key=options.pop("ssl_keyfile", ""),
        )
        self._tls = parts.scheme == "smtps"
        self._starttls = self._upgrade(options.pop("starttls", None))
        if options:
            raise ConfigurationError(
                f"SMTP_URL has the option {next(iter(options))[:80]!r}, which nobody reads; "
                "known: ssl_ca_certs, ssl_certfile, ssl_keyfile, starttls"
            )

    @property
    def place(self) -> str:
        """Host and port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    def _upgrade(self, asked: str | None) -> bool | None:
        """Whether there must be STARTTLS; None: where the server offers it."""
        if self._tls and asked is not None:
            raise ConfigurationError("SMTP_URL: starttls means nothing with smtps; leave it out")
        if asked is not None and asked not in _STARTTLS:
            raise ConfigurationError("SMTP_URL: starttls is one of auto, required, off")
        found = False if self._tls else _STARTTLS[asked or "auto"]
        if self._tls or not self._user or _is_here(self._host):
            return found
        if found is False:
            raise ConfigurationError(
                "SMTP_URL would send the password unencrypted; leave starttls=off out"
            )
        return True

    async def send(self, message: bytes, *, sender: str, to: str) -> None:
        """Hand over one message; it is the server's when this returns. Raises Unsent."""
        async with self._session(ATTEMPT_SECONDS) as client:
            await client.sendmail(sender, [to], message)

    async def check(self) -> str:
        """How the server can be used: connects and signs in, sends nothing. Raises Unsent."""
        async with self._session(CHECK_SECONDS) as client:
            await client.noop()
            secured: ssl.SSLObject | None = client.get_transport_info("ssl_object")
            spoken = (secured and secured.version()) or "no TLS"
        who = f"signed in as {self._user}" if self._user else "no user"
        return f"{self.place}: {spoken}, {who}"

    @asynccontextmanager
    async def _session(self, seconds: float) -> AsyncIterator[SMTP]:
        client = None
        try:
            async with asyncio.timeout(seconds):
                client = await self._client()
                await client.connect()
                yield client
            with suppress(*_FAULTS):  # what was handed over stays so, whatever comes of it
                await client.quit(timeout=FAREWELL_SECONDS)
        except _FAULTS as error:
            # What a server says of a password must not be kept beside it.
            raise self._unsent(error, seconds) from None
        finally:
            if client is not None:
                client.close()

    async def _client(self) -> SMTP:
        return SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user or None,
            password=self._password or None,
            use_tls=self._tls,
            start_tls=self._starttls,
            tls_context=await asyncio.to_thread(context, self._terms),
            timeout=ATTEMPT_SECONDS,
        )

    def _unsent(self, error: BaseException, seconds: float) -> Unsent:
        if isinstance(error, SMTPRecipientsRefused):
            error = error.recipients[0]
        if isinstance(error, SMTPResponseException):
            permanent = 500 <= error.code < 600
            if isinstance(error, SMTPAuthenticationError):
                told = f"refuses user and password ({error.code}); correct SMTP_URL"
            else:
                told = f"answered {error.code} {_quoted(error.message)}"
            return Unsent(f"{self.place} {told}", permanent=permanent)
        if (told_of_tls := explain(error, SPELLING)) is not None:
            return Unsent(f"{self.place} {told_of_tls}", permanent=False)
        if isinstance(error, TimeoutError):
            told = f"did not answer within {seconds:g} s; see whether it runs"
        elif isinstance(error, OSError):
            told = f"cannot be reached: {_quoted(str(error))}; correct SMTP_URL, or see the network"
        else:
            told = f"cannot be used: {_quoted(str(error))}; correct SMTP_URL"
        return Unsent(f"{self.place} {told}", permanent=False)


def _is_here(host: str) -> bool:
    """Whether it is this machine by its name: nobody is on the way."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _quoted(text: str) -> str:
    """On one line; a semicolon is where our own advice begins."""
    plain = text[:QUOTED].replace(";", ",")
    return "".join(each if each.isprintable() else " " for each in plain)
