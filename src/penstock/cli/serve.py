"""`penstock serve`: everything that can be wrong is said before the server starts."""

from __future__ import annotations

import asyncio
import math
import os
import shlex
import signal
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.failure import USAGE, Failure

if TYPE_CHECKING:
    import uvicorn

    from penstock.settings import Settings

GRACE = 10  # seconds that requests may still take after the signal to stop, at least
EXAMPLE = '{"input": "Have a lovely day, everyone."}'


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0: any.  [default: 8000]")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes.  [default: 1]")
@click.option("--reload", is_flag=True, help="Start again when the source code changes.")
@click.option(
    "--drain",
    type=click.FloatRange(0, 300),
    default=0.0,
    metavar="SECONDS",
    help="Serve for so long after SIGTERM, called not ready by /readyz; one process.  [default: 0]",
)
@click.option(
    "--home", type=click.Path(path_type=Path), help="Data folder.  [default: ./.penstock]"
)
def serve(
    host: str | None,
    port: int | None,
    workers: int | None,
    reload: bool,
    drain: float,
    home: Path | None,
) -> None:
    """Serve the HTTP API until SIGINT or SIGTERM.

    The first start makes an admin key and prints it, once, with a line to try it. Options win over
    PENSTOCK_HOST, PENSTOCK_PORT, PENSTOCK_WORKERS and PENSTOCK_HOME.
    """
    from penstock.cli import opening
    from penstock.cli import port as ports

    # In the environment, because worker processes read their settings from there.
    for name, value in (("HOST", host), ("PORT", port), ("WORKERS", workers), ("HOME", home)):
        if value is not None:
            os.environ[f"PENSTOCK_{name}"] = str(value)
    settings = opening.settings()
    check_exposure(settings)
    if reload and settings.workers > 1:
        raise click.UsageError("--reload works with one process: add --workers 1")
    if drain and (reload or settings.workers > 1):
        raise click.UsageError("--drain works with one process: add --workers 1, leave --reload")
    chosen = ports.claim(settings.host, settings.port)
    os.environ["PENSTOCK_PORT"] = str(chosen)
    token = asyncio.run(prepare(settings))
    # uvicorn ends its work and then raises the signal again; that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    click.echo(greeting(base_url(settings.host, chosen), token, called(settings.home)))
    run(settings, port=chosen, reload=reload, drain=drain)


def check_exposure(settings: Settings) -> None:
    """Refuse to serve without keys where others can connect. Raises Failure."""
    from penstock.server.auth import is_loopback

    if settings.auth == "off" and not is_loopback(settings.host):
        raise Failure(
            f"without authentication only this machine is served, and {settings.host} is open to "
            "others",
            fix="set PENSTOCK_AUTH=on, or listen on 127.0.0.1",
            exit_code=USAGE,
        )


async def prepare(settings: Settings) -> str | None:
    """Open everything once, so that what is wrong is said here and not in a worker's log.

    Brings folder and tables up to date. Returns the admin key, if this call made the first one.
    """
    from penstock.runtime import open_runtime
    from penstock.server.keys import KeyRing

    async with open_runtime(settings, workers=0) as runtime:
        if settings.auth == "off":
            return None
        token = settings.admin_token
        ring = KeyRing(runtime.database, runtime.hub, runtime.clock, admin_key=token)
        return await ring.ensure_admin()


def base_url(host: str, port: int) -> str:
    """Where the server is reached from this machine."""
    try:
        address = ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def called(home: Path) -> str:
    """How this program is called from here, on the same data folder from anywhere."""
    program = sys.argv[0] if "/" in sys.argv[0] else "penstock"
    if program.endswith("__main__.py"):
        program = f"{sys.executable} -m penstock"
    return f"PENSTOCK_HOME={shlex.quote(str(home.absolute()))} {program}"


def greeting(url: str, token: str | None, command: str = "penstock") -> str:
    """What is printed at the start; with a key, how to use it."""
    import penstock

    line = f"Penstock {penstock.__version__} on {url}, described at {url}/docs"
    if token is None:
        return line
    curl = [
        *("curl", "-sS", f"{url}/v1/moderations"),
        *("-H", f"Authorization: Bearer {token}"),
        *("-H", "Content-Type: application/json"),
        *("-d", EXAMPLE),
    ]
    return (
        f"{line}\n\nAdmin key, shown this once: {token}\n\nTry it:\n  {shlex.join(curl)}\n\n"
        f"Make keys for others with: {command} token create --name NAME --role operator\n"
    )


def run(settings: Settings, *, port: int, reload: bool, drain: float = 0.0) -> None:
    """Hand over to uvicorn; returns after a signal, when all requests were answered."""
    import uvicorn

    options: dict[str, Any] = {
        "factory": True,
        "host": settings.host,
        "port": port,
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "lifespan": "on",
        "http": "penstock.server.protocol:BoundedHttp",
        "ws": "none",  # there are none, and uvicorn logs their handshakes with all headers
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": ",".join(settings.trusted_proxies),
        "timeout_graceful_shutdown": patience(settings),
    }
    app = "penstock.server.app:create_app"
    if drain:
        _run_draining(uvicorn.Config(app, **options), drain)
        return
    folders = [str(Path(__file__).parents[1])] if reload else None
    uvicorn.run(app, workers=settings.workers, reload=reload, reload_dirs=folders, **options)


def patience(settings: Settings) -> int:
    """Seconds that requests have after the signal: what waits for a provider is answered too."""
    return max(GRACE, math.ceil(settings.provider_timeout) + 5)


def _run_draining(config: uvicorn.Config, drain: float) -> None:
    from penstock.cli.draining import DrainingServer

    config.load_app()
    server = DrainingServer(config, drain=drain)
    server.run()
    if not server.started:
        sys.exit(3)  # as uvicorn.run does; the log says why
