"""PostgreSQL stopped, crashed, frozen and started again under load, several times."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.rigs.servers import PostgresServer
from penstock.db import connecting, open_database
from tests.db.load import TABLE, Load, halves_and_lost

pytestmark = [pytest.mark.drill, pytest.mark.slow]

ROUNDS = 5


def crash(server: PostgresServer) -> None:
    """End all its processes at once, without a word to anybody and nothing tidied up."""
    assert server.process is not None
    server.process.send_signal(signal.SIGQUIT)
    server.process.wait(timeout=60)


def freeze(server: PostgresServer) -> None:
    """Let all its processes answer nothing, with their connections open."""
    server.freeze()
    for pid in children(server):
        os.kill(pid, signal.SIGSTOP)


def thaw(server: PostgresServer) -> None:
    for pid in children(server):
        os.kill(pid, signal.SIGCONT)
    server.thaw()


def children(server: PostgresServer) -> list[int]:
    assert server.process is not None
    tasks = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(pid) for pid in tasks.read_text().split()]


WAYS: dict[str, tuple[Callable[[PostgresServer], None], Callable[[PostgresServer], None]]] = {
    "stopped": (PostgresServer.stop, PostgresServer.start),
    "crashed": (crash, PostgresServer.start),
    "frozen": (freeze, thaw),
}


@pytest.mark.parametrize("way", WAYS)
async def test_postgresql_goes_and_comes_under_load(
    own_postgres: Callable[..., PostgresServer],
    tmp_path: Path,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go, come = WAYS[way]
    if way == "frozen":  # nothing is refused before an answer is overdue
        monkeypatch.setattr(connecting, "ANSWER_PATIENCE", 1.0)
        monkeypatch.setattr(connecting, "CONNECT_PATIENCE", 1.0)
    server = own_postgres()  # it keeps what it acknowledges, through a crash too
    database = open_database(server.database(), folder=tmp_path)
    await database.write(TABLE)

    async with Load(database, writers=20, readers=20) as load:
        for _ in range(ROUNDS):
            await load.until_more(500)
            await asyncio.to_thread(go, server)
            await load.until_refused(50)
            await asyncio.to_thread(come, server)
        await load.until_more(500)

    halves, lost = await halves_and_lost(database, load)
    health = await database.health()
    print(  # noqa: T201 - the counts of the drill
        f"PostgreSQL {way} {ROUNDS} times: {len(load.acknowledged)} pairs acknowledged, "
        f"{load.refused} writes and {load.reads_refused} reads refused, {len(halves)} halves, "
        f"{len(lost)} lost"
    )
    assert (halves, lost, load.wrong) == ([], set(), [])
    assert health["writable"]
    assert health["pool"]["used"] == 0
    await database.aclose()
