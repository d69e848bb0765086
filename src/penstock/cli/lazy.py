"""A group of commands that imports a command's module only when that command is used."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from penstock.cli.failure import reported


class Command(NamedTuple):
    """Where a command is, and the line that help shows without loading it."""

    name: str
    place: str  # module:attribute
    help: str

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.place.partition(":")
        loaded: click.Command = getattr(import_module(module), attribute)
        return loaded


class LazyGroup(click.Group):
    """The root group; whatever fails below it is reported in one line, with an exit code."""

    def __init__(self, *args: Any, commands_at: Sequence[Command], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places = {command.name: command for command in commands_at}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._places.get(cmd_name)
        return None if place is None else place.load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(place.name, place.help) for place in self._places.values()])

    def invoke(self, ctx: click.Context) -> Any:
        with reported(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)
