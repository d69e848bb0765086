from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

import penstock
from penstock.cli import COMMANDS, root

HEAVY = {"fastapi", "starlette", "pydantic", "sqlalchemy", "numpy", "uvicorn", "rich", "msgspec"}
LOADED = """
import sys
from penstock.cli import root
root({args!r}, standalone_mode=False)
print(*sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.slow
def test_help_loads_click_and_nothing_heavy():
    program = LOADED.format(args=["--help"], heavy=HEAVY)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert "Serve the HTTP API." in done.stdout
    assert done.stderr.strip() == ""


@pytest.mark.slow
def test_the_help_of_every_command_loads_nothing_heavy():
    program = "".join(
        LOADED.format(args=[command.name, "--help"], heavy=HEAVY) for command in COMMANDS
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_name_leads_to_its_command(command):
    loaded = command.load()

    assert loaded.name == command.name
    assert loaded.help


def test_help_names_exit_codes_and_completion(run):
    said = " ".join(run("--help").stdout.split())

    assert "Exit codes: 0 all well" in said
    assert "_PENSTOCK_COMPLETE=bash_source" in said


def test_version_is_the_packages(run):
    assert run("--version").stdout == f"penstock {penstock.__version__}\n"


def test_an_unknown_command_is_a_usage_error(run):
    result = run("sreve")

    assert result.exit_code == 2
    assert "No such command 'sreve'" in result.stderr


def test_completion_offers_the_commands():
    environment = {
        "_PENSTOCK_COMPLETE": "bash_complete",
        "COMP_WORDS": "penstock mo",
        "COMP_CWORD": "1",
    }

    result = CliRunner().invoke(root, [], env=environment, prog_name="penstock")

    assert result.stdout == "plain,moderate\n"


@pytest.mark.slow
def test_python_m_penstock_is_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "--version"], capture_output=True, text=True
    )

    assert done.stdout == f"penstock {penstock.__version__}\n"
