from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import NamedTuple

import pytest

from penstock.cli.moderate import Tally

KIND = "Have a lovely day, everyone."
FOUL = "I will find you and kill you, you worthless idiot."


class Decided(NamedTuple):
    """As much of a verdict as an exit code depends on."""

    decision: str
    degraded: str | None = None


def test_a_text_is_judged_in_words(run):
    result = run("moderate", KIND)

    said = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert result.exit_code == 0
    assert said["decision"] == "approved"
    assert said["source"] == "local"
    assert said["id"].startswith("mod_")


def test_json_is_one_line_with_scores_and_receipt(run_json):
    verdict = run_json("moderate", FOUL)

    assert verdict["decision"] == "rejected"
    assert verdict["risk"] >= 0.8
    assert "harassment" in verdict["flagged"]
    assert verdict["scores"]["illicit"] is None
    assert verdict["recorded"] is True
    assert verdict["receipt"]["models"]["prescreen"]


def test_the_second_run_is_answered_from_disk(run_json):
    first = run_json("moderate", KIND)

    second = run_json("moderate", KIND)

    assert (first["receipt"]["source"], second["receipt"]["source"]) == ("local", "disk")
    assert first["id"] == second["id"]


def test_a_hyphen_reads_the_text_from_standard_input(run_json):
    assert run_json("moderate", "-", stdin=FOUL)["decision"] == "rejected"


def test_every_line_of_a_file_is_judged_in_order(run, tmp_path: Path):
    path = tmp_path / "texts.txt"
    path.write_text(f"{KIND}\n\n{FOUL}\r\n{KIND}", "utf-8")

    result = run("moderate", "--file", str(path), "--json")

    verdicts = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [verdict["line"] for verdict in verdicts] == [1, 3, 4]
    assert [v["decision"] for v in verdicts] == ["approved", "rejected", "approved"]


def test_lines_may_come_from_standard_input(run):
    result = run("moderate", "--file", "-", stdin=f"{KIND}\n{FOUL}\n")

    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["1", "approved"],
        ["2", "rejected"],
    ]
    assert result.stderr == ""  # no progress bar: nobody looks


def test_lines_that_cannot_be_judged_do_not_stop_the_others(run):
    lines = b"old\xff\n" + b"nul\0\n" + b"x" * (1 << 20) + b"yz\n" + KIND.encode()

    result = run("moderate", "--file", "-", "--json", stdin=lines)

    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [entry.get("error") for entry in found] == [
        "the line is not UTF-8 at byte 4",
        "the text contains U+0000 at character 3",
        "the line is longer than 1048576 bytes",
        None,
    ]
    assert [entry["line"] for entry in found] == [1, 2, 3, 4]


def test_fail_on_turns_a_decision_into_an_exit_code(run):
    assert run("moderate", FOUL, "--fail-on", "rejected").exit_code == 1


@pytest.mark.parametrize(
    ("decision", "least", "code"),
    [
        ("rejected", "rejected", 1),
        ("review", "rejected", 0),
        ("rejected", "review", 1),
        ("review", "review", 1),
        ("approved", "review", 0),
        ("rejected", None, 0),
    ],
)
def test_fail_on_means_this_decision_or_worse(decision, least, code):
    tally = Tally(least)

    tally.add(Decided(decision))

    assert tally.exit_code == code


def test_a_decision_weighs_more_than_an_outage():
    tally = Tally("rejected")
    tally.add(Decided("review", degraded="provider-timeout"))

    assert tally.exit_code == 3
    tally.add(Decided("rejected"))
    assert tally.exit_code == 1


@pytest.mark.parametrize("args", [[], ["a text", "--file", "-"]])
def test_text_and_file_exclude_one_another(run, args):
    result = run("moderate", *args)

    assert result.exit_code == 2
    assert "give a text, - for standard input, or --file FILE" in result.stderr


@pytest.mark.parametrize(("text", "said"), [("  ", "is empty"), ("a\0b", "U+0000")])
def test_a_text_that_cannot_be_judged_is_refused(run, text, said, home: Path):
    result = run("moderate", "-", stdin=text)

    assert result.exit_code == 2
    assert said in result.stderr
    assert not home.exists()


def test_standard_input_that_is_not_utf8_is_refused(run):
    result = run("moderate", "-", stdin=b"old\xff")

    assert result.exit_code == 2
    assert result.stderr == "error: standard input is not UTF-8 at byte 4\n"


def test_a_provider_that_is_not_there_is_exit_code_3_and_the_verdict_says_so(run, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody listens there once the block ends
    monkeypatch.setenv("PENSTOCK_PROVIDER", f"http://127.0.0.1:{port}/v1?api=moderations")
    monkeypatch.setenv("PENSTOCK_PROVIDER_RETRIES", "0")

    result = run("moderate", KIND, "--json")

    verdict = json.loads(result.stdout)
    assert result.exit_code == 3
    assert verdict["decision"] == "review"
    assert verdict["degraded"]["code"] == "provider-unavailable"
