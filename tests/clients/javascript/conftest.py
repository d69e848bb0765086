"""The built client, node, a browser, and one server that all tests of a module share."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ADMIN, Live, free_port, wait_until_ready

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "clients" / "javascript"
HERE = Path(__file__).parent
PATIENCE = 60.0

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def package() -> Path:
    """The folder of the client, built."""
    if not (PACKAGE / "dist" / "index.mjs").is_file():
        pytest.fail("the JavaScript client is not built; run: make clients")
    return PACKAGE


@pytest.fixture(scope="session")
def node(package: Path) -> Run:
    """`node("file.mjs", "argument")` runs a script of this folder, or of `cwd`."""
    program = found_program("node", needed="node 20 or later")

    def run(
        *arguments: str, cwd: Path = HERE, env: Mapping[str, str] | None = None, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    return run


class Site(ThreadingHTTPServer):
    """Serves this folder and, below /dist/, the client; keeps what a page posts to it."""

    def __init__(self, dist: Path) -> None:
        self.seen: queue.Queue[Any] = queue.Queue()
        super().__init__(("127.0.0.1", 0), partial(_Files, dist, directory=str(HERE)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Files(SimpleHTTPRequestHandler):
    extensions_map = {".html": "text/html", ".mjs": "text/javascript"}  # noqa: RUF012

    def __init__(self, dist: Path, *arguments: Any, **named: Any) -> None:
        self._dist = dist
        super().__init__(*arguments, **named)

    def translate_path(self, path: str) -> str:
        if path.startswith("/dist/"):
            return str(self._dist / Path(path).name)
        return super().translate_path(path)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.put(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def site(package: Path) -> Iterator[Site]:
    """A page's own server."""
    with Site(package / "dist") as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


@dataclass
class Browser:
    """Headless Chromium that opens a page of the site and returns what the page posts."""

    program: str
    profile: Path
    site: Site

    def open(self, page: str) -> Any:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        quiet = ["--disable-background-networking", "--disable-component-update"]
        process = subprocess.Popen(
            [
                *(self.program, *options, *quiet, f"--user-data-dir={self.profile}"),
                f"{self.site.url}/{page}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return self.site.seen.get(timeout=PATIENCE)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=PATIENCE)


@pytest.fixture
def browser(site: Site, tmp_path: Path) -> Browser:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = found_program(*names, needed="apt-get install --no-install-recommends chromium")
    return Browser(program, tmp_path / "profile", site)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Live]:
    """One server in a process of its own, which pages of the site may call."""
    folder, port = tmp_path_factory.mktemp("backend"), free_port()
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ours = {
        "PENSTOCK_HOME": str(folder / "home"),
        "PENSTOCK_ADMIN_KEY": ADMIN,
        "PENSTOCK_CORS_ORIGINS": site.url,
    }
    log = folder / "serve.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "serve", "--port", str(port)],
            env={**known, **ours},
            stdout=sink,
            stderr=sink,
            text=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process, log)
        yield Live(url, folder / "home", process, log.read_text())
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def found_program(*names: str, needed: str) -> str:
    """Where a program is; a test that needs one says so when it is not there."""
    for name in names:
        if program := shutil.which(name):
            return program
    pytest.fail(f"there is no {names[0]} on the PATH; needed: {needed}")
