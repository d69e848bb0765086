"""Real servers of a test's or a benchmark's own: free ports, temporary folders, gone at the end.

They are started as processes that can be stopped, killed, frozen and started again on the same
port and folder. Nothing here touches a server that happens to run.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from benchmarks.load import free_port
from benchmarks.rigs.certificates import HERE, Authority, Certificate

PATIENCE = 60.0
NOBODY = 65534  # PostgreSQL refuses to run as root


@dataclass(frozen=True)
class Tls:
    """What a server shows who it is with; `clients`: it asks the same of those who connect."""

    authority: Authority
    certificate: Certificate
    clients: bool = False

    @classmethod
    def of(cls, authority: Authority, *names: str, clients: bool = False) -> Tls:
        """With a new certificate for these names, or for this machine."""
        return cls(authority, authority.issue(*(names or HERE)), clients)

    @cached_property
    def client(self) -> Certificate:
        """A certificate for a client of it."""
        return self.authority.issue("client", file="client")

    def wrapped(self, plain: socket.socket) -> ssl.SSLSocket:
        """What the rig itself asks by, whatever the server shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.client.certificate, self.client.key)
        return context.wrap_socket(plain)


class Server:
    """One server process. Subclasses say how it is started and when it is ready."""

    package = ""  # Debian's name of it

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-server-"))
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it, on the port and the data of before; returns when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, **self.rights())
        wait_until(self.is_ready, self.alive)

    def stop(self) -> None:
        """End it politely."""
        self._end(self.polite)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it answer nothing, with its connections open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and forget its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    polite = signal.SIGTERM

    def command(self) -> Sequence[str]:
        """How it is started."""
        raise NotImplementedError

    def rights(self) -> dict[str, int]:
        """As whom."""
        return {}

    def is_ready(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def alive(self) -> None:
        """Fail with its log when it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-2000:]

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)  # one that is frozen hears nothing else
        process.send_signal(how)
        process.wait(timeout=PATIENCE)


class RedisServer(Server):
    """An empty redis-server that keeps nothing on disk, unless `options` say otherwise."""

    def __init__(self, *options: str, password: str | None = None, tls: Tls | None = None) -> None:
        super().__init__()
        self._options = options
        self._password = password
        self.tls = tls

    @property
    def url(self) -> str:
        """Its database 0."""
        return self.database(0)

    def database(self, number: int) -> str:
        """The address of one of its databases, with all that a client needs."""
        who = f":{self._password}@" if self._password else ""
        where = f"{who}127.0.0.1:{self.port}/{number}"
        if self.tls is None:
            return f"redis://{where}"
        trusted = f"rediss://{where}?ssl_ca_certs={self.tls.authority.ca}"
        if not self.tls.clients:
            return trusted
        own = self.tls.client
        return f"{trusted}&ssl_certfile={own.certificate}&ssl_keyfile={own.key}"

    def command(self) -> Sequence[str]:
        guard = ("--requirepass", self._password) if self._password else ()
        quiet = ("--save", "", "--appendonly", "no", "--dir", str(self.folder))
        where = ("--bind", "127.0.0.1", *self._listens())
        return [program("redis-server", "redis-server"), *where, *quiet, *guard, *self._options]

    def _listens(self) -> Sequence[str]:
        if self.tls is None:
            return ("--port", str(self.port))
        own = self.tls.certificate
        return (
            *("--port", "0", "--tls-port", str(self.port)),
            *("--tls-cert-file", str(own.certificate), "--tls-key-file", str(own.key)),
            *("--tls-ca-cert-file", str(self.tls.authority.ca)),
            *("--tls-auth-clients", "yes" if self.tls.clients else "no"),
        )

    def is_ready(self) -> bool:
        # Authentication is not needed to hear that it is needed, nor that it is loading.
        return self.ask(b"PING\r\n")[:5] in (b"+PONG", b"-NOAU")

    def empty(self) -> None:
        """Forget everything in all databases, and what was counted about commands."""
        login = f"AUTH {self._password}\r\n" if self._password else ""
        asked = f"{login}FLUSHALL\r\nCONFIG RESETSTAT\r\n"
        self.ask(asked.encode(), replies=asked.count("\r\n"))

    def ask(self, what: bytes, *, replies: int = 1) -> bytes:
        """The first bytes that it answers to commands written out inline."""
        try:
            with ExitStack() as stack:
                connection = stack.enter_context(
                    socket.create_connection(("127.0.0.1", self.port), timeout=5)
                )
                if self.tls is not None:
                    connection = stack.enter_context(self.tls.wrapped(connection))
                connection.sendall(what)
                answer = b""
                while answer.count(b"\r\n") < replies:
                    got = connection.recv(4096)
                    if not got:
                        break
                    answer += got
                return answer
        except OSError:
            return b""


_PG_TLS = ("ssl=on", "ssl_cert_file=server.pem", "ssl_key_file=server.key", "ssl_ca_file=ca.pem")


class PostgresServer(Server):
    """A PostgreSQL cluster; `database()` makes an empty one in it.

    With `tls`, nobody from outside this process' rig is let in without it, and `clients` have to
    show a certificate.
    """

    polite = signal.SIGINT  # "fast": ends connections

    def __init__(self, *options: str, tls: Tls | None = None) -> None:
        super().__init__()
        self._options = options
        self.tls = tls
        self._data = self.folder / "data"
        if os.getuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        self.log.touch()
        made = subprocess.run(
            [
                *(postgres_program("initdb"), "--pgdata", str(self._data), "--no-sync"),
                *("--username", "penstock", "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C.UTF-8"),
            ],
            capture_output=True,
            **self.rights(),
        )
        assert made.returncode == 0, made.stderr.decode(errors="replace")
        if tls is not None:
            self._prepare(tls)

    def _prepare(self, tls: Tls) -> None:
        """Put its certificate where it may read it, and let nobody in without TLS."""
        files = {
            "server.pem": tls.certificate.certificate,
            "server.key": tls.certificate.key,
            "ca.pem": tls.authority.ca,
        }
        for name, source in files.items():
            copy = self._data / name
            copy.touch(mode=0o600)
            copy.write_bytes(source.read_bytes())
            if os.getuid() == 0:
                os.chown(copy, NOBODY, NOBODY)
        shown = " clientcert=verify-ca" if tls.clients else ""
        rules = f"local all all trust\nhostssl all all 127.0.0.1/32 trust{shown}\n"
        (self._data / "pg_hba.conf").write_text(rules)

    @property
    def url(self) -> str:
        """Its first database."""
        return self.address("postgres")

    def address(self, database: str) -> str:
        """The address of one of its databases, with all that a client needs."""
        where = f"postgresql://penstock@127.0.0.1:{self.port}/{database}"
        if self.tls is None:
            return where
        trusted = f"{where}?sslmode=verify-full&sslrootcert={self.tls.authority.ca}"
        if not self.tls.clients:
            return trusted
        own = self.tls.client
        return f"{trusted}&sslcert={own.certificate}&sslkey={own.key}"

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        return self.address(name)

    def drop(self, url: str) -> None:
        """Remove a database that `database` made, whoever is connected."""
        name = urlsplit(url).path.removeprefix("/")
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def run(self, sql: str) -> str:
        """Run SQL with psql; what it prints, without decoration."""
        where = ("--host", str(self.folder), "--port", str(self.port), "--username", "penstock")
        done = subprocess.run(
            [
                *(postgres_program("psql"), *where, "--dbname", "postgres"),
                *("--no-psqlrc", "--tuples-only", "--no-align", "--command", sql),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def command(self) -> Sequence[str]:
        settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            "max_connections=200",
            "shared_buffers=32MB",
            *(_PG_TLS if self.tls is not None else ()),
            *self._options,
        )
        chosen = [part for setting in settings for part in ("-c", setting)]
        return [postgres_program("postgres"), "-D", str(self._data), *chosen]

    def rights(self) -> dict[str, int]:
        return {"user": NOBODY, "group": NOBODY} if os.getuid() == 0 else {}

    def is_ready(self) -> bool:
        where = ("--host", "127.0.0.1", "--port", str(self.port), "--timeout", "1")
        command = [postgres_program("pg_isready"), *where]
        return subprocess.run(command, capture_output=True).returncode == 0


def wait_until(holds: Callable[[], object], alive: Callable[[], None] = lambda: None) -> None:
    """Return when `holds` does; fail when it takes too long, or as `alive` says."""
    end = time.monotonic() + PATIENCE
    pause = 0.005
    while not holds():
        alive()
        assert time.monotonic() < end, "it was not ready in time"
        _rest(pause)
        pause = min(pause * 1.5, 0.1)


def _rest(seconds: float) -> None:
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        quiet.listen()
        quiet.settimeout(seconds)
        try:
            quiet.accept()
        except TimeoutError:
            return


def postgres_program(name: str) -> str:
    """The path of one of PostgreSQL's programs, of the newest version there is."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_version)
    return str(found[-1]) if found else program(name, "postgresql")


def _version(path: Path) -> int:
    return int(path.parts[4]) if path.parts[4].isdecimal() else 0


def program(name: str, package: str) -> str:
    """The path of a program. Fails with the command that installs it: nothing is skipped."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise RuntimeError(
            f"{name} is not installed; as root: apt-get install --no-install-recommends {package}"
        )
    return path
