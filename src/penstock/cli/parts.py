"""What `penstock doctor` asks of the parts: database, cache, policy, model, provider."""

from __future__ import annotations

import asyncio
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock.cli.finding import Finding
from penstock.cli.output import size
from penstock.clock import SystemClock
from penstock.errors import PenstockError
from penstock.settings import Settings

if TYPE_CHECKING:
    from penstock.services.moderation.holdings import Known
    from penstock.services.moderation.policy import Judge

LOCAL = "local://"
ASIDE = ".damaged"  # what the disk tier appends to the name of a file that it cannot read
_DISK_FIX = "make it writable for this user, or stop the server and remove it: rm {}"


def database(settings: Settings) -> Iterator[Finding]:
    """Whether records can be written, in the tables of this version, undamaged."""
    from penstock.db import migrate
    from penstock.db.faults import fault
    from penstock.db.location import is_postgres, locate

    if is_postgres(settings.database):
        return  # `remotes.postgresql` tells of it
    location = locate(settings.database, folder=settings.home)
    if not location.path.exists():
        yield Finding("database", "ok", f"{location.path} is made at the first start")
        return
    try:
        found = migrate.revision(location)
    except sqlite3.Error as error:
        raise fault(error, location.path) from error
    if found != migrate.HEAD:
        detail = f"{location.path} has revision {found}, this version writes {migrate.HEAD}"
        yield Finding("database", "warning", detail, "start the server once: it migrates")
        return
    yield asyncio.run(_database_health(location.url, settings.home))


async def _database_health(url: str, folder: Path) -> Finding:
    from penstock.db.engine import open_database

    opened = open_database(url, folder=folder)
    try:
        health = await opened.health(check=True)
    finally:
        await opened.aclose()
    if health["detail"]:
        what, _, fix = health["detail"].partition("; ")
        return Finding("database", "failed", what, fix)
    return Finding(
        "database",
        "ok",
        f"{health['path']}: writable, undamaged, {size(health['size_bytes'])}",
    )


def cache_tiers(settings: Settings) -> Iterator[Finding]:
    """Whether every tier works. A cache that does not costs speed, never an answer."""
    if not settings.enable_cache:
        yield Finding("cache", "warning", "the cache is turned off", "set ENABLE_CACHE=true")
        return
    for tier in settings.cache:
        match tier:
            case "memory":
                most = size(settings.cache_memory_bytes)
                yield Finding("cache.memory", "ok", f"at most {most} in each process")
            case "disk":
                yield _disk_tier(settings.home / "cache.db")
            case "redis":
                yield Finding("cache.redis", "ok", "on the Redis of REDIS_URL")
            case _:
                detail = f"no cache tier is called {tier!r}"
                yield Finding(f"cache.{tier}", "failed", detail, "set PENSTOCK_CACHE=memory,disk")


def _disk_tier(path: Path) -> Finding:
    """Look at the file as it is; the server would set a damaged one aside."""
    name = "cache.disk"
    aside = path.with_name(path.name + ASIDE)
    if not path.exists():
        return Finding(name, "ok", f"{path} is made at the first start")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as opened:
            opened.execute("BEGIN IMMEDIATE")
            opened.execute("ROLLBACK")
            damage = opened.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        damage = str(error)
    if damage != "ok":
        return Finding(name, "failed", f"{path} cannot be used: {damage}", _DISK_FIX.format(path))
    if aside.exists():
        detail = f"a damaged cache file was set aside as {aside}; the cache began empty"
        return Finding(name, "warning", detail, f"check the disk, then: rm {aside}")
    return Finding(name, "ok", f"{path}: {size(path.stat().st_size)}")


