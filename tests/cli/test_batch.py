"""`penstock batch`: a file in, a file out, and on again after a kill."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

KIND = "Have a lovely day, everyone."
FOUL = "I will find you and kill you, you worthless idiot."
PATIENCE = 60.0
COMMAND = [sys.executable, "-m", "penstock", "batch", "in.jsonl", "--out", "out.jsonl"]
LINES = [
    json.dumps({"input": KIND}),
    json.dumps(FOUL),
    "",
    json.dumps({"custom_id": "mine", "body": {"input": KIND}}),
    json.dumps({"id": 7, "text": FOUL}),
    '{"custom_id":"o","method":"POST","url":"/v1/moderations","body":{"input":"A fine day."}}',
    "{broken",
    json.dumps({"input": ""}),
]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(LINES), "utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_line_in_any_form_has_its_answer_in_order(run, given, tmp_path):
    result = run("batch", str(given), "--out", "out.jsonl")

    answers = read(tmp_path / "out.jsonl")
    statuses = [answer["response"]["status_code"] for answer in answers]
    flagged = [answer["response"]["body"]["results"][0]["flagged"] for answer in answers[:5]]
    assert result.exit_code == 1  # two lines have no answer
    assert "5 of 7 lines answered" in result.stdout
    assert [answer["custom_id"] for answer in answers] == [None, None, "mine", "7", "o", None, None]
    assert statuses == [200, 200, 200, 200, 200, 400, 422]
    assert flagged == [False, True, False, True, False]


def test_the_same_command_again_only_writes_the_results(run, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps(KIND))
    first = json.loads(run("batch", "in.jsonl", "--out", "a.jsonl", "--json").stdout)

    second = json.loads(run("batch", "in.jsonl", "--out", "b.jsonl", "--json").stdout)
    fresh = json.loads(run("batch", "in.jsonl", "--out", "c.jsonl", "--json", "--fresh").stdout)

    assert second["id"] == first["id"] != fresh["id"]
    assert read(tmp_path / "a.jsonl") == read(tmp_path / "b.jsonl")
    assert (first["cached"], fresh["cached"]) == (0, 1)


def test_a_finished_batch_that_is_run_again_says_that_it_was_answered_before(run, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps(KIND))
    first = run("batch", "in.jsonl", "--out", "out.jsonl")

    second = run("batch", "in.jsonl", "--out", "out.jsonl")

    assert first.stderr == ""
    assert "was answered before" in second.stderr
    assert "--fresh" in second.stderr


def test_lines_that_are_no_json_are_named_with_what_to_do(run, tmp_path):
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(KIND)}\n\nA plain line.\n{{broken\n")

    result = run("batch", "in.jsonl", "--out", "out.jsonl")

    said = "line 3 is not JSON: put the text in quotes (and 1 more lines)\n"
    assert (result.exit_code, result.stderr) == (1, said)
    assert len(read(tmp_path / "out.jsonl")) == 3


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        ("", (), "holds no line"),
        ("Plain.\nLines.", (), "line 1 is not JSON: put the text in quotes"),
        ('{"body": {}, "url": "/v1/other"}', (), "--endpoint"),
        ('"x"', ("--endpoint", "/v1/none"), "known: /v1/moderations"),
        ('"x"', ("--out", "none/out.jsonl"), "there is no folder"),
    ],
)
def test_a_wrong_call_says_what_to_do_and_writes_nothing(run, tmp_path, content, options, told):
    (tmp_path / "in.jsonl").write_text(content)

    result = run("batch", "in.jsonl", "--out", "out.jsonl", *options)

    assert result.exit_code == 2
    assert told in result.output
    assert not (tmp_path / "out.jsonl").exists()


def test_files_with_the_same_requests_under_other_names_are_two_batches(run, tmp_path):
    for name in ("first", "second"):
        request = {"custom_id": name, "body": {"input": KIND}}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(request))

        run("batch", f"{name}.jsonl", "--out", f"{name}.out")

    named = [read(tmp_path / f"{name}.out")[0]["custom_id"] for name in ("first", "second")]
    assert named == ["first", "second"]


@pytest.mark.parametrize("out", ["in.jsonl", "./in.jsonl", "link.jsonl", "hard.jsonl"])
def test_the_file_of_requests_is_not_written_over(run, tmp_path, out):
    given = tmp_path / "in.jsonl"
    given.write_text(json.dumps(KIND))
    (tmp_path / "link.jsonl").symlink_to(given)
    os.link(given, tmp_path / "hard.jsonl")

    result = run("batch", "in.jsonl", "--out", out)

    assert result.exit_code == 2
    assert "holds the requests" in result.stderr
    assert given.read_text() == json.dumps(KIND)


def test_the_file_behind_a_link_is_replaced_and_keeps_its_mode(run, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps(KIND))
    target = tmp_path / "there" / "target.jsonl"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "out.jsonl").symlink_to(target)

    run("batch", "in.jsonl", "--out", "out.jsonl")

    assert (tmp_path / "out.jsonl").is_symlink()
    assert len(read(target)) == 1
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(target.parent) == ["target.jsonl"]


def test_a_fifo_stays_one_and_its_reader_has_the_results(run, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps(KIND))
    os.mkfifo(tmp_path / "pipe")

    with ThreadPoolExecutor() as pool:
        reading = pool.submit((tmp_path / "pipe").read_text)
        result = run("batch", "in.jsonl", "--out", "pipe")
        text = reading.result(PATIENCE)

    assert result.exit_code == 0
    assert json.loads(text)["response"]["status_code"] == 200
    assert (tmp_path / "pipe").is_fifo()


def test_a_place_that_cannot_be_written_is_refused_before_the_work_begins(run, home, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps(KIND))
    (tmp_path / "round").symlink_to("round")

    for out in ("round", "x" * 300, "/proc/none"):
        result = run("batch", "in.jsonl", "--out", out)

        assert (result.exit_code, "cannot write to" in result.stderr) == (2, True)
    assert not home.exists()


@pytest.mark.slow
def test_on_standard_output_there_are_the_results_and_nothing_else(home, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps(KIND))
    command = [*COMMAND[:-1], "/dev/stdout"]

    piped = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    with (tmp_path / "kept.jsonl").open("w") as kept:
        subprocess.run(command, stdout=kept, stderr=subprocess.PIPE, check=True, timeout=PATIENCE)

    assert json.loads(piped.stdout)["response"]["status_code"] == 200
    assert "1 of 1 lines answered" in piped.stderr
    assert (tmp_path / "kept.jsonl").read_text() == piped.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_says_how_far_it_is_and_how_to_go_on(home, tmp_path, number):
    with answering(home, tmp_path) as first:
        first.send_signal(number)

        out, error = first.communicate(timeout=PATIENCE)

    assert first.returncode == 128 + number
    assert error == f"stopped after {answered(home)} of 2000; the same command goes on\n"
    assert out == ""
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
def test_killed_in_the_middle_the_same_command_goes_on_where_it_was(home, tmp_path):
    with answering(home, tmp_path) as first:
        first.kill()
        first.communicate()
    before = answered(home)

    second = subprocess.run(COMMAND, capture_output=True, text=True, timeout=PATIENCE)

    answers = read(tmp_path / "out.jsonl")
    assert second.returncode == 0
    assert f"goes on after {before} of 2000 lines" in second.stderr
    assert [answer["id"].rpartition("_")[2] for answer in answers] == [
        str(number) for number in range(2000)
    ]
    assert not [name for name in os.listdir() if name.startswith(".out")]


@contextmanager
def answering(home: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command at work on 2000 lines, of which it has answered some."""
    texts = [f"note {number}: the parcel has arrived" for number in range(2000)]
    (folder / "in.jsonl").write_text("\n".join(json.dumps(text) for text in texts))
    pipe = subprocess.PIPE
    process = subprocess.Popen(COMMAND, stdout=pipe, stderr=pipe, text=True)
    try:
        end = time.monotonic() + PATIENCE
        while answered(home) < 200:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            assert process.poll() is None
            assert time.monotonic() < end
        yield process
    finally:
        process.kill()
        process.communicate()


def answered(home: Path) -> int:
    if not (home / "penstock.db").exists():
        return 0
    try:
        with closing(sqlite3.connect(home / "penstock.db")) as raw:
            row = raw.execute("SELECT max(completed) FROM batch_batches").fetchone()
    except sqlite3.OperationalError:
        return 0
    return row[0] or 0
