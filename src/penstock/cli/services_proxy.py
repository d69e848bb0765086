"""The nginx in front of the servers that `penstock services` starts: its configuration.

Everything it writes is in the data folder, it needs no rights and no path of the system.

A server that is to be restarted is taken out by a file: while `drained/N` is there, no request goes
to server N. nginx looks for it at each request (one stat per server, about a microsecond), so
nothing is reloaded: a reload closes idle connections under clients that are about to use them.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from penstock.cli.failure import UNREACHABLE, Failure
from penstock.settings import Settings

PROGRAM: Final = "nginx"
POOL: Final = "penstock"
_PLACES: Final = (*(f"{top}/sbin" for top in ("/usr/local", "/usr", "")), "/opt/homebrew/bin")
_TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
# uvicorn closes connections that were idle for 5 s: nginx must be the first to leave.
_IDLE_SECONDS: Final = 4


def program() -> str:
    """Where nginx is. Raises Failure."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_PLACES])
    found = shutil.which(PROGRAM, path=path)
    if found is None:
        raise Failure(
            "nginx is not installed, and --proxy needs it",
            fix="install it (Debian: apt-get install --no-install-recommends nginx-light), or "
            "leave --proxy and put your own proxy in front",
            exit_code=UNREACHABLE,
        )
    return found


def command(config: Path) -> tuple[str, ...]:
    """How it is started; errors go to where it writes."""
    return (program(), "-e", "stderr", "-p", str(config.parent), "-c", str(config))


def drained(folder: Path, number: int) -> Path:
    """The file that keeps requests from server `number`, from 1."""
    return folder / "drained" / str(number)


def configuration(
    settings: Settings, *, folder: Path, port: int, ports: Sequence[int], host: str
) -> str:
    """The file: one server on `port` that shares requests out over those on `ports`."""
    pools = [_pool(POOL, ports)]
    choice = [f"        set $pool {POOL};"]
    if len(ports) > 1:
        for number in range(1, len(ports) + 1):
            others = [other for index, other in enumerate(ports, 1) if index != number]
            pools.append(_pool(f"{POOL}_without_{number}", others))
            choice.append(
                f"        if (-f {_quoted(drained(folder, number))}) "
                f"{{ set $pool {POOL}_without_{number}; }}"
            )
    places = "\n".join(
        f"    {name}_temp_path {_quoted(folder / 'tmp' / name)};" for name in _TEMPORARY
    )
    return _TEMPLATE.format(
        user=_user(),
        pid=_quoted(folder / "nginx.pid"),
        places=places,
        pools="\n".join(pools),
        choice="\n".join(choice),
        listen=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        most_bytes=max(settings.max_file_bytes, settings.max_image_bytes * 2) + (1 << 20),
        seconds=int(settings.batch_timeout) + 30,
    )


def _pool(name: str, ports: Sequence[int]) -> str:
    servers = "\n".join(
        f"        server 127.0.0.1:{port} max_fails=3 fail_timeout=5s;" for port in ports
    )
    return (
        f"    upstream {name} {{\n{servers}\n        keepalive 64;\n"
        f"        keepalive_timeout {_IDLE_SECONDS}s;\n    }}"
    )


def _user() -> str:
    """Root's nginx would give up its rights, and could not look into the data folder then."""
    return f"user {pwd.getpwuid(0).pw_name};\n" if os.geteuid() == 0 else ""


def _quoted(path: Path) -> str:
    text = str(path)
    if any(letter in text for letter in "\"'\\\n;{}$"):
        raise Failure(
            f"nginx cannot be told the path {text!r}", fix="choose a plainer PENSTOCK_HOME"
        )
    return f'"{text}"'


_TEMPLATE: Final = """\
# Written by `penstock services`; changes are lost at its next start.
{user}daemon off;
worker_processes auto;
worker_shutdown_timeout 60s;
pid {pid};
error_log stderr warn;

events {{
    worker_connections 4096;
}}

http {{
    access_log off;
    server_tokens off;
    tcp_nodelay on;
    keepalive_timeout 75s;
    keepalive_requests 100000;
{places}

    # An id that came with the request is passed on: the server says whether it is one.
    map $http_x_request_id $passed_request_id {{
        "" $request_id;
        default $http_x_request_id;
    }}

{pools}

    server {{
        listen {listen};
        client_max_body_size {most_bytes};
        client_body_timeout 60s;

{choice}

        location / {{
            proxy_pass http://$pool;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            # Who calls, and nothing that the caller has written there.
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-ID $passed_request_id;
            # Event streams say X-Accel-Buffering: no themselves.
            proxy_connect_timeout 2s;
            proxy_send_timeout 60s;
            proxy_read_timeout {seconds}s;
            # Another server is asked where nothing was sent yet; once it was, only for what may be
            # done twice: a POST is never sent to two servers.
            proxy_next_upstream error timeout;
            proxy_next_upstream_tries 3;
            proxy_next_upstream_timeout 10s;
        }}
    }}
}}
"""
