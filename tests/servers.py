"""Fixtures of real servers, started when a test first asks for one, ended with the session.

`redis` and `postgres` are shared by the tests of one process and empty for each; `own_redis` and
`own_postgres` are for tests that stop, kill or freeze them, or want them otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from benchmarks.rigs.certificates import Authority
from benchmarks.rigs.servers import PostgresServer, RedisServer


@dataclass(frozen=True)
class PostgresDatabase:
    """An empty database and the server it is in."""

    url: str
    server: PostgresServer


@pytest.fixture(scope="session")
def redis_of_session() -> Iterator[RedisServer]:
    """One redis-server for all tests of this process."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(redis_of_session: RedisServer) -> RedisServer:
    """An empty redis-server. Not to be stopped: `own_redis` is for that."""
    redis_of_session.empty()
    return redis_of_session


@pytest.fixture
def own_redis() -> Iterator[Callable[..., RedisServer]]:
    """Starts a redis-server of the test's own; `own_redis("--maxmemory", "2mb", password="x")`."""
    with ExitStack() as servers:
        yield lambda *options, **more: servers.enter_context(RedisServer(*options, **more))


@pytest.fixture(scope="session")
def postgres_of_session() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests of this process; it may forget at a power cut."""
    with PostgresServer("fsync=off", "synchronous_commit=off", "full_page_writes=off") as server:
        yield server


@pytest.fixture
def postgres(postgres_of_session: PostgresServer) -> Iterator[PostgresDatabase]:
    """An empty database on a server that is not to be stopped."""
    url = postgres_of_session.database()
    yield PostgresDatabase(url, postgres_of_session)
    postgres_of_session.drop(url)


@pytest.fixture
def own_postgres() -> Iterator[Callable[..., PostgresServer]]:
    """Starts a PostgreSQL of the test's own; options as `fsync=off`."""
    with ExitStack() as servers:
        yield lambda *options, **more: servers.enter_context(PostgresServer(*options, **more))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs certificates here: `own_redis(tls=Tls.of(authority))`."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another one, whom nobody knows."""
    return Authority(tmp_path_factory.mktemp("stranger"))
