"""FIST's old import path: `from client_libraries.python.fist_client import FistClient`.

With this folder's grandparent `compat` on PYTHONPATH the source system's snippet runs as it is.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("penstock_client") is None:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "clients" / "python" / "src"))

from penstock_client import FistClient

__all__ = ["FistClient"]
