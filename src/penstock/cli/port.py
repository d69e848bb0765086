"""Whether the server's port is free, and who has it if not."""

from __future__ import annotations

import errno
import os
import socket

from penstock.cli.failure import UNREACHABLE, Failure

PROBE_SECONDS = 1.0


def claim(host: str, port: int) -> int:
    """The port, if the server may listen on it now; for 0 a free one. Raises Failure with why."""
    try:
        return _bind(host, port)
    except socket.gaierror as error:
        raise Failure(
            f"no address is known for the host {host!r}: {error.strerror}",
            fix="listen on 127.0.0.1 (this machine) or 0.0.0.0 (all networks)",
            exit_code=UNREACHABLE,
        ) from error
    except OSError as error:
        what, fix = _explain(error, host, port)
        raise Failure(what, fix=fix, exit_code=UNREACHABLE) from error


def speaks_penstock(host: str, port: int) -> bool:
    """Whether a Penstock server answers there."""
    import json
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(_reachable(host), port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/livez")
        answer = json.loads(connection.getresponse().read(4096))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return bool(answer == {"status": "alive"})


def _bind(host: str, port: int) -> int:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the server does: connections that just ended are not in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)
        return int(probe.getsockname()[1])


def _explain(error: OSError, host: str, port: int) -> tuple[str, str]:
    if error.errno == errno.EADDRINUSE:
        return _taken(host, port)
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"port {port} may not be used by this user: {os.strerror(error.errno)}",
            "take a port from 1024 on: penstock serve --port 8000",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"{host} is not an address of this machine",
            "listen on 127.0.0.1 (this machine) or 0.0.0.0 (all networks)",
        )
    return f"the server cannot listen on {host}:{port}: {error}", ""


def _taken(host: str, port: int) -> tuple[str, str]:
    try:
        other = f"take another port: penstock serve --port {_bind(host, _next(host, port))}"
    except OSError:
        other = "take another port with --port"
    if speaks_penstock(host, port):
        return f"Penstock already serves port {port} of {host}", f"use that server, or {other}"
    return f"port {port} of {host} is in use by another program", f"stop that program, or {other}"


def _next(host: str, port: int) -> int:
    """A free port near by; 0 (any) when the next twenty are taken."""
    for candidate in range(port + 1, min(port + 21, 65536)):
        try:
            return _bind(host, candidate)
        except OSError:
            continue
    return 0


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
