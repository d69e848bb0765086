"""The Lua scripts, each of which is one atomic step, and the words in which they are called."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Final, Literal, NamedTuple

Group = Literal["intake", "attempts", "changes", "rounds"]
Word = str | bytes | int | float

RECORD: Final = (
    *("task", "queue", "priority", "state", "attempt", "max", "run_at", "created", "started"),
    *("finished", "worker", "cancelling", "key", "owner", "batch", "request", "trace"),
    *("progress", "errors", "ticket", "parked"),
)
"""The fields of a job's hash that its record is made of, as in `prelude.lua`."""


class Script(NamedTuple):
    """A script as Redis is handed it, and the name it then has there."""

    source: bytes
    sha: str


@cache  # read once in a process, when the first is called
def script(group: Group) -> Script:
    """The script that has the commands of a group."""
    folder = files("penstock.tasks.celery") / "lua"
    source = b"\n".join(folder.joinpath(f"{name}.lua").read_bytes() for name in ("prelude", group))
    return Script(source, sha1(source, usedforsecurity=False).hexdigest())
