"""What the command line says when something fails: one line, what to do, an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from penstock.errors import (
    CacheUnavailable,
    ConfigurationError,
    InvalidInput,
    PenstockError,
    ProviderError,
    StorageError,
)

OK, FAILED, USAGE, UNREACHABLE = range(4)


class Failure(click.ClickException):
    """`error: ...` and `fix: ...` on standard error, then `exit_code`."""

    def __init__(self, message: str, *, fix: str = "", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.fix = fix
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the lines."""
        click.echo(f"error: {one_line(self.message)}", file=file, err=file is None)
        if self.fix:
            click.echo(f"fix: {one_line(self.fix)}", file=file, err=file is None)


@contextmanager
def reported(*, debug: bool = False) -> Iterator[None]:
    """Turn whatever is raised inside into a Failure; with `debug` let it through."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BrokenPipeError:
        raise  # the reader of our output left: click ends without a word
    except PenstockError as error:
        if debug:
            raise
        what, fix = split(error)
        raise Failure(what, fix=fix, exit_code=exit_code(error)) from error
    except Exception as error:
        if debug:
            raise
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise Failure(f"unexpected {told}", fix="repeat with: penstock --debug ...") from error


def exit_code(error: PenstockError) -> int:
    """The exit code that an error means."""
    match error:
        case StorageError() | ProviderError() | CacheUnavailable():
            return UNREACHABLE
        case ConfigurationError() | InvalidInput():
            return USAGE
        case _:
            return FAILED


def split(error: PenstockError) -> tuple[str, str]:
    """What happened and what to do.

    Storage errors say both in one sentence, with a semicolon between.
    """
    if isinstance(error, StorageError):
        what, _, fix = error.detail.partition("; ")
        return what, fix
    return error.detail, str(error.fields.get("fix", ""))


def one_line(text: str) -> str:
    """`text` without line breaks and without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
