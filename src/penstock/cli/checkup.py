"""The checks of `penstock doctor`. They change nothing but a file that is written and removed.

Each stands alone, because what is broken is often what the others need: no runtime is opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from penstock.cli import machine, parts, remotes
from penstock.cli.failure import Failure, split
from penstock.cli.finding import Check, Finding
from penstock.cli.serve import check_exposure
from penstock.errors import PenstockError
from penstock.settings import LoadedSettings, Settings, load_settings


def jobs_left_behind(settings: Settings) -> Iterator[Finding]:
    """Whether jobs wait in the folder's file although a broker is set: nobody runs them."""
    from penstock.cli.services_jobs import left_behind, of_left_behind

    if number := asyncio.run(left_behind(settings)):
        yield Finding("jobs left", "warning", *of_left_behind(settings, number))


CHECKS: tuple[Check, ...] = (
    *(machine.home, machine.disk_space, machine.clock),
    *(remotes.redis, remotes.broker, remotes.results, remotes.workers, remotes.postgresql),
    remotes.mail,
    jobs_left_behind,
    *(parts.database, parts.cache_tiers, parts.policy, parts.model, parts.provider),
    machine.port,
)


def examine() -> Iterator[Finding]:
    """Run every check, in the order in which faults explain one another."""
    yield machine.python()
    try:
        loaded = load_settings()
    except PenstockError as error:
        yield Finding("settings", "failed", error.detail, "correct the variable, or unset it")
        return
    yield from settings_warnings(loaded)
    for check in CHECKS:
        yield from _guarded(check, loaded.settings)


def settings_warnings(loaded: LoadedSettings) -> Iterator[Finding]:
    """What the settings themselves say against them."""
    fix = "correct the environment or .env"
    faults = [Finding("settings", "warning", warning, fix) for warning in loaded.warnings]
    settings = loaded.settings
    try:
        check_exposure(settings)
    except Failure as failure:
        faults.append(Finding("settings", "failed", failure.message, failure.fix))
    else:
        if settings.auth == "off":
            detail = "authentication is off: every program on this machine is an administrator"
            faults.append(Finding("settings", "warning", detail, "set PENSTOCK_AUTH=on"))
    yield from faults or [Finding("settings", "ok", "no contradiction")]


def _guarded(check: Check, settings: Settings) -> Iterator[Finding]:
    """One check; what it raises is what it found."""
    name = check.__name__.replace("_", " ")
    try:
        yield from check(settings)
    except PenstockError as error:
        what, fix = split(error)
        yield Finding(name, "failed", what, fix)
    except Exception as error:
        yield Finding(name, "failed", f"the check failed: {type(error).__name__}: {error}")