def policy(settings: Settings) -> Iterator[Finding]:
    """Which policy holds, whether it can be read, and whether anyone reads under it."""
    from penstock.services.moderation.holdings import Known
    from penstock.services.moderation.policy import Judge, cautions, load_policy

    base = Judge(load_policy(settings.policy))
    known, activated = Known({}, {}, base), 0
    if _has_tables(settings):
        known, activated = asyncio.run(_holdings(settings, base))
    judge = known.default
    told = f"{judge.version}, {'of the settings' if judge is base else f'revision {activated}'}"
    asks_provider = any(url != LOCAL for url in settings.provider)
    blind = cautions(judge.policy, asks_provider=asks_provider)
    if judge is base and activated:
        other = f"revision {activated} was written by another version and cannot be read"
        yield Finding("policy", "warning", f"{other}: {told} holds", "draft and activate it again")
    elif blind:
        what, _, fix = blind[0].rpartition("; ")
        yield Finding("policy", "warning", f"{told}: {what}", fix)
    else:
        own = f" (keys with a policy of their own: {len(known.by_key)})" if known.by_key else ""
        yield Finding("policy", "ok", told + own)


def _has_tables(settings: Settings) -> bool:
    """Whether policies can be read from a database; what is wrong with it is told of itself."""
    from penstock.db import migrate
    from penstock.db.location import is_postgres, locate

    if is_postgres(settings.database):
        from penstock.cli.remotes import has_tables

        return has_tables(settings.database)
    location = locate(settings.database, folder=settings.home)
    try:
        return location.path.exists() and migrate.revision(location) == migrate.HEAD
    except sqlite3.Error:
        return False


async def _holdings(settings: Settings, base: Judge) -> tuple[Known, int]:
    """What holds, and the active revision of the installation's policy (0: the settings')."""
    from penstock.db.engine import open_database
    from penstock.hub import LocalHub
    from penstock.services.moderation.holdings import Holdings
    from penstock.services.moderation.policy_store import PolicyStore

    opened = open_database(settings.database, folder=settings.home)
    try:
        store = PolicyStore(opened)
        active = {each.policy_id: each.revision for each, _ in await store.holding()}
        known = await Holdings(store, hub=LocalHub(), clock=SystemClock(), base=base).fetch()
    finally:
        await opened.aclose()
    return known, active.get(base.policy.id, 0)


def model(settings: Settings) -> Iterator[Finding]:
    """Whether the local model loads and reads."""
    from penstock.models.linear import LinearModel

    try:
        loaded = LinearModel.load()
    except PenstockError as error:
        fix = "install penstock again: the model ships with the package"
        yield Finding("model", "failed", error.detail, fix)
        return
    loaded.scores("Have a lovely day, everyone.")
    yield Finding("model", "ok", loaded.version)


def provider(settings: Settings) -> Iterator[Finding]:
    """Whether each provider answers; asks for its list of models, which costs nothing."""
    from penstock.providers.factory import open_provider
    from penstock.services.moderation.prompts import moderation_prompt

    urls = [url for url in settings.provider if url != LOCAL]
    if not urls:
        yield Finding("provider", "ok", "none is set: the local model judges alone")
        return
    secret = settings.provider_key
    key = secret.get_secret_value() if secret else ""
    # Refuses what the server would refuse: unknown schemes, a missing model, too few keys.
    open_provider(
        urls, key=key, model=settings.model, prompt=moderation_prompt(), clock=SystemClock()
    )
    keys = [part.strip() for part in key.split(",")]
    for index, url in enumerate(urls):
        own = keys[index] if len(keys) == len(urls) else keys[0]
        yield _reached(url, own, timeout=settings.provider_connect_timeout + 3.0)


def _reached(url: str, key: str, *, timeout: float) -> Finding:
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/models"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(place, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return Finding("provider", "ok", f"{parts.netloc} answers ({answer.status})")
    except urllib.error.HTTPError as error:
        error.close()
        return _answered(parts.netloc, error.code)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        detail = f"{parts.netloc} cannot be reached: {reason}"
        return Finding("provider", "failed", detail, "check PENSTOCK_PROVIDER and the network")


def _answered(host: str, status: int) -> Finding:
    if status in (401, 403):
        detail = f"{host} refuses the key ({status})"
        return Finding("provider", "failed", detail, "set PENSTOCK_PROVIDER_KEY")
    if status >= 500:
        detail = f"{host} reports a failure of its own ({status})"
        return Finding("provider", "failed", detail, "wait, or name a second one as fallback")
    return Finding("provider", "ok", f"{host} answers ({status} to a list of models)")
