"""How the processes of `penstock services` are: asked where they answer, within seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from penstock.cli.failure import one_line
from penstock.cli.services_ledger import Record, is_alive
from penstock.settings import Settings

if TYPE_CHECKING:
    from penstock.tasks.job import WorkerStatus

ASK_SECONDS: Final = 3.0
PING_SECONDS: Final = 2.0  # that Celery's workers have to answer; all answer at once or not at all
DEAD: Final = "dead"
GOOD: Final = ("healthy", "degraded", "running", "answers")


def readiness(port: int, *, seconds: float = ASK_SECONDS) -> str:
    """What `/readyz` says on a port of this machine: `healthy`, `draining`, or why nothing."""
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(4096)
    except (OSError, HTTPException) as error:
        return f"no answer ({type(error).__name__})"
    finally:
        connection.close()
    try:
        return str(json.loads(body)["status"])
    except (ValueError, KeyError, TypeError):
        return f"answers {answer.status}"


def is_ready(record: Record) -> bool:
    """Whether a server, or the proxy, can take requests now."""
    return record.port is not None and readiness(record.port) in ("healthy", "degraded")


def flower_answers(port: int) -> bool:
    """Whether Flower serves."""
    connection = HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def celery_answers(
    settings: Settings, names: Sequence[str], *, seconds: float = PING_SECONDS
) -> set[str]:
    """Which of these workers of this machine answer Celery's ping: `celery inspect ping`.

    Raises StorageError when the broker cannot be used.
    """
    from celery.utils.nodenames import gethostname

    # Named ones: the wait ends with the last answer, not with the time.
    nodes = [f"{name}@{gethostname()}" for name in names]
    answered = {node.partition("@")[0] for node in ping(settings, nodes, seconds=seconds)}
    return answered & set(names)


def ping(settings: Settings, nodes: Sequence[str] | None = None, *, seconds: float) -> list[str]:
    """The workers that answer Celery's ping within `seconds`, of these or of all.

    Raises StorageError when the broker cannot be used.
    """
    from kombu.exceptions import KombuError

    from penstock.celery_app import make
    from penstock.errors import StorageUnavailable

    check_broker(settings)  # at once and in words: kombu tries again and again
    app = make(settings.model_copy(update={"include": ()}))
    answers: Future[list[dict[str, Any]]] = Future()

    def ask() -> None:
        try:
            answers.set_result(app.control.ping(destination=nodes, timeout=seconds) or [])
        except Exception as error:
            answers.set_exception(error)

    # Nobody waits for this thread: when the broker falls silent, kombu tries for ever.
    Thread(target=ask, name="penstock-ping", daemon=True).start()
    try:
        found = answers.result(timeout=seconds + ASK_SECONDS)
    except (KombuError, OSError) as error:  # it went away meanwhile
        raise StorageUnavailable(f"the broker cannot be used ({type(error).__name__})") from error
    return sorted(node for each in found for node in each)


def check_broker(settings: Settings) -> None:
    """Ask Celery's broker whether it is there. Raises StorageError, which says what to do."""
    from penstock.net.redis import connect_sync
    from penstock.tasks.celery.remote import understood

    url = settings.broker or ""
    with understood(url), closing(connect_sync(url, timeout=ASK_SECONDS)) as client:
        client.ping()


def of_all(
    records: Sequence[Record],
    *,
    settings: Settings,
    workers: Mapping[int, WorkerStatus],
) -> dict[str, str]:
    """A word on each process, by name. `workers` are those that the job file knows, by number."""
    alive = {each.name: each for each in records if is_alive(each)}
    told = {each.name: DEAD for each in records if each.name not in alive}
    named = [each.name for each in alive.values() if each.kind == "worker"]
    has_celery = settings.tasks == "celery"
    answered, fault = _answered(settings, named) if has_celery and named else (set[str](), "")
    for name, record in alive.items():
        match record.kind:
            case "api" | "proxy":
                told[name] = readiness(record.port or 0)
            case "worker" if fault:
                told[name] = f"cannot be asked: {fault}"
            case "worker" if has_celery:
                told[name] = "answers" if name in answered else "no answer to a ping"
            case "worker":
                known = workers.get(record.pid)
                told[name] = "healthy" if known and known.alive else "not at work yet"
            case "flower":
                told[name] = "answers" if flower_answers(record.port or 0) else "no answer"
            case "beat":
                told[name] = "running"
    return told


def _answered(settings: Settings, names: Sequence[str]) -> tuple[set[str], str]:
    """Which workers answer; why none can be asked."""
    from penstock.errors import StorageError

    try:
        return celery_answers(settings, names), ""
    except StorageError as error:
        return set(), one_line(error.detail)
