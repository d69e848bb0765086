"""The command line: one module per group of commands, loaded when it is used.

It acts on the data folder (PENSTOCK_HOME) and the URLs of the settings, not over HTTP. Exit codes:
0 all well, 1 something failed, 2 the call or a setting is wrong, 3 something it depends on
(database, provider, port) cannot be reached. `penstock --help` imports click and nothing else.
"""

from __future__ import annotations

import os

import click

import penstock
from penstock.cli.lazy import Command, LazyGroup

__all__ = ["COMMANDS", "main", "root"]

COMMANDS = (
    Command("serve", "penstock.cli.serve:serve", "Serve the HTTP API."),
    Command("worker", "penstock.cli.worker:worker", "Run jobs in a process of their own."),
    Command("services", "penstock.cli.services:services", "Start, see and end all processes."),
    Command("moderate", "penstock.cli.moderate:moderate", "Judge a text, or a file of lines."),
    Command("batch", "penstock.cli.batch:batch", "Answer a file of requests; resumes."),
    Command(
        "perspective", "penstock.cli.perspective:perspective", "Score and calibrate as Perspective."
    ),
    Command("cases", "penstock.cli.cases:cases", "Decide what the machine leaves to people."),
    Command("policy", "penstock.cli.policy:policy", "Draft, rehearse and activate policies."),
    Command("lists", "penstock.cli.lists:lists", "Keep lists of what to block and allow."),
    Command("token", "penstock.cli.token:token", "Make, list and revoke API keys."),
    Command("cache", "penstock.cli.cache:cache", "Look into the cache, clear it, warm it."),
    Command("tasks", "penstock.cli.tasks:tasks", "See jobs and queues; cancel and retry jobs."),
    Command("db", "penstock.cli.db:db", "Look at the database; move it to PostgreSQL."),
    Command("config", "penstock.cli.config:config", "Show the settings and where they come from."),
    Command("doctor", "penstock.cli.doctor:doctor", "Check this installation; name what to do."),
)

EPILOG = """
Exit codes: 0 all well, 1 something failed, 2 the call or a setting is wrong, 3 something it
depends on (database, provider, port) cannot be reached.

Completion in bash, for this shell: eval "$(_PENSTOCK_COMPLETE=bash_source penstock)"; with
zsh_source for zsh; in fish: _PENSTOCK_COMPLETE=fish_source penstock | source
"""


@click.group(cls=LazyGroup, commands_at=COMMANDS, epilog=EPILOG)
@click.version_option(penstock.__version__, prog_name="penstock", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks and every log line.")
def root(debug: bool) -> None:
    """Stand between an application and its AI: cached, measured, honest answers."""
    if debug:
        from penstock.observe import logging

        os.environ["PENSTOCK_LOG_LEVEL"] = "debug"  # for the server and its processes too
        logging.configure("debug", format="auto")


def main() -> None:
    """Run the command line."""
    os.umask(0o077)  # what is made in the data folder is its owner's alone
    root(prog_name="penstock")
