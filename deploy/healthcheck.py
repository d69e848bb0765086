#!/usr/bin/env python3
"""Says for the image's HEALTHCHECK whether the role of process 1 does its work.

The role is read off the command of process 1; PROBE_PID names another process for that.
"""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

SECONDS = 4


def main() -> int:
    """0 for well, 1 for ill."""
    command = Path(f"/proc/{os.environ.get('PROBE_PID', '1')}/cmdline").read_bytes().split(b"\0")
    words = [word.decode("utf-8", "replace") for word in command if word]
    if "serve" in words:
        return answers(f"http://127.0.0.1:{os.environ.get('PENSTOCK_PORT') or 8000}/livez")
    if "flower" in words:
        return answers(f"http://127.0.0.1:{os.environ.get('FLOWER_PORT') or 5555}/healthcheck")
    if "celery" in " ".join(words) and "worker" in words:
        return pong()
    return 0  # beat and the embedded worker answer nobody; they end when they cannot go on


def answers(url: str) -> int:
    """Whether it answers with 2xx."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=SECONDS) as answer:
            return 0 if answer.status < 300 else 1
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


def pong() -> int:
    """Whether this host's worker answers Celery's ping; asking costs a second of a processor."""
    name = f"celery@{os.uname().nodename}"
    asked = ["celery", "-A", "penstock.celery_app", "inspect", "ping", "-d", name, "-t", "10"]
    return subprocess.run(asked, check=False, stdout=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
