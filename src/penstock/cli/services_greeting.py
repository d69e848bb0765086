"""What `penstock services` finds out before it starts anything, and says when all of it serves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from importlib.util import find_spec

import click

from penstock.cli import port as ports
from penstock.cli import serve
from penstock.cli import services_health as health
from penstock.cli.failure import USAGE, Failure
from penstock.cli.services_jobs import left_behind, of_left_behind
from penstock.cli.services_lifecycle import Lifecycle
from penstock.cli.services_plan import Wanted
from penstock.errors import PenstockError
from penstock.observe import logging
from penstock.settings import Settings


def _prepare(settings: Settings, wanted: Wanted, lifecycle: Lifecycle) -> str | None:
    """Find out here, in words, what would end up in logs. Returns a key that was made."""
    serve.check_exposure(settings)
    has_workers = wanted.workers > 0 and settings.tasks == "celery"
    if wanted.flower is not None or has_workers:
        _need_celery()
    if has_workers:
        health.check_broker(settings)
    _warn_of_left_behind(settings)
    alive = lifecycle.ledger.alive()
    taken = {record.port for record in alive.values()}
    host = settings.host if wanted.proxy is None else "127.0.0.1"
    places = [(host, port) for port in wanted.ports]
    places += [(settings.host, wanted.proxy)] if wanted.proxy else []
    for place, port in places:
        if port not in taken:
            ports.claim(place, port)
    if not wanted.ports:
        return None
    logging.configure("error", format=settings.log_format)
    try:
        return asyncio.run(serve.prepare(settings))
    finally:
        logging.shutdown()


def _warn_of_left_behind(settings: Settings) -> None:
    number = 0
    with contextlib.suppress(PenstockError):  # what is wrong with the file, doctor says
        number = asyncio.run(left_behind(settings))
    if number:
        click.echo(f"warning: {'; '.join(of_left_behind(settings, number))}", err=True)


def _need_celery() -> None:
    if find_spec("celery") is None:
        raise Failure(
            "the package 'celery' is not installed",
            fix='pip install "penstock[celery]"',
            exit_code=USAGE,
        )


@contextlib.contextmanager
def greeting(settings: Settings, wanted: Wanted, lifecycle: Lifecycle) -> Iterator[None]:
    """Prepare, let the block start everything, and say where it serves.

    A key that was made is shown whatever happens: it is shown nowhere else.
    """
    token = _prepare(settings, wanted, lifecycle)
    started = False
    try:
        yield
        started = True
    finally:
        port = wanted.proxy or (wanted.ports[0] if wanted.ports else None)
        if port is not None and (started or token):
            url = serve.base_url(settings.host, port)
            click.echo(serve.greeting(url, token, serve.called(settings.home)))
