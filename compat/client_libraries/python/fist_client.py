"""FIST's old import path: `from client_libraries.python.fist_client import FistClient`.

With this folder's grandparent `compat` on PYTHONPATH the source system's snippet runs as it is.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("penstock_client") is None:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "clients" / "python" / "src"))

if missing := [name for name in ("penstock_client", "httpx2") if find_spec(name) is None]:
    raise ModuleNotFoundError(
        f"FIST's client needs {missing[0]}: run `pip install ./clients/python` in a checkout of "
        "Penstock",
        name=missing[0],
    )

from penstock_client import FistClient

__all__ = ["FistClient"]
