"""Turns what PostgreSQL and the way to it report into errors that say where and what to do.

An address is always shown without its password.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from asyncpg import exceptions as pg

from penstock.db.postgres_tls import SPELLING
from penstock.errors import Conflict, StorageFull, StorageUnavailable
from penstock.net.tls import explain

OLDEST: Final = (13, 0)

_ENDED = (
    pg.PostgresConnectionError,  # class 08
    pg.AdminShutdownError,
    pg.CrashShutdownError,
    pg.CannotConnectNowError,
    pg.DatabaseDroppedError,
    pg.IdleSessionTimeoutError,
    pg.IdleInTransactionSessionTimeoutError,
)
_CONTENDED = (pg.SerializationError, pg.DeadlockDetectedError)


class Unbegun(ConnectionError):
    """The connection ended before a transaction began on it."""


class Unmet(TimeoutError):
    """Nobody answered as PostgreSQL does while a connection was to be made."""


def lost(error: BaseException) -> bool:
    """Whether the connection ended, so that another one may do."""
    return unsent(error) or isinstance(error, (*_ENDED, ConnectionError, EOFError))


def unsent(error: BaseException) -> bool:
    """Whether the connection had ended before anything of this statement was sent."""
    if isinstance(error, pg.InternalClientError):
        return "cannot switch to state" in str(error)  # its last words are there, unread
    if isinstance(error, pg.InterfaceError):
        return "connection is closed" in str(error)  # any other is a call that cannot be right
    return isinstance(error, Unbegun)


def unanswered(error: BaseException) -> bool:
    """Whether nobody said anything, for as long as was waited."""
    return isinstance(error, TimeoutError) or (
        isinstance(error, OSError) and error.errno == errno.EHOSTUNREACH
    )


def contended(error: BaseException) -> bool:
    """Whether the transaction was in the way of another one, and may be tried again."""
    return isinstance(error, (*_CONTENDED, pg.InvalidCachedStatementError))


def fault(error: BaseException, where: str) -> Exception:
    """What a caller is told about `error`: a StorageError or Conflict where that is what it means.

    Anything else (a wrong statement, an unknown table) is a bug and is returned as it is.
    """
    told: Conflict | StorageFull | StorageUnavailable
    if secure := explain(error, SPELLING):
        told = StorageUnavailable(f"{where} {secure}")
    elif isinstance(error, pg.IntegrityConstraintViolationError):
        # Without PostgreSQL's own detail, which quotes the values.
        told = Conflict(f"the record does not fit the stored ones: {error.args[0]}")
    elif isinstance(error, pg.DiskFullError):
        told = StorageFull(
            f"no space is left on the volume of {where}; free space there, "
            "records are accepted again without a restart"
        )
    elif detail := _detail(error):
        told = StorageUnavailable(detail.format(where=where))
    else:
        return error if isinstance(error, Exception) else RuntimeError(repr(error))
    told.__cause__ = error
    return told


def too_old(version: str, where: str) -> StorageUnavailable:
    """The server at `where` is of a version that this project does not write to."""
    return StorageUnavailable(
        f"{where} is PostgreSQL {version}; {OLDEST[0]} or later is needed: upgrade the server"
    )


def standby(where: str) -> StorageUnavailable:
    """The server at `where` only follows another one."""
    return StorageUnavailable(_READ_ONLY.format(where=where))


def silent(where: str) -> StorageUnavailable:
    """The server at `where` has not answered for a while, to nobody."""
    return StorageUnavailable(_GONE.format(where=where))


def crowded(where: str) -> StorageUnavailable:
    """The server at `where` has as many connections as it may, and ours are in use."""
    return StorageUnavailable(_CROWDED.format(where=where))


_GONE = (
    "{where} does not answer; check that PostgreSQL runs and can be reached, "
    "it is used again without a restart"
)
_SILENT = (
    "{where} did not answer in time; look for load or locks there (pg_stat_activity), then repeat"
)
_UNMET = (
    "{where} did not answer when it was connected to; see whether PostgreSQL listens at this host "
    "and port, and correct DATABASE_URL if something else does; else it is overloaded or cut off"
)
_UNKNOWN_HOST = (
    "{where} cannot be looked up; correct its host in DATABASE_URL, or see to this machine's DNS"
)
_PASSWORD = "{where} refuses this user or password; correct them in DATABASE_URL"
_UNKNOWN_DATABASE = (
    "{where} has no database of that name; make it with createdb, or correct DATABASE_URL"
)
_CROWDED = (
    "{where} takes no more connections; raise max_connections there, or run fewer processes "
    "(each uses up to 30)"
)
_DENIED = (
    "{where} lets this user not do that; make it the owner of the database, "
    "or GRANT it what the statement needs"
)
_READ_ONLY = "{where} is a read-only standby; point DATABASE_URL at the primary"
_MEMORY = "{where} is out of memory; lower its settings (work_mem, shared_buffers) or add memory"
_UNREADABLE = "the volume of {where} reports an input/output error; check the disk, then repeat"
_BUSY = "{where} could not write this beside what others write at the same time; repeat"
_PLAIN = (
    "{where} speaks no TLS, which sslmode in DATABASE_URL asks for; set ssl = on there, or "
    "sslmode=disable where nobody can listen on the way"
)
_SECURE = (
    "{where} takes nobody without TLS from here; "
    "put ?sslmode=verify-full&sslrootcert=/path/ca.pem into DATABASE_URL"
)
_SHOW = (
    "{where} asks for a certificate of the client; "
    "put sslcert=/path/client.pem&sslkey=/path/client.key into DATABASE_URL"
)
_POOLER = (
    "{where} is a PgBouncer that refuses what every connection asks for; set there "
    "ignore_startup_parameters = jit,idle_in_transaction_session_timeout"
)
_FORGETFUL = (
    "{where} forgets prepared statements, as a PgBouncer in transaction mode does; "
    "set max_prepared_statements there (1.21 or later), or name PostgreSQL itself in DATABASE_URL"
)
_OPTION = "{where} does not know an option that DATABASE_URL has behind the ?; correct it"
_UNLISTED = (
    "{where} takes this user not from here; add a line for it to pg_hba.conf there, "
    "or correct the user in DATABASE_URL"
)

_BY_CLASS: Final = (
    (pg.InvalidAuthorizationSpecificationError, _PASSWORD),
    (pg.InvalidCatalogNameError, _UNKNOWN_DATABASE),
    (pg.TooManyConnectionsError, _CROWDED),
    (pg.InsufficientPrivilegeError, _DENIED),
    (pg.ReadOnlySQLTransactionError, _READ_ONLY),
    (pg.OutOfMemoryError, _MEMORY),
    (pg.PostgresIOError, _UNREADABLE),
    (Unmet, _UNMET),
    (socket.gaierror, _UNKNOWN_HOST),
    ((pg.QueryCanceledError, pg.LockNotAvailableError, TimeoutError), _SILENT),
    (_CONTENDED, _BUSY),
    (_ENDED, _GONE),
)


_BY_TEXT: Final = (
    (pg.InvalidAuthorizationSpecificationError, "no encryption", _SECURE),
    (pg.InvalidAuthorizationSpecificationError, "valid client certificate", _SHOW),
    (pg.InvalidAuthorizationSpecificationError, "pg_hba.conf", _UNLISTED),
    (ConnectionError, "rejected SSL upgrade", _PLAIN),
    (pg.UndefinedObjectError, "configuration parameter", _OPTION),
    (pg.PostgresConnectionError, "unsupported startup parameter", _POOLER),
    (pg.InvalidSQLStatementNameError, "prepared statement", _FORGETFUL),
)


def _detail(error: BaseException) -> str | None:
    for said, text, detail in _BY_TEXT:
        if isinstance(error, said) and text in str(error):
            return detail
    for kind, detail in _BY_CLASS:
        if isinstance(error, kind):
            return detail
    return _GONE if isinstance(error, OSError) or lost(error) else None
