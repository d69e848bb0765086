"""Opens a store by its URL: the only place that knows which backends there are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit, urlunsplit

from penstock.cache.memory import MemoryStore
from penstock.cache.store import Store
from penstock.clock import Clock, seconds
from penstock.errors import ConfigurationError
from penstock.extras import extra

_OURS = frozenset({"compress_from", "timeout"})  # options of ours, not of the client's
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """Open `memory://` or `disk://path/to/cache.db`, each with `?max_bytes=256m` if wanted.

    `disk:///absolute` has three slashes. `redis://:password@host:6379/0` (`rediss://` for TLS,
    `unix:///path`) takes `?timeout=100ms` for one answer; its own maxmemory is its bound.
    `compress_from` (bytes, 0 = never) is the size from which values on disk and in Redis are
    compressed. Opening never fails for want of a disk or a server: the store is down and says so.
    """
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    match parts.scheme:
        case "memory":
            return MemoryStore(_size(query.get("max_bytes", "256m")), clock=clock)
        case "disk":
            from penstock.cache.disk import DiskStore

            path = Path(unquote(parts.netloc + parts.path) or "cache.db")
            return DiskStore(
                path / "cache.db" if path.is_dir() else path,
                max_bytes=_size(query.get("max_bytes", "1g")),
                compress_from=_size(query.get("compress_from", "2048")) or None,
                clock=clock,
            )
        case "redis" | "rediss" | "unix":
            with extra("redis"):
                from penstock.cache.redis import RedisStore

            kept = urlencode({n: v for n, v in query.items() if n not in _OURS})
            return RedisStore(
                urlunsplit(parts._replace(query=kept)),
                compress_from=_size(query.get("compress_from", "2048")) or None,
                timeout=seconds(query.get("timeout", "100ms")),
                clock=clock,
            )
        case scheme:
            raise ConfigurationError(
                f"no cache tier is opened by {scheme}://; "
                "known: memory://, disk://path, redis://host:6379/0"
            )


def _size(text: str) -> int:
    number = text.lower().removesuffix("b")
    unit = number[-1:] if number[-1:] in "kmg" else ""
    try:
        return int(number.removesuffix(unit)) * _UNITS[unit]
    except ValueError:
        raise ConfigurationError(f"{text!r} is not a size; write bytes, or 64k, 256m, 1g") from None
