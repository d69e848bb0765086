"""How this project speaks to Redis: time-outs, pools, no retries, and faults in words.

redis-py's defaults wait seconds and retry behind the caller's back (2-12 s for one GET of a silent
server). A caller here has a breaker or a buffer of its own, so a client fails fast and says why.
Redis 6.2 or later.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

from penstock.errors import ConfigurationError
from penstock.extras import extra
from penstock.net import address, redis_tls, tls

with extra("redis"):
    import redis.asyncio as asynchronous
    from redis import Redis, exceptions
    from redis.asyncio.retry import Retry as AsyncRetry
    from redis.backoff import NoBackoff
    from redis.maint_notifications import MaintNotificationsConfig
    from redis.retry import Retry

if TYPE_CHECKING:
    from redis.connection import ConnectionPool

T = TypeVar("T")

TIMEOUT: Final = 0.1  # seconds that one command may take
CONNECT_TIMEOUT: Final = 1.0
CONNECTIONS: Final = 8  # of one client; more callers than that wait for one
OLDEST: Final = (6, 2)

FAULTS: Final = (exceptions.RedisError, OSError, TimeoutError)
"""What a client raises when Redis cannot be used."""

REFUSALS: Final = exceptions.ResponseError
"""Those among them with which a server that is there says no: full, read-only, not allowed."""

_SCHEMES: Final = ("redis", "rediss", "unix")


def connect(
    url: str,
    *,
    timeout: float | None = TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    connections: int = CONNECTIONS,
    name: str = "penstock",
    **options: Any,
) -> asynchronous.Redis:
    """A client of the running loop's own; nothing is connected before its first command.

    `timeout` None waits for ever: for what blocks on purpose. Raises ConfigurationError for a URL
    that is none of Redis'.
    """
    plain, shared = _options(url, timeout, connect_timeout, connections, name)
    if "tls" in shared:
        shared["connection_class"] = redis_tls.SecureConnection
    shared["retry"] = AsyncRetry(NoBackoff(), 0)
    with _understood(url):
        pool = asynchronous.BlockingConnectionPool.from_url(plain, **shared, **options)
        pool.connection_class(**pool.connection_kwargs)
    return asynchronous.Redis.from_pool(pool)


def connect_sync(
    url: str,
    *,
    timeout: float | None = TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    connections: int = CONNECTIONS,
    name: str = "penstock",
    **options: Any,
) -> Redis:
    """The same for threads."""
    from redis.connection import BlockingConnectionPool

    plain, shared = _options(url, timeout, connect_timeout, connections, name)
    if "tls" in shared:
        shared["connection_class"] = redis_tls.SecureConnectionOfThreads
    shared["retry"] = Retry(NoBackoff(), 0)
    with _understood(url):
        pool: ConnectionPool = BlockingConnectionPool.from_url(plain, **shared, **options)
        pool.connection_class(**pool.connection_kwargs)
    return Redis.from_pool(pool)


def _options(
    url: str, timeout: float | None, connect_timeout: float, connections: int, name: str
) -> tuple[str, dict[str, Any]]:
    _check(url)
    bare, terms = redis_tls.split(url)
    shared = {
        "max_connections": connections,
        "timeout": CONNECT_TIMEOUT,
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "client_name": name,
        "protocol": 3,
        "health_check_interval": 0,
        "maint_notifications_config": _unannounced(),
    }
    if terms is None:
        return bare, shared
    # Ours speaks TLS; redis-py's, which it puts in by the scheme, is not wanted.
    return f"redis{bare.removeprefix(redis_tls.SCHEME)}", {**shared, "tls": terms}


@contextmanager
def _understood(url: str) -> Iterator[None]:
    """Refuse options that redis-py does not know now, not at the first command."""
    try:
        yield
    except (TypeError, ValueError) as error:
        text = str(error).partition("argument ")[2] or str(error)
        raise ConfigurationError(
            f"{shown(url)!r} has an option that cannot be used: {text}; correct it behind the ?"
        ) from None


def _unannounced() -> MaintNotificationsConfig:
    """No notices of a server's maintenance.

    While a client waits for them, redis-py does not look whether an idle connection was ended: a
    Redis that was restarted would cost one failure for every connection of the pool.
    """
    return MaintNotificationsConfig(enabled=False)


async def ask(client: asynchronous.Redis, command: Callable[[], Awaitable[T]]) -> T:
    """What `command` gives, on a new connection if that of the pool turns out to be closed.

    A server that was restarted, or that ends idle connections, is noticed by the next command.
    """
    try:
        return await command()
    except exceptions.ConnectionError:
        await drop_connections(client)
        return await command()
    except REFUSALS as error:
        if not is_replica(error):
            raise
        await drop_connections(client)
        return await command()


def is_replica(error: BaseException) -> bool:
    """Whether a server says that it is a replica.

    After a failover the old primary may live on as one: its connections stay alive and refuse every
    write, while the address leads to the new primary. Nothing was changed: ask on a new connection.
    """
    if isinstance(error, exceptions.ReadOnlyError | exceptions.MasterDownError):
        return True
    # Redis 6 wraps what a script was told into an error of its own.
    return isinstance(error, exceptions.ResponseError) and "-READONLY" in str(error)


async def drop_connections(client: asynchronous.Redis) -> None:
    """Let the next commands connect anew, to wherever the address leads by now."""
    await client.connection_pool.disconnect(inuse_connections=False)


def drop_connections_of_threads(client: Redis) -> None:
    """The same for a client of `connect_sync`."""
    client.connection_pool.disconnect(inuse_connections=False)


def version_of(text: str) -> tuple[int, ...]:
    """`7.0.15` as numbers."""
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


def is_too_old(version: tuple[int, ...]) -> bool:
    """Whether what is used here is missing there."""
    return version[:2] < OLDEST


def too_old(version: tuple[int, ...], url: str) -> str:
    """Why such a server cannot be used, and what to do."""
    found, needed = ".".join(map(str, version)), ".".join(map(str, OLDEST))
    return f"{shown(url)} is Redis {found}; install {needed} or later"


def at_database(url: str, number: int) -> str:
    """The same server's database of this number."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        kept = [part for part in parts.query.split("&") if part and not part.startswith("db=")]
        return f"unix://{parts.netloc}{parts.path}?{'&'.join([*kept, f'db={number}'])}"
    return urlunsplit(parts._replace(path=f"/{number}"))


