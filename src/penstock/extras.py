"""Turns a missing optional package into an error that names the extra to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from penstock.errors import MissingExtra


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Wrap the import of a backend module.

    `with extra("redis"): from penstock.cache import redis`

    Raises MissingExtra, which is also an ImportError, when a package of that extra is not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("penstock"):
            raise
        raise MissingExtra(
            f'the package {error.name!r} is not installed; run: pip install "penstock[{name}]"'
        ) from error
