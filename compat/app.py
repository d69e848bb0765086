"""`python app.py` starts the API on port 8000, as the source systems' instructions say."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("penstock") is None:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from penstock.cli import root

if __name__ == "__main__":  # worker processes import this file again
    root(["serve", *sys.argv[1:]], prog_name="penstock")
