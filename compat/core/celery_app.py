"""Pixel's old path: `celery -A core.celery_app worker`, with `compat` on PYTHONPATH.

Pixel's environment names a Redis (REDIS_HOST, REDIS_PORT) and no broker: here, that is enough.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("penstock") is None:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from penstock.celery_app import pixel

app = celery_app = pixel()
__all__ = ["app", "celery_app"]
