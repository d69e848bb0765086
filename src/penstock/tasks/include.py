"""Finds users' tasks: the modules that PENSTOCK_INCLUDE and `--include` name are imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from penstock.errors import ConfigurationError
from penstock.tasks.task import Task


def find_tasks(modules: Iterable[str]) -> list[Task[..., Any]]:
    """The tasks at the top level of these modules, each once, in their order.

    Modules are looked for in the working directory too, as `python -m` does. Raises
    ConfigurationError that says why a module cannot be imported.
    """
    found: dict[int, Task[..., Any]] = {}
    for name in modules:
        for value in vars(_imported(name)).values():
            if isinstance(value, Task):
                found[id(value)] = value
    return list(found.values())


def _imported(name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"{name}, which PENSTOCK_INCLUDE or --include names, imports {error.name!r}, which "
                "is not installed"
            ) from error
        raise ConfigurationError(
            f"no module {name!r} was found for PENSTOCK_INCLUDE or --include: write it as in an "
            f"import, as in shop.tasks; looked in {here} and on PYTHONPATH"
        ) from error
    except Exception as error:
        raise ConfigurationError(
            f"{name}, which PENSTOCK_INCLUDE or --include names, fails when it is imported: "
            f"{type(error).__name__}: {error}"
        ) from error
