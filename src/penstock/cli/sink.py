"""Where a command's results go: a file that appears when it is whole, or a pipe or device.

Whether it can be written is known before the work begins.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import click


class Sink:
    """Takes the results. `is_stdout`: nothing else may be printed there."""

    def __init__(self, out: Path, through: IO[bytes] | None, *, is_stdout: bool) -> None:
        self.is_stdout = is_stdout
        self._out = out
        self._through = through

    async def write(self, results: AsyncIterator[bytes]) -> None:
        """Write everything; a file is put in its place in one step."""
        if self._through is not None:
            await _copy(results, self._through)
            return
        aside = _aside(self._out)
        try:
            with aside.open("xb") as file:
                await _copy(results, file)
                os.fsync(file.fileno())
            if self._out.exists():
                aside.chmod(stat.S_IMODE(self._out.stat().st_mode))
            aside.replace(self._out)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def opened(out: Path, *, source: IO[bytes]) -> Iterator[Sink]:
    """The place for results that are made of `source`.

    A FIFO is opened as a shell would: when somebody reads it. Raises click.UsageError.
    """
    there = _stat(out)
    if there is not None and _is_same(there, 1):
        yield Sink(out, sys.stdout.buffer, is_stdout=True)
    elif there is not None and not stat.S_ISREG(there.st_mode):
        with _openable(out):
            through = out.open("wb")
        with through:
            yield Sink(out, through, is_stdout=False)
    else:
        if there is not None and _is_same(there, _number(source)):
            raise click.UsageError(f"{out} holds the requests; the results need another place")
        with _openable(out):
            target = _tried(out)
        yield Sink(target, None, is_stdout=False)


@contextmanager
def _openable(out: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # a RuntimeError: links in a circle
        told = getattr(error, "strerror", None) or str(error)
        raise click.UsageError(f"cannot write to {out}: {told}") from error


def _tried(out: Path) -> Path:
    """The file behind links, in whose folder one can be made and which may be replaced."""
    target = out.resolve()
    if not target.parent.is_dir():
        raise click.UsageError(f"there is no folder {target.parent} for the results")
    if target.exists() and not os.access(target, os.W_OK):
        raise click.UsageError(f"cannot write to {out}: it is read-only")
    aside = _aside(target)
    aside.open("xb").close()
    aside.unlink()
    return target


def _aside(target: Path) -> Path:
    """A name in the same folder that nobody else uses."""
    return target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}")


async def _copy(results: AsyncIterator[bytes], sink: IO[bytes]) -> None:
    async for part in results:
        await asyncio.to_thread(sink.write, part)
    sink.flush()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _number(source: IO[bytes]) -> int | None:
    with suppress(OSError, AttributeError):  # a test's standard input has none
        return source.fileno()
    return None


def _is_same(there: os.stat_result, descriptor: int | None) -> bool:
    if descriptor is None:
        return False
    with suppress(OSError):
        return os.path.samestat(there, os.fstat(descriptor))
    return False
