from __future__ import annotations

import io
import json
import logging as stdlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.observe import logging
from penstock.observe.logging import configure, get_logger

KEY = "psk_" + "aB3_-" * 8 + "xyz"

log = get_logger("penstock.test")


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    level = stdlib.getLogger().level
    yield
    logging.shutdown()
    stdlib.getLogger().setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_is_json_when_nobody_watches(stream: io.StringIO) -> None:
    configure(stream=stream, clock=ManualClock(1_700_000_000.25))

    log.info("cache.tier_down", tier="disk", entries=3)

    assert lines(stream) == [
        {
            "timestamp": "2023-11-14T22:13:20.250Z",
            "event": "cache.tier_down",
            "level": "info",
            "logger": "penstock.test",
            "tier": "disk",
            "entries": 3,
            "request_id": None,
        }
    ]


def test_a_line_is_for_reading_on_a_terminal() -> None:
    stream = Terminal()
    configure(stream=stream)

    log.warning("cache.tier_down", tier="disk")

    assert "cache.tier_down" in stream.getvalue()
    assert "\x1b[" in stream.getvalue()


def test_every_line_carries_the_id_of_the_request(stream: io.StringIO) -> None:
    configure(stream=stream)
    named = logging.request_id.set("abc-1")
    traced = logging.trace_id.set("0af7651916cd43dd8448eb211c80319c")

    log.info("one")
    logging.request_id.reset(named)
    logging.trace_id.reset(traced)
    log.info("two")

    first, second = lines(stream)
    assert (first["request_id"], first["trace_id"][:4]) == ("abc-1", "0af7")
    assert (second["request_id"], "trace_id" in second) == (None, False)


def test_lines_below_the_level_are_not_written(stream: io.StringIO) -> None:
    configure("warning", stream=stream)

    log.debug("one")
    log.info("two")
    log.error("three")

    assert [line["event"] for line in lines(stream)] == ["three"]
    assert not log.is_enabled_for(stdlib.INFO)


def test_secrets_are_redacted_by_name_and_by_shape(stream: io.StringIO) -> None:
    configure(stream=stream)

    log.info(
        f"made {KEY}",
        Authorization="Bearer x",
        api_key="short",
        nested={"new_password": "p", "list": [f"as {KEY}", 1, None]},
        url="https://bob:hunter2@host/path",
        header="Bearer abcdef",
        other="sk-abcdefghijklmnop1234",
        cause=ValueError(f"bad key {KEY}"),
    )

    (line,) = lines(stream)
    text = json.dumps(line)
    assert not [secret for secret in (KEY, "short", "hunter2", "abcdef") if secret in text]
    assert line["url"] == "https://[redacted]@host/path"
    assert line["nested"]["list"] == ["as [redacted]", 1, None]


def test_fields_that_only_sound_like_secrets_stay(stream: io.StringIO) -> None:
    configure(stream=stream)

    log.info("x", tokens_in=3, content_key="abc", key="k1")

    (line,) = lines(stream)
    assert (line["tokens_in"], line["content_key"], line["key"]) == (3, "abc", "k1")


def test_the_standard_librarys_records_come_along(stream: io.StringIO) -> None:
    stdlib.getLogger("uvicorn").addHandler(stdlib.NullHandler())
    configure(stream=stream)

    stdlib.getLogger("uvicorn.error").info("Started %s", "server")

    (line,) = lines(stream)
    assert (line["logger"], line["event"]) == ("uvicorn.error", "Started server")


def test_their_exceptions_bring_their_traceback(stream: io.StringIO) -> None:
    configure(stream=stream)

    try:
        raise KeyError("x")
    except KeyError:
        stdlib.getLogger("uvicorn.error").exception("failed")

    assert "KeyError" in lines(stream)[0]["exception"]


def test_a_library_that_logs_contents_is_silent_below_warning(stream: io.StringIO) -> None:
    configure("debug", stream=stream)

    stdlib.getLogger("openai").debug("body: %s", "a user's text")
    stdlib.getLogger("sqlalchemy.engine").info("a user's text")

    assert lines(stream) == []


def test_an_exception_brings_its_traceback(stream: io.StringIO) -> None:
    configure(stream=stream)

    try:
        raise ValueError(f"no {KEY}")
    except ValueError:
        log.exception("flush.failed", part="counters")

    (line,) = lines(stream)
    assert "Traceback" in line["exception"]
    assert KEY not in line["exception"]


def test_files_get_all_lines_and_errors_apart(stream: io.StringIO, tmp_path: Path) -> None:
    configure(stream=stream, log_dir=tmp_path / "logs")

    log.info("one")
    log.error("two", text="\ud800")
    logging.shutdown()

    everything = (tmp_path / "logs" / "penstock.log").read_text().splitlines()
    errors = (tmp_path / "logs" / "error.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in everything] == ["one", "two"]
    assert [json.loads(line)["event"] for line in errors] == ["two"]


def test_configuring_again_replaces_the_output(stream: io.StringIO) -> None:
    configure(stream=stream)
    second = io.StringIO()

    configure(stream=second)
    log.info("one")

    assert (stream.getvalue(), len(lines(second))) == ("", 1)


def test_without_configuration_events_go_to_the_standard_library(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="penstock.test"):
        log.warning("cache.tier_down", tier="disk", password="p")

    assert caplog.messages == ["cache.tier_down tier='disk' password='[redacted]'"]


def test_a_closed_stream_costs_no_request(stream: io.StringIO) -> None:
    configure(stream=stream)
    stream.close()

    log.info("one")


def test_an_odd_record_of_another_library_is_survived(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(stream=stream)

    (ours,) = [h for h in stdlib.getLogger().handlers if isinstance(h, logging._Forward)]
    ours.handle(stdlib.LogRecord("uvicorn", stdlib.INFO, __file__, 1, "%d", ("none",), None))

    assert "Logging error" in capsys.readouterr().err


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="known: debug"):
        configure("loud")
