from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock import Cache
from penstock.cache.batch import decorate_batch
from penstock.cache.decorator import decorate
from penstock.cache.shapes import CachedBatchOptions, CachedOptions

PAIRS = [
    (penstock.cached, decorate, CachedOptions),
    (penstock.cached_batch, decorate_batch, CachedBatchOptions),
    (Cache.cached, decorate, CachedOptions),
    (Cache.cached_batch, decorate_batch, CachedBatchOptions),
]


@pytest.mark.parametrize(("public", "inner", "typed"), PAIRS)
def test_help_and_type_checkers_show_every_option(
    public: Callable[..., Any], inner: Callable[..., Any], typed: type
) -> None:
    shown = dict(inspect.signature(public).parameters)
    shown.pop("self", None)
    known = dict(inspect.signature(inner).parameters)
    known.pop("source")

    assert shown == known
    assert list(known) == list(typed.__annotations__)


def test_the_function_under_a_bare_decorator_is_refused_with_what_to_write(cache: Cache) -> None:
    def double(text: str) -> str:
        return text

    for bare, name in ((penstock.cached, "cached"), (cache.cached_batch, "cached_batch")):
        with pytest.raises(TypeError, match=rf"write @{name}\(\.\.\.\), as in @{name}\(\w+="):
            bare(double)  # type: ignore[operator]


def test_an_unknown_option_is_answered_with_the_known_ones(cache: Cache) -> None:
    with pytest.raises(TypeError, match="cached has no option 'tll'; known: ttl, max_age, stale"):
        penstock.cached(tll="1h")  # type: ignore[call-arg]

    with pytest.raises(TypeError, match="no option 'on_error'; known: over, ttl"):
        cache.cached_batch(over="texts", on_error="stale")  # type: ignore[call-arg]


@pytest.mark.slow
def test_mypy_sees_options_arguments_and_results() -> None:
    root, file = Path(__file__).parents[2], Path(__file__).with_name("typed.py")
    # A place of its own: other options would empty the cache of `make lint`.
    options = ["--strict", "--follow-imports=silent", "--cache-dir=.mypy_cache/tests"]
    command = [sys.executable, "-m", "mypy", "--config-file=", *options, str(file)]

    run = subprocess.run(command, cwd=root, capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr
