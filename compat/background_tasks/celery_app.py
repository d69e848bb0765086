"""FIST's old path: `celery -A background_tasks.celery_app worker`, with `compat` on PYTHONPATH."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("penstock") is None:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from penstock.celery_app import app

celery_app = app
__all__ = ["app", "celery_app"]
