"""Structured logs: one event with fields per line, to standard error and, if asked, to files.

    get_logger(name).warning("cache.tier_down", tier="redis")
      -> stamp (time, level, request id) -> redact secrets -> JSON line, or colours on a terminal

structlog runs in native mode (a third of the cost of the standard library with a JSON formatter)
and is imported by `configure` alone. As long as nobody called `configure`, events go to the
standard library's logging, so that an application which only uses the layer decides itself where
they end. Content of users is never logged; secrets are removed by name and by shape.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import msgspec

from penstock.clock import Clock, SystemClock
from penstock.observe.files import RotatingFile

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

Format = Literal["auto", "json", "console"]

request_id: Final[ContextVar[str | None]] = ContextVar("penstock_request_id", default=None)
"""The id of the request that is being served; set by `http/request_id`, on every line below it."""

trace_id: Final[ContextVar[str | None]] = ContextVar("penstock_trace_id", default=None)
"""The W3C trace id that came with the request, if any."""

REDACTED: Final = "[redacted]"

# These log bodies, parameters or whole URLs below warning: users' content and keys.
_TALKATIVE = (
    "sqlalchemy",
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "openai",
    "aiosqlite",
    "asyncio",
    "urllib3",
)
_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "alembic", "sqlalchemy")
_SILENT = ("uvicorn.access",)  # `http/timing` tells of requests, with their routes and ids

_SECRET_NAME = re.compile(
    r"(?:.*[_-])?(?:authorization|api[_-]?key|admin[_-]?key|token|password|passwd|secret|cookie)",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"\b[a-z]{2,16}_[A-Za-z0-9_-]{43}\b"  # our keys, whatever their prefix
    r"|\bsk-[A-Za-z0-9_-]{16,}"  # providers' keys
    r"|(?<=[Bb]earer )\S+"
    r"|(?<=://)[^/\s:@]*:[^/\s@]*(?=@)"  # user:password in a URL
)


class Logger:
    """Events of one part. A name is a short constant, what varies is in the fields."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, /, **fields: object) -> None:
        """What only someone looking for a fault wants to see."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """What happened as it should."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """What went wrong and was dealt with."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """What went wrong and cost someone an answer."""
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """Like `error`, with the traceback of the exception being handled, or of `exc_info`."""
        self._log(logging.ERROR, event, {"exc_info": True, **fields})

    def is_enabled_for(self, level: int) -> bool:
        """Whether events of this level are written anywhere."""
        return logging.getLogger(self._name).isEnabledFor(level)

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        stdlib = logging.getLogger(self._name)
        if not stdlib.isEnabledFor(level):
            return
        output = _configured()
        if output is not None:
            output.write(level, event, {"logger": self._name, **fields})
            return
        cause: Any = fields.pop("exc_info", None)
        told = " ".join(f"{key}={value!r}" for key, value in _redacted(fields).items())
        stdlib.log(level, "%s", f"{event} {told}".rstrip(), exc_info=cause)


def get_logger(name: str) -> Logger:
    """Return the logger of a part, usually `get_logger(__name__)`; costs nothing until used."""
    return Logger(name)


def configure(
    level: str = "info",
    *,
    format: Format = "auto",
    log_dir: Path | None = None,
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> None:
    """Send every event, and the standard library's records, to `stream` (standard error) and files.

    `log_dir` gets `penstock.log` and, for errors alone, `error.log`; both rotate by size. Calling
    again replaces the former configuration. ValueError for an unknown level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"no log level is called {level!r}; known: debug, info, warning, error")
    target = stream or sys.stderr
    console = format == "console" or (format == "auto" and target.isatty())
    shutdown()
    root = logging.getLogger()
    root.addHandler(_Forward(_Output(target, console, log_dir, clock or SystemClock())))
    root.setLevel(number)
    for name in _OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _SILENT:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = False
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def shutdown() -> None:
    """Undo `configure`: close the files and leave the standard library's logging alone."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Forward)]:
        root.removeHandler(handler)
        handler.output.close()
        root.setLevel(logging.WARNING)  # as it is before anybody configures it


class _Forward(logging.Handler):
    """Takes the standard library's records (uvicorn, sqlalchemy, alembic) into our output."""

    def __init__(self, output: _Output) -> None:
        super().__init__()
        self.output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, object] = {"logger": record.name}
            if record.exc_info:
                fields["exc_info"] = record.exc_info
            self.output.write(record.levelno, record.getMessage(), fields)
        except Exception:  # a log line may not cost a request
            self.handleError(record)


class _Output:
    """Where lines go: one stream, rendered for people or machines, and JSON files."""

    def __init__(self, stream: TextIO, console: bool, log_dir: Path | None, clock: Clock) -> None:
        import structlog

        self._stream = stream
        self._clock = clock
        self._files: list[tuple[int, RotatingFile]] = []
        if log_dir is not None:
            self._files = [
                (logging.NOTSET, RotatingFile(log_dir / "penstock.log")),
                (logging.ERROR, RotatingFile(log_dir / "error.log")),
            ]
        self._processors = (self._stamp, structlog.processors.format_exc_info, _redact)
        self._render: Processor = _json_line
        if console:
            self._render = structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )

    def write(self, level: int, event: str, fields: dict[str, object]) -> None:
        name = logging.getLevelName(level).lower()
        line: EventDict = {"event": event, "level": name, **fields}
        for process in self._processors:
            line = process(None, name, line)
        if self._files:
            data = f"{_json_line(None, name, line)}\n".encode(errors="backslashreplace")
            for lowest, file in self._files:
                if level >= lowest:
                    file.write(data)
        with suppress(OSError, ValueError):  # the stream is gone: nobody is left to be told
            text = f"{self._render(None, name, line)!s}\n"
            self._stream.write(text.encode(errors="backslashreplace").decode())
            self._stream.flush()

    def close(self) -> None:
        for _, file in self._files:
            file.close()

    def _stamp(self, _logger: object, _method: str, line: EventDict) -> EventDict:
        at = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="milliseconds")
        stamped: EventDict = {"timestamp": at.replace("+00:00", "Z"), **line}
        stamped.setdefault("request_id", request_id.get())
        trace = trace_id.get()
        if trace is not None:
            stamped.setdefault("trace_id", trace)
        return stamped


def _configured() -> _Output | None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Forward):
            return handler.output
    return None


def _json_line(_logger: object, _method: str, line: EventDict) -> str:
    try:
        return msgspec.json.encode(line, enc_hook=repr).decode()
    except (UnicodeEncodeError, TypeError, ValueError):
        # Lone surrogates, keys that are no strings: a line that reads oddly beats none.
        return json.dumps({str(key): value for key, value in line.items()}, default=repr)


def _redact(_logger: object, _method: str, line: EventDict) -> EventDict:
    return _redacted(line)


def _redacted(fields: Mapping[str, object], depth: int = 4) -> dict[str, Any]:
    return {
        key: REDACTED if _SECRET_NAME.fullmatch(str(key)) else _cleaned(value, depth)
        for key, value in fields.items()
    }


def _cleaned(value: object, depth: int) -> object:
    match value:
        case str():
            return _SECRET_VALUE.sub(REDACTED, value)
        case Mapping() if depth:
            return _redacted(value, depth - 1)
        case list() | tuple() if depth:
            return [_cleaned(item, depth - 1) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return _SECRET_VALUE.sub(REDACTED, repr(value))