def shown(url: str) -> str:
    """The address for logs and errors: without name, password and options."""
    return address.shown(url)


def explain(error: BaseException, url: str) -> str:
    """What is wrong with the server at `url`, and what to do about it."""
    where = shown(url)
    text = str(error)
    if told := tls.explain(error, redis_tls.SPELLING):
        return f"{where} {told}"
    match error:
        case exceptions.AuthenticationError():
            return f"{where} refuses the name or the password; correct it in REDIS_URL"
        case exceptions.NoPermissionError():
            return f"{where} forbids a command to this user ({text}); widen its ACL"
        case exceptions.OutOfMemoryError():
            fix = "raise it, or let it evict: volatile-lru, never allkeys"
            return f"{where} is full (maxmemory); {fix}"
        case exceptions.ReadOnlyError():
            return f"{where} is a read-only replica; name the primary in REDIS_URL"
        case exceptions.BusyLoadingError():
            return f"{where} is loading its data; it will answer when that is done"
        case exceptions.TimeoutError() if url.startswith("rediss:") and "connecting" in text:
            fix = "see whether it is cut off, or speaks no TLS (then it is redis:// in REDIS_URL)"
            return f"{where} does not answer in time; {fix}"
        case exceptions.TimeoutError() | TimeoutError():
            return f"{where} does not answer in time; see whether it is overloaded or cut off"
        case exceptions.ResponseError() if "NOAUTH" in text:
            return f"{where} asks for a password; put it into REDIS_URL: redis://:password@host"
        case exceptions.ResponseError() if "DB index" in text:
            fix = "name one in REDIS_URL: 0 to 15, unless its setting `databases` says otherwise"
            return f"{where} has no database of this number; {fix}"
        case exceptions.InvalidResponse():
            fix = "name host and port of a Redis in REDIS_URL; this may be a web server"
            return f"{where} answers, but not as Redis does; {fix}"
        case exceptions.ResponseError() if "HELLO" in text:
            return f"{where} is older than Redis 6; install 6.2 or later"
        case exceptions.ResponseError() if "MISCONF" in text:
            return f"{where} cannot save to its disk and takes no writes; free its disk"
        case exceptions.ConnectionError() | OSError():
            return _unreached(error, url)
    return f"{where}: {_short(text)}"


def _unreached(error: BaseException, url: str) -> str:
    """Why there is no connection, and what to do about it."""
    where, text = shown(url), str(error)
    if url.startswith("rediss:") and _is_cut(text):
        return f"{where} {tls.ended(redis_tls.SPELLING)}"
    if unknown := _unknown_host(error):
        fix = "correct its host in REDIS_URL, or see to this machine's DNS"
        return f"{where} cannot be looked up ({unknown}); {fix}"
    fix = "start it or correct REDIS_URL"
    if url.startswith("redis:") and _is_cut(text):
        fix += " (rediss:// if it speaks TLS)"
    return f"{where} cannot be reached ({_short(text)}); {fix}"


def _unknown_host(error: BaseException) -> str:
    """Why the name of a host leads nowhere; empty when something else is wrong."""
    found = error.__cause__ or error.__context__  # redis-py quotes it
    if isinstance(found, socket.gaierror) and (reason := str(found.args[-1])) in str(error):
        return reason
    return ""


def _is_cut(text: str) -> bool:
    """Whether a connection was made and ended: a port that speaks TLS ends those that do not."""
    return "reset by peer" in text or "closed by server" in text


def _short(text: str) -> str:
    return text.strip().rstrip(".")[:200]


def check_scheme(url: str) -> None:
    """Raise ConfigurationError for what has to be asked first where the primary is."""
    scheme = url.partition("://")[0].removeprefix("celery+")
    if "sentinel" in scheme or "cluster" in scheme:
        raise ConfigurationError(
            f"{scheme}:// is not supported: nobody here asks where the primary is; write redis:// "
            "or rediss:// with a name or address that always leads to it (a proxy, a service)"
        )


def _check(url: str) -> None:
    check_scheme(url)
    if fault := address.fault(url):
        raise ConfigurationError(f"{shown(url)!r} is no address of Redis: {fault}")
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not (parts.hostname or parts.path):
        raise ConfigurationError(
            f"{shown(url)!r} is no address of Redis; write redis://host:6379/0, or rediss:// for "
            "TLS, with :password@ before the host if it asks for one"
        )
